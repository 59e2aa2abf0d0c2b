"""Measure every denoising method on pairs of noisy and clean speech: `python benchmarks/denoising.py --data FOLDER`

FOLDER holds noisy_clean/noisy and noisy_clean/clean with recordings of equal names. The settings of speech_ae.denoising
were chosen on every second pair, sorted by name (tuning); the others are held out. Where FOLDER also holds
raw/<language>/ and noise/, recordings of each language are mixed with the noises at 0, 5, 10 and 15 dB (mixed). Writes
means over the files as JSON; needs the extra `metrics`, and measures noisereduce too where it is installed."""
import os
for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS':
    os.environ[name] = '1' # speed is that of one core
import argparse, json, sys, time, warnings
from pathlib import Path

import numpy as np, soxr
from pesq import pesq
from pystoi import stoi

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from speech_ae.audio import find_audio, load_audio
from speech_ae.denoising import DENOISE_METHODS, denoise, normalize_level

RATE = 22_050

def si_sdr(estimate, clean):
    "Scale-invariant signal-to-distortion ratio in dB"
    estimate, clean = estimate.astype(float), clean.astype(float)
    target = clean*(estimate@clean)/(clean@clean)
    return 10*np.log10(np.sum(target**2)/np.sum((estimate - target)**2))

def scores(estimate, clean):
    "SI-SDR at 22,050 Hz, PESQ-WB and STOI at 16 kHz"
    estimate_16, clean_16 = soxr.resample(estimate, RATE, 16_000), soxr.resample(clean, RATE, 16_000)
    return np.array([si_sdr(estimate, clean), pesq(16_000, clean_16, estimate_16, 'wb'),
                     stoi(clean_16, estimate_16, 16_000)])

def energies(x):
    "Energy of a recording, and of its part above 80 Hz, where speech is"
    spectrum = np.abs(np.fft.rfft(x.astype(float)))**2*2/len(x)
    spectrum[0] /= 2
    return spectrum.sum(), spectrum[int(np.ceil(80*len(x)/RATE)):].sum()

def load_pairs(folder):
    "Noisy and clean samples of every parallel recording"
    pairs = [(load_audio(f), load_audio(folder/'clean'/f.name)) for f in find_audio(folder/'noisy')]
    for noisy, clean in pairs: assert len(noisy) == len(clean)
    return pairs

def mix_pairs(speech_folder, noise_folder, per_language=4, seconds=8):
    "Noisy and clean samples: a few recordings of each language, each with another noise, at levels that take turns"
    if not (speech_folder.is_dir() and noise_folder.is_dir()): return []
    noises, pairs = [load_audio(f) for f in find_audio(noise_folder)], []
    for language in sorted(f for f in speech_folder.iterdir() if f.is_dir()):
        files = find_audio(language)
        for f in files[::-(-len(files)//per_language)]:
            clean = normalize_level(load_audio(f)[:seconds*RATE])
            noise = normalize_level(np.resize(noises[len(pairs) % len(noises)], len(clean)),
                                    level=-20 - (0, 5, 10, 15)[len(pairs) % 4])
            pairs.append((clean + noise, clean))
    return pairs

def noisereduce_methods():
    "Outside reference, if installed"
    try: import noisereduce
    except ImportError: return {}
    reduce = lambda x, **kwargs: noisereduce.reduce_noise(y=x, sr=RATE, n_jobs=1, **kwargs).astype(np.float32)
    return {'noisereduce, non-stationary': lambda x: reduce(x, stationary=False),
            'noisereduce, stationary': lambda x: reduce(x, stationary=True),
            'noisereduce, stationary, prop_decrease 0.8': lambda x: reduce(x, stationary=True, prop_decrease=.8)}

def measure(method, pairs, repeats=3):
    "Dictionary of arrays, a value a pair; speed is processor time, the best of `repeats`"
    method(pairs[0][0])
    seconds = []
    for noisy, _ in pairs:
        spent = []
        for _ in range(repeats): start = time.process_time(); method(noisy); spent.append(time.process_time() - start)
        seconds.append(min(spent))
    # (pairs, after and before, all and above 80 Hz)
    energy = np.array([[energies(x) for x in (method(clean), clean)] for _, clean in pairs])
    return dict(scores=np.array([scores(method(noisy), clean) for noisy, clean in pairs]), energy=energy,
                seconds=np.array(seconds),
                duration=np.array([len(x)/RATE for x, _ in pairs]))

def row(name, label, m, unprocessed, chosen):
    "Means over the chosen pairs"
    change, energy = (m['scores'] - unprocessed)[chosen], m['energy'][chosen]
    r = dict(method=name, pairs=label, n_pairs=len(change))
    for i, key in enumerate(('si_sdr', 'pesq', 'stoi')):
        r |= {key: m['scores'][chosen, i].mean(), f'{key}_gain': change[:, i].mean(),
              f'{key}_gain_worst': change[:, i].min()}
    total, worst = energy[:, 0].sum(0)/energy[:, 1].sum(0), (energy[:, 0]/energy[:, 1]).min(0)
    r |= dict(clean_energy_kept=total[0], clean_energy_kept_worst=worst[0], above_80_hz_kept=total[1],
              above_80_hz_kept_worst=worst[1])
    if name != 'unprocessed': r['times_real_time'] = m['duration'][chosen].sum()/m['seconds'][chosen].sum()
    return {k: round(float(v), 0 if k == 'times_real_time' else 4) if isinstance(v, float) else v for k, v in r.items()}

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='folder that holds noisy_clean/')
    parser.add_argument('--output', type=Path, default=Path(__file__).parent/'results'/'denoising.json',
                        help='JSON file to write')
    args = parser.parse_args()
    warnings.filterwarnings('ignore')
    parallel, mixed = load_pairs(args.data/'noisy_clean'), mix_pairs(args.data/'raw', args.data/'noise')
    sets = [(parallel, {'tuning': slice(0, None, 2), 'held-out': slice(1, None, 2), 'all': slice(None)}),
            (mixed, {'mixed': slice(None)})]
    methods = {'unprocessed': np.copy} | {name: lambda x, name=name: denoise(x, method=name) for name in DENOISE_METHODS
                                          if name != 'none'}
    rows = []
    for pairs, parts in sets:
        if not pairs: continue
        unprocessed = np.array([scores(noisy, clean) for noisy, clean in pairs])
        for name, method in (methods | noisereduce_methods()).items():
            m = measure(method, pairs)
            for label, chosen in parts.items():
                rows.append(row(name, label, m, unprocessed, chosen))
                print(rows[-1], flush=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(dict(
        about='tuning, held-out, all: VoiceBank+DEMAND pairs; mixed: speech of ten languages plus noises at '
        '0 to 15 dB. 22,050 Hz; gains relative to '
              'unprocessed, means over files, _worst: the worst file; PESQ-WB and STOI at 16 kHz; speed: '
              'processor time on one core', rows=rows), indent=1) + '\n')

if __name__ == '__main__': main()
