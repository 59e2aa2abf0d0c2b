"""How fast exported models are: `python benchmarks/onnx_speed.py [--data_dir FOLDER] [--model FOLDER] [--quick]`

Recordings through the presets classic and adaptive and back, framing and overlap-add included, on one core: PyTorch
(eager), and onnxruntime with float32 and, for classic, int8. Clips of 5 s alone; recordings of 60 and 180 s whole, and
cut into chunks that run as one batch. A chunk has some frames more at both ends, which are thrown away afterwards; what
is still wrong at the seams is measured against the whole recording, for several such margins. Noise is relative to what
PyTorch gives for the whole recording. The noise of int8 and what is wrong at the seams depend on the weights: those of
a run of `speech_ae_train` on the recordings, or of --model. The bound is the rate of
float32 matrix products, measured in the same rounds. Plain int8, as quantize_dynamic makes it, is there for comparison.
EnCodec's figures are those that its authors published; they are not measured here, and another machine's. A
transform-coding model is run whole, since its coefficients share the room of a second, wherever that begins. Writes
benchmarks/results/<processor>/onnx_speed.json; five minutes on one core."""
import os, tempfile
from pathlib import Path
from timing import corpus, matrix_rate, options, quiet, row, save, seconds, show, take_turns
import numpy as np
import onnx
import torch
from speech_ae.adaptive.model import build_model, load_pretrained
from speech_ae.deploy.comparison import export_snr, largest_error
from speech_ae.deploy.exports import open_export, write_onnx
from speech_ae.deploy.onnx_graph import onnx_graph
from speech_ae.deploy.quantization import quantize_lstms
from speech_ae.learner.initialization import initialize
from speech_ae.model import ModelConfig, SpeechAE
from speech_ae.training import train

CHUNKS = {60: 16, 180: 32} # Of recordings of so many seconds
MARGINS, MARGIN = (0, 4, 8, 16, 32, 64), 8 # Frames at both ends of a chunk; those of the timed runs

PUBLISHED = [dict(name='EnCodec, 24 kHz', times_real_time='about 10, for encoding and for decoding',
                  source='Defossez, Copet, Synnaeve, Adi: High Fidelity Neural Audio Compression (2022); one thread of '
                  'a laptop; quoted from memory, neither looked up nor measured here')]

def trained(args, folder):
    "classic as `speech_ae_train` trains it on the recordings of `corpus`"
    with quiet():
        run = train(args.data_dir or folder/'synthetic', output_dir=folder/'run', epochs=args.epochs,
                    max_files=args.files, max_bad=args.files, denoise='none', cache_dir=folder/'cache', device='cpu')
    return load_pretrained(run.config.output_dir)

