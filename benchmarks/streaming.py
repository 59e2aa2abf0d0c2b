"""How fast a stream is, and what it costs in quality: `python benchmarks/streaming.py [--data_dir FOLDER] [--files 60]
[--epochs 12] [--quick]`

Quality: the preset streaming, which sees no future, and the preset classic, which sees all of it, are trained alike
from `--init pca` on a small part of the corpus, by the command that is written into the result; then both reconstruct
the voices that were held out. Speed: sound in chunks of 10 to 100 ms through the trained model and back, on one core,
each chunk timed by itself. Competitors take turns: `Stream`; the same with a call of PyTorch's LSTM for each chunk; and
what one writes first: with every chunk the last second once more through the model, of which the newest samples are
kept, as many as the stream would give. How far these are from the output for the whole recording is measured too. The
bound is the products of all matrices with one vector per frame and nothing else. Times are those of the processor,
which other programs disturb less than a clock on the wall; that is there as well. Writes
benchmarks/results/<processor>/streaming.json; six minutes on one core."""
import contextlib, json, tempfile, time
from pathlib import Path
from unittest import mock
from timing import options, save, show
import numpy as np
import torch
from speech_ae.audio import save_audio, synth_speech
from speech_ae.deploy.streaming import Stream, look_ahead
from speech_ae.metrics import si_sdr
from speech_ae.model import SpeechAE
from speech_ae.learner.config import TrainConfig
from speech_ae.learner.run_folder import start_run

CHUNKS = (10, 20, 40, 100) # In ms
SECONDS = {'Stream': 30, 'a call of nn.LSTM for each chunk': 15, 'the last second again': 4} # Of sound in each round

def train(args, folder, preset):
    "Train a preset: (model, held-out recordings, what the run says of it)"
    config = TrainConfig(data_dir=str(args.data_dir), output_dir=f'{folder}/{preset}', cache_dir=f'{folder}/cache',
                         preset=preset, init='pca', epochs=args.epochs, max_files=args.files, device='cpu')
    trainer, began = start_run(config), time.process_time()
    trainer.fit()
    took, report = time.process_time() - began, json.loads(Path(folder, preset, 'report.json').read_text())
    data = trainer.data
    held_out = [np.asarray(x) for r, x in zip(data.recordings, data.corpus, strict=True) if r.split == 'valid']
    row = dict(preset=preset, parameters=report['parameters'], cpu_seconds=took, best_epoch=report['best_epoch'],
               quality=report['quality'], split=report['split'],
               history=[{k: row[k] for k in ('epoch', 'train_loss', 'valid_loss', 'explained_variance')}
                        for row in report['history']], config={k: v for k, v in report['config'].items()
                                                               if not k.endswith('_dir')})
    return SpeechAE.from_pretrained(f'{folder}/{preset}'), held_out, row

def compared(args, folder):
    "Both presets, trained alike: (the streaming model, held-out recordings, results)"
    (streaming, held_out, first), (classic, again,
                                   second) = (train(args, folder, preset) for preset in ('streaming', 'classic'))
    # the same recordings, the same floors
    assert (len(held_out) == len(again) and first['split'] == second['split']
            and first['quality'][:3] == second['quality'][:3])
    gaps = [float(si_sdr(x, streaming.reconstruct(x)) - si_sdr(x, classic.reconstruct(x))) for x in held_out]
    command = (f'speech_ae_train --data_dir DATA --preset {{streaming,classic}} --init pca --epochs '
               f'{args.epochs} --max_files {args.files} --device cpu')
    return streaming, held_out, dict(command=command, files=args.files, epochs=args.epochs, split=first.pop('split'),
                                     runs=[first, {k: v for k, v in second.items() if k != 'split'}],
                                     gaps=dict(about='SI-SDR of streaming less that of classic on each held-out '
                                               'recording, in dB', mean=float(np.mean(gaps)), lowest=min(gaps),
                                               highest=max(gaps), recordings=len(gaps)))

class LastSecond:
    "Not a stream: the last second once more with every chunk"
    def __init__(self, model, seconds=1.):
        self.model, self.behind = model, look_ahead(model.framing)
        self.kept = np.zeros(round(seconds*model.config.sample_rate), np.float32)

    def push(self, chunk):
        self.kept = np.concatenate([self.kept, chunk])[-len(self.kept):]
        return self.model.reconstruct(self.kept)[len(self.kept) - self.behind - len(chunk):len(self.kept) - self.behind]

