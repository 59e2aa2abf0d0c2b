"""How fast recordings of any length become latents and samples again, in how much memory, and what the seams cost:
`python benchmarks/inference_files.py [--data_dir FOLDER] [--models NAME=FOLDER,...] [--device cuda] [--quick]`

Seconds of `encode_recordings` and `decode_recordings` for sixty clips of 1 to 8 s and for one recording of ten minutes,
on one core, in turns with the obvious alternative: one recording after another, each as a whole. Peaks of memory,
beyond the model and one short recording, of processes of their own that (on Linux) encode and decode an hour in pieces,
and ten minutes as a whole. Seams: the decoded samples of a minute cut every 3 s against those of the whole, over the
context at the seams; of the trained networks in `--models` and of one before training. Writes
benchmarks/results/<processor>/inference_files.json; a quarter of an hour on one core."""
import json, sys, tempfile
from pathlib import Path
from timing import corpus, in_process, options, ratio, row, save, seconds, show, take_turns
import numpy as np
import torch
from speech_ae.adaptive.model import build_model, load_pretrained
from speech_ae.deploy.inference import decode_latents, decode_recordings, encode_recording, encode_recordings
from speech_ae.learner.initialization import initialize
from speech_ae.measure.loaded_model import ModelCoder
from speech_ae.model import ModelConfig, SpeechAE

RATE, SEAM_SECONDS, CONTEXTS = 22_050, 3., (.03, .05, .1, .2, .3, .5, .75, 1., 1.5, 2.)

def model_of(preset, recordings, device='cpu'):
    torch.manual_seed(0)
    model = build_model(ModelConfig.of(preset), .1)
    if preset != 'classic': initialize(model, recordings)
    return model.eval().to(device)

def speed(args, preset, clips, long):
    "Rows of one preset: clips and a long recording, in pieces and as a whole"
    model, rows = model_of(preset, clips, args.device), []
    coder = ModelCoder(model)
    for name, recordings in ('clips', clips), ('long', [long]):
        codes, lengths, length = (encode_recordings(model, recordings), [len(x) for x in recordings],
                                  sum(map(len, recordings))/RATE)
        tasks = {('encode', 'ours'): lambda: encode_recordings(model, recordings),
                 ('decode', 'ours'): lambda: decode_recordings(model, codes, lengths),
                 ('encode', 'alternative'): lambda: [coder.encode(x) for x in recordings],
                 ('decode', 'alternative'): lambda: [coder.decode(z, n) for z, n in zip(codes, lengths)]}
        times, basis = take_turns(tasks, args.rounds, args.device), 'cpu' if args.device == 'cpu' else 'wall'
        for (what, role), found in times.items():
            rows.append(row(what, role, found, basis=basis, model=preset, sound=name, length=length,
                            recordings=len(recordings), times_real_time=length/seconds(found, basis),
                            times_alternative=1/ratio(found, times[what, 'alternative'], basis)))
    return rows

def memory_of(what):
    "Memory of this process in MB, on Linux: 'VmRSS' now, or 'VmHWM', the most there was"
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(what))*1024/1e6

def forget_peak(): Path('/proc/self/clear_refs').write_text('5')

def memory(preset, what, minutes):
    "Peak of this process beyond what it takes after ten seconds, in MB"
    torch.set_num_threads(1)
    short = np.random.default_rng(0).standard_normal(10*RATE, dtype=np.float32)
    model = model_of(preset, [short])
    coder = ModelCoder(model)
    encode, decode = ((coder.encode, coder.decode) if what == 'whole'
                      else (lambda x: encode_recording(model, x), lambda z, n: decode_latents(model, z, n)))
    decode(encode(short), len(short))
    before, n = memory_of('VmRSS'), int(60*minutes*RATE)
    samples = np.resize(short, n)
    forget_peak()
    codes = encode(samples)
    del samples
    encoding = memory_of('VmHWM') - before
    forget_peak()
    decode(codes, n)
    print(json.dumps(dict(encode=encoding, decode=memory_of('VmHWM') - before, minutes=minutes, model=preset,
                          how=what)))

def seams(name, model, samples):
    "Rows of one network: SNR over context"
    coder, found = ModelCoder(model), []
    whole = coder(samples)
    count = model.framing.n_frames(len(samples))
    size = -(-count//-(-count//round(SEAM_SECONDS*model.framing.frame_rate)))*model.framing.hop_length
    place = np.arange(len(samples)) % size
    near = ((np.minimum(place, size - place) < .25*RATE) & (np.arange(len(samples)) > size/2)
            & (np.arange(len(samples)) < len(samples) - size/2))
    def snr(x, y):
        return float(10*np.log10(np.sum(np.square(x,
                                                  dtype=np.float64))/max(np.sum(np.square(np.subtract(x, y,
                dtype=np.float64))), 1e-30)))
    for context in CONTEXTS:
        y = decode_latents(model, encode_recording(model, samples, SEAM_SECONDS, context), len(samples), SEAM_SECONDS,
                           context)
        found.append(dict(name='seam', model=name, context=context, snr=snr(whole, y),
                          near_seams=snr(whole[near], y[near])))
    return found

def main():
    if sys.argv[1:2] == ['memory']: return memory(*sys.argv[2:4], float(sys.argv[4]))
    args = options(__doc__, models=('', 'trained networks: names and run folders, as NAME=FOLDER, separated by commas'))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sound = np.concatenate([np.asarray(x) for x in corpus(args, folder, 40 if args.quick else 160)[0]])
    sound, lengths = (.1*sound/np.sqrt(np.mean(sound**2)),
                      np.random.default_rng(0).uniform(1, 8, 6 if args.quick else 60))
    starts = np.concatenate([[0], np.cumsum(lengths*RATE).astype(int)])
    clips = [x for x in np.split(np.resize(sound, starts[-1]), starts[1:-1])]
    rows = [found for preset in ('classic', 'adaptive', 'adaptive-12')
            for found in speed(args, preset, clips, np.resize(sound, (40 if args.quick else 600)*RATE))]
    show(rows, ('name', 'role', 'model', 'sound', 'recordings', 'length', 'cpu', 'wall', 'times_real_time',
                'times_alternative'))
    taken = [in_process(__file__, ('memory', preset, how, minutes)) for preset in ('classic', 'adaptive')
             for how, minutes in ((('pieces', 2),) if args.quick else (('pieces', 60), ('whole', 10)))]
    show(taken, ('model', 'how', 'minutes', 'encode', 'decode'))
    networks = {name: load_pretrained(path)
                for name, path in (entry.split('=', 1) for entry in args.models.split(',') if entry)}
    networks['before training'] = model_of('classic', [])
    found = [r for name, model in networks.items() for r in seams(name, model, sound[:(12 if args.quick else 60)*RATE])]
    show(found, ('model', 'context', 'snr', 'near_seams'))
    save(args, 'inference_files',
         'recordings to latents and back: speed on one core against one after another as a whole, peak '
         'memory in MB beyond the model, SNR in dB over seconds of context at seams every 3 s',
         settings=dict(threads=1, precision='float32', seam_seconds=SEAM_SECONDS),
         basis='cpu' if args.device == 'cpu' else 'wall', rows=rows + [dict(name='memory', **r) for r in taken] + found)

if __name__ == '__main__': main()
