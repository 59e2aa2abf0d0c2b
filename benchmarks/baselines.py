"""Fit every floor on the training speakers of a corpus and measure it on the others: `python benchmarks/baselines.py
--data FOLDER`

FOLDER is a corpus as for speech_ae_train: it is prepared and split by speaker the same way. Writes mean and median
SI-SDR over the recordings of unseen speakers, and the mean over speakers, (each at most 45 dB) as JSON, for recordings
that reach 8 kHz and all, with float codes and with eight bits a number. The settings of quantiser and noise are
measured too, on training speakers set apart. Needs the extra `metrics`; takes a few minutes on one core."""
import os
for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS':
    os.environ[name] = '1' # seconds are those of one core
import argparse, json, sys, time
from pathlib import Path

import numpy as np

here = Path(__file__).resolve().parent
sys.path[:0] = [str(here.parent), str(here)]
from machine import processor
from speech_ae.baselines import (LatentQuantizer, Quantized, coefficient_moments, klt_baseline, lapped_baseline,
                                 low_pass_baseline, mean_snr, noise_filled_baseline, quantized,
                                 set_apart, switched_klt_baseline)
from speech_ae.data.corpus import bandwidth, split_by_speaker
from speech_ae.data.preparation import prepare_corpus
from speech_ae.measure.intervals import speaker_means
from speech_ae.metrics import frame_moments, mdct_baseline, pca_baseline, si_sdr

def measure_parts(reconstruct, recordings, parts, speakers):
    """SI-SDR and explained variance over each part, a dictionary of arrays of bool; si_sdr_speakers is the mean over
    speakers of their means"""
    made = [reconstruct(x) for x in recordings]
    ratios = np.minimum([si_sdr(x, y) for x, y in zip(recordings, made)], 45)
    energy = np.array([(np.sum(x.astype(float)**2), np.sum((x - y.astype(float))**2))
                       for x, y in zip(recordings, made)])
    speakers = np.array(speakers)
    def by_speaker(chosen): return np.mean(list(speaker_means(ratios[chosen], speakers[chosen]).values()))
    def number(v): return round(float(v), 3) if np.isfinite(v) else None
    return {name: dict(si_sdr_mean=number(ratios[chosen].mean()), si_sdr_median=number(np.median(ratios[chosen])),
                       si_sdr_speakers=number(by_speaker(chosen)),
                       explained_variance=round(float(1 - energy[chosen, 1].sum()/energy[chosen, 0].sum()), 5))
                       for name, chosen in parts.items()}

def quantizer_choices(fit, judges, speakers):
    """What eight bits leave of the low-pass at k=100 under each spread and margin; mean SNR in dB, speakers counting
    alike"""
    floor = low_pass_baseline(100)
    codes = [floor.encode(x) for x in fit[::4]]
    def snr(**how): return round(mean_snr(Quantized(floor, LatentQuantizer.fit(codes, **how)), judges, speakers), 2)
    return [dict(spread=spread, margin=margin, snr=snr(spread=spread, margin=margin)) for margin in (1, 1.5, 2, 3)
            for spread in (.1, .3, .5, 1, 3, 100)]