def chunked(run, frames, margin, chunks):
    "Reconstruct frames (T, n) in overlapping chunks that run as one batch"
    size = -(-len(frames)//chunks)
    pieces = [(max(0, a - margin), a, min(a + size, len(frames)), min(a + size + margin, len(frames)))
              for a in range(0, len(frames), size)]
    batch = np.zeros((len(pieces), max(end - start for start, _, _, end in pieces), frames.shape[1]), np.float32)
    for one, (start, _, _, end) in zip(batch, pieces): one[:end - start] = frames[start:end]
    found = run(torch.from_numpy(batch), torch.tensor([end - start for start, _, _, end in pieces]))[0].numpy()
    return np.concatenate([y[a - start:b - start] for y, (start, a, b, _) in zip(found, pieces)])

def whole(run, frames): return run(torch.from_numpy(frames)[None], torch.tensor([len(frames)]))[0][0].numpy()

def ratio_db(expected, found):
    return 10*np.log10(np.sum(expected.astype(float)**2)/max(np.sum((found.astype(float) - expected)**2), 1e-30))

def counted(model, samples):
    "Operations of matrix products for a recording"
    from torch.utils.flop_counter import FlopCounterMode
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as count: model.reconstruct(samples)
    return count.get_total_flops()

@torch.no_grad()
def main():
    args = options(__doc__, files=(60, 'recordings used'), epochs=(2, 'of training'),
                   model=('', 'run folder or model folder to use instead of one that is trained here'))
    torch.set_num_threads(1)
    rate = 22_050
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        prepared, split = corpus(args, folder, args.files)
        trained_on, held_out = ([np.asarray(x) for x, row in zip(prepared, split) if (row.split == 'train') == kind]
                                for kind in (True, False))
        with torch.enable_grad(): model = load_pretrained(args.model) if args.model else trained(args, folder)
        random = SpeechAE(ModelConfig(), model.input_scale.item()).eval()
        facts = {}
        for precision in 'float32', 'int8':
            write_onnx(model, folder/f'{precision}.onnx', precision=precision)
            write_onnx(random, folder/f'random_{precision}.onnx', precision=precision, recordings=held_out[:8],
                       least_snr=0)
            exported = open_export(folder/f'{precision}.onnx')
            facts[precision] = dict(largest_error=float(exported.facts['largest_error']),
                                    snr_db=export_snr(exported, model, recordings=held_out[:8]),
                                    in_float32=exported.facts.get('in_float32', ''))
        onnx.save(quantize_lstms(onnx_graph(model)), folder/'plain.onnx')
        runs = ({'PyTorch': lambda x, lengths: model(x, None if int(lengths.min()) == x.shape[1] else lengths)}
                | {name: open_export(folder/f'{file}.onnx', threads=1)
                   for name, file in (('ONNX', 'float32'), ('ONNX int8', 'int8'), ('ONNX int8, plain', 'plain'))})
        runs |= {f'random {precision}': open_export(folder/f'random_{precision}.onnx', threads=1)
                 for precision in ('float32', 'int8')}
        facts['int8, plain'] = dict(snr_db=export_snr(runs['ONNX int8, plain'], model, recordings=held_out[:8]))
        megabytes = {name: (folder/f'{file}.onnx').stat().st_size/1e6
                     for name, file in (('ONNX', 'float32'), ('ONNX int8', 'int8'), ('ONNX int8, plain', 'plain'))}
        adaptive = initialize(build_model(ModelConfig.of('adaptive'), model.input_scale.item()), trained_on).eval()
        facts['adaptive float32'] = dict(largest_error=largest_error(write_onnx(adaptive, folder/'adaptive.onnx',
                recordings=held_out[:8])))
        others = {'PyTorch': adaptive, 'ONNX': open_export(folder/'adaptive.onnx', threads=1)}
        megabytes['adaptive ONNX'] = (folder/'adaptive.onnx').stat().st_size/1e6
    sound, framing = np.resize(np.concatenate(held_out), 200*rate), model.framing
    def back(kind, name, samples, *how):
        return framing.overlap_add(kind(runs[name], framing.frame(samples), *how), len(samples))
    minute, pieces = sound[20*rate:80*rate], CHUNKS[60]
    expected, untrained = back(whole, 'ONNX', minute), back(whole, 'random float32', minute)
    seams = [dict(margin=margin)
             | {column: ratio_db(reference, back(chunked, name, minute, margin, pieces))
                for column, reference, name in (('float32', expected, 'ONNX'), ('int8', expected, 'ONNX int8'),
                                                ('random float32', untrained, 'random float32'),
                                                ('random int8', untrained, 'random int8'))} for margin in MARGINS]
    print(f'dB against the whole recording in float32, 60 s in {pieces} chunks; random: a network that was not trained')
    show(seams, ('margin', 'float32', 'int8', 'random float32', 'random int8'))
    for name in 'random float32', 'random int8': del runs[name]
    cases, rows = [(5, 1)] + [(60, 1), *CHUNKS.items()][:None if not args.quick else 0], []
    for length, chunks in cases:
        samples, peaks = sound[20*rate:(20 + length)*rate], []
        how = (whole,) if chunks == 1 else (chunked, MARGIN, chunks)
        flop, expected = counted(model, samples), back(whole, 'PyTorch', samples)
        tasks = {name: lambda name=name: back(how[0], name, samples, *how[1:]) for name in runs}
        times = take_turns(tasks | {'peak': lambda: peaks.append(matrix_rate(torch.float32))}, args.rounds)
        peak = float(np.median(peaks[1:]))
        for name in runs:
            rows.append(row(name, 'ours' if name != 'ONNX int8, plain' else 'alternative', times[name], basis='cpu',
                            preset='classic', length=length, chunks=chunks, margin=0 if chunks == 1 else MARGIN,
                            times_real_time=length/seconds(times[name]), latency_ms=1000*seconds(times[name]),
                            flop=flop, bound_times_real_time=length*peak/flop,
                            share_of_bound=flop/peak/seconds(times[name]), peak=peak,
                            noise_db=min(ratio_db(expected, tasks[name]()), 200.), megabytes=megabytes.get(name)))
    for length in (5, 60)[:None if not args.quick else 1]:
        samples = sound[20*rate:(20 + length)*rate]
        tasks = {name: lambda run=run: framing.overlap_add(whole(run, framing.frame(samples)), len(samples))
                 for name, run in others.items()}
        times, expected = take_turns(tasks, args.rounds), tasks['PyTorch']()
        for name in others:
            rows.append(row(name, 'ours', times[name], basis='cpu', preset='adaptive', length=length, chunks=1,
                            margin=0, times_real_time=length/seconds(times[name]), latency_ms=1000*seconds(times[name]),
                            noise_db=min(ratio_db(expected, tasks[name]()), 200.),
                            megabytes=megabytes['adaptive ONNX'] if name == 'ONNX' else None))
    show(rows, ('preset', 'name', 'length', 'chunks', 'cpu', 'wall', 'times_real_time', 'bound_times_real_time',
                'share_of_bound', 'noise_db'))
    save(args, 'onnx_speed', 'recordings through classic, and through adaptive, and back on one core, framing and '
         'overlap-add included; length in s; the bound is float32 matrix products at the rate measured '
         'in the same rounds; noise_db is relative to PyTorch on the whole recording; what is published '
         'is quoted, not measured',
         settings=dict(files=args.files, model='given' if args.model
                       else f'{args.epochs} epochs of speech_ae_train', threads=1, chunks=pieces,
                       margin=MARGIN), basis='cpu', published=PUBLISHED, exports=facts,
         load_at_end=(load := round(os.getloadavg()[0], 2)), machine_was_busy=max(args.load, load) > 1.5, seams=seams,
         rows=rows)

if __name__ == '__main__': main()