def timed(push, sound, size):
    "(cpu, wall) seconds of each chunk, and the samples that came out"
    times, out = [], []
    for i in range(0, len(sound) - size + 1, size):
        cpu, wall = time.process_time(), time.perf_counter()
        out.append(push(sound[i:i + size]))
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return times, np.concatenate(out)

def competitor(name, model):
    "`push` of a new one"
    return (LastSecond if name == 'the last second again' else Stream)(model).push

def ratio_db(expected, found):
    return 10*np.log10(np.sum(expected.astype(float)**2)/max(np.sum((found.astype(float) - expected)**2), 1e-30))

def speed(args, model, sound):
    "Rows for each competitor and length of chunk"
    rate, rows = model.config.sample_rate, []
    for ms in CHUNKS:
        size, times, out = round(rate*ms/1000), {name: [] for name in SECONDS}, {}
        for i in range(args.rounds):
            for name in list(SECONDS)[::1 if i % 2 else -1]:
                with mock.patch('speech_ae.deploy.streaming._FEW',
                                0) if 'nn.LSTM' in name else contextlib.nullcontext():
                    found, out[name] = timed(competitor(name, model),
                                             sound[:round(max(2, SECONDS[name]*(.1 if args.quick else 1))*rate)], size)
                times[name].append(found[len(found)//10:])  # without the first chunks
        for name, rounds in times.items():
            each, length = np.array([chunk for one in rounds for chunk in one]), size/rate
            y, delay = out[name], look_ahead(model.framing) if name == 'the last second again' else 0
            x, y = model.reconstruct(sound[:len(y) + 440])[:len(y) - delay], y[delay:]
            rows.append(dict(name=name, role='alternative' if name == 'the last second again' else 'ours', chunk_ms=ms,
                             samples=size, chunks=len(each), cpu_p50=np.median(each[:, 0]).item(),
                             cpu_p95=np.percentile(each[:, 0], 95).item(),
                             wall_p50=np.median(each[:, 1]).item(), wall_p95=np.percentile(each[:, 1], 95).item(),
                             real_time_factor=float(np.median([np.sum(one, 0)[0]/len(one) for one in rounds]))/length,
                             agreement_db=min(ratio_db(x[rate//2:], y[rate//2:]), 200.)))
    return rows

def bound(model, rounds=200):
    "Seconds for the products of all matrices of the model with one vector each"
    pairs = [(w, torch.randn(w.shape[1])) for w in model.parameters() if w.dim() == 2]
    def products():
        began = time.process_time()
        for w, x in pairs: w@x
        return time.process_time() - began
    return float(np.median([products() for _ in range(rounds)]))

@torch.no_grad()
def main():
    args = options(__doc__, files=(60, 'recordings of the training'), epochs=(12, 'of training'))
    torch.set_num_threads(1)
    if args.quick: args.files, args.epochs, args.rounds = 12, 1, 2
    with tempfile.TemporaryDirectory() as folder:
        if synthetic := args.data_dir is None:
            args.data_dir = Path(folder, 'synthetic')
            for i in range(args.files): save_audio(args.data_dir/f's{i//4:03}_{i}.wav', synth_speech(seconds=5, seed=i))
        with torch.enable_grad(): model, held_out, quality = compared(args, folder)
        if synthetic: args.data_dir = None
    sound, frame = np.resize(np.concatenate(held_out), 30*model.config.sample_rate).astype(np.float32), bound(model)
    rows = speed(args, model, sound)
    show(rows, ('name', 'chunk_ms', 'cpu_p50', 'cpu_p95', 'wall_p50', 'wall_p95', 'real_time_factor', 'agreement_db'))
    print(f'bound {frame*model.framing.frame_rate:.4f}', quality['gaps'],
          [run['quality'][-1] for run in quality['runs']])
    save(args, 'streaming',
         'speech in chunks through the preset streaming and back on one core, and that preset beside '
         'classic after a short training; seconds for each chunk, of the processor and on the wall; '
         'real_time_factor is seconds of the processor for a second of sound, below 1 is fast enough; '
         'agreement_db is with the output for the whole recording',
         settings=dict(threads=1, precision='float32'), basis='cpu', look_ahead=look_ahead(model.framing),
         sample_rate=model.config.sample_rate, bound=dict(cpu=frame, real_time_factor=frame*model.framing.frame_rate),
         rows=rows, quality=quality)

if __name__ == '__main__': main()