def noise_choices(fit, judges):
    "PESQ-WB and ESTOI of a few recordings for each number of bands and each gain; no bands is the low-pass"
    import soxr
    from pesq import pesq
    from pystoi import stoi
    chosen, moments = [x[:6*22_050] for x in judges[::-(-len(judges)//12)]], coefficient_moments(fit)
    def scores(floor):
        pairs = [[soxr.resample(y, 22_050, 16_000) for y in (x, floor(x))] for x in chosen]
        return dict(pesq=round(float(np.mean([pesq(16_000, *p, 'wb') for p in pairs])), 3),
                    estoi=round(float(np.mean([stoi(*p, 16_000, extended=True) for p in pairs])), 3))
    return [dict(k=k, bands=bands, gain=gain,
                 **scores(noise_filled_baseline(moments, k, bands, gain) if bands else low_pass_baseline(k)))
            for k, several in ((25, (0, 3, 4, 6, 8, 12)), (12, (0, 2, 3, 4, 6, 8))) for bands in several
            for gain in ((1, .5, .25, .125, .0625) if bands else (0,))]

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='corpus folder')
    parser.add_argument('--cache_dir', type=Path, help='folder for prepared corpora; the usual one if not given')
    parser.add_argument('--max_files', type=int, help='use only so many recordings')
    parser.add_argument('--sizes', type=int, nargs='+', default=[100, 50, 25, 12], help='numbers per frame')
    parser.add_argument('--output', type=Path, default=here/'results'/'baselines.json', help='JSON file to write')
    args = parser.parse_args()
    corpus = prepare_corpus(args.data, max_files=args.max_files, cache_dir=args.cache_dir)
    recordings = split_by_speaker(corpus.recordings, 42)
    train, unseen = ([corpus[i] for i, r in enumerate(recordings) if r.split == split] for split in ('train', 'valid'))
    speakers = {split: [r.speaker for r in recordings if r.split == split] for split in ('train', 'valid')}
    wide = np.array([bandwidth(x, 22_050) >= 8_000 for x in unseen])
    parts = {'all': wide | True, 'from 8 kHz': wide}
    frames, coefficients = frame_moments(train), coefficient_moments(train)
    fits = {'PCA': lambda k: pca_baseline(frames, k), 'MDCT': lambda k: mdct_baseline(train, k),
            'KLT': lambda k: klt_baseline(coefficients, k), 'low-pass': low_pass_baseline,
            'lapped': lambda k: lapped_baseline(train, k, groups=speakers['train']),
            '64 KLTs + index': lambda k: switched_klt_baseline(train, k),
            'noise-filled': lambda k: noise_filled_baseline(coefficients, k)}
    apart = set_apart(len(train), speakers['train'])
    fit, judges, judging = ([x for x, a in zip(train, apart) if not a], [x for x, a in zip(train, apart) if a],
                            [s for s, a in zip(speakers['train'], apart) if a])
    choices = dict(quantizer=quantizer_choices(fit, judges, judging), noise=noise_choices(fit, judges))
    for c in sum(choices.values(), []): print(c, flush=True)
    rows = []
    for k in args.sizes:
        rows.append(dict(floor='zero', k=k, **measure_parts(lambda x: 0*x, unseen, parts, speakers['valid'])))
        for name, fit in fits.items():
            start = time.process_time()
            floor = fit(k)
            row = dict(floor=name, k=k, fit_seconds=round(time.process_time() - start, 1),
                       **measure_parts(floor, unseen, parts, speakers['valid']))
            eight = quantized(floor, train[::4])
            rows.append(row | {f'{part}, 8 bit': v
                               for part, v in measure_parts(eight, unseen, parts, speakers['valid']).items()})
            print(k, name, row['fit_seconds'], 's',
                  *[rows[-1][part][what] for what in ('si_sdr_speakers', 'si_sdr_mean')
                    for part in ('all', 'all, 8 bit', 'from 8 kHz', 'from 8 kHz, 8 bit')], flush=True)
    about = ('SI-SDR in dB over recordings of unseen speakers, each at most 45; si_sdr_speakers: mean over '
             'speakers of their means; from 8 kHz: those whose bandwidth is 8 kHz or more; fit_seconds: '
             'processor time on one core, '
             'the second moments of PCA, KLT and noise-filled, which are summed once, not counted; '
             'choices: settings of quantiser and noise, measured on training speakers set apart')
    seconds = {split: round(sum(r.seconds for r in recordings if r.split == split)) for split in ('train', 'valid')}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(dict(about=about, sizes=args.sizes,
                                           recordings={part: int(chosen.sum()) for part, chosen in parts.items()},
                                           train_recordings=len(train), train_seconds=seconds['train'],
                                           valid_seconds=seconds['valid'], valid_speakers=len(set(speakers['valid'])),
                                           cpu=processor(), choices=choices, rows=rows), indent=1) + '\n')

if __name__ == '__main__': main()
