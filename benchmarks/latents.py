"""Look at the latents of trained models: `python benchmarks/latents.py --models RUN [RUN ...] --data FOLDER
[--cache_dir CACHE]`

Each RUN is a run folder of speech_ae_train (model/, config.json and split.csv), FOLDER the corpus that all were trained
on, with the same split and the same preparation. Models are called by their preset, a network that began at random so,
too. Where a MANIFEST.csv with the columns file, language, speaker and source lies in FOLDER or beside it, it says which
recordings are from one source; otherwise format and sample rate do, and split.csv names the speakers. Writes variance
spectrum, reconstruction against principal directions (directions from training recordings, measured on validation
recordings; not for transform-coding models, whose numbers have no fixed places), consistency after a shift of 1 ms, and
linear probes for speaker and language within one source, each with a control on the quietest rows. Needs scikit-learn
(extra `probe`); a few minutes on one core."""
import os
for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS': os.environ[name] = '1'
import argparse, csv, json, sys, time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from speech_ae.adaptive.model import load_pretrained
from speech_ae.data.corpus import Source, take_files
from speech_ae.data.preparation import prepare_corpus
from speech_ae.framing import Framing
from speech_ae.measure.latents import (as_codec, envelope, features, frame_levels, log_mel, mfcc, probe,
                                       reconstruction_by_dimensions, shift_consistency, source_of, balanced_interval,
                                       variance_spectrum)
from speech_ae.metrics import mdct_baseline, pca_baseline
from speech_ae.model import SpeechAE

RATE = 22_050
COUNTS = 1, 2, 5, 8, 10, 11, 12, 13, 15, 20, 30, 50, 70, 90

def read_corpus(run, data):
    "Rows of split.csv with the source of each recording added"
    with open(run/'split.csv', newline='', encoding='utf-8') as f: rows = list(csv.DictReader(f))
    manifest = next((p for p in (data/'MANIFEST.csv', data.parent/'MANIFEST.csv') if p.is_file()), None)
    if manifest is None: return [row | dict(source=source_of(data/row['file'])) for row in rows]
    with open(manifest, newline='', encoding='utf-8') as f:
        known = {(r['language'], Path(r['file']).name): r for r in csv.DictReader(f)}
    found = [known[row['language'], Path(row['file']).name] for row in rows]
    return [row | dict(source=f"{r['source']}, {Path(row['file']).suffix[1:]} {r['sr']} Hz", speaker=r['speaker'])
            for row, r in zip(rows, found)]

def some_of(rows, n):
    "At most n rows, taken in turn from every language and in it from every speaker"
    taken = take_files([Source(row['file'], row['language'], row['speaker']) for row in rows], n)
    return [{row['file']: row for row in rows}[source.file] for source in taken]

def probe_tasks(rows):
    "What can be asked of this corpus: (task, rows, label of a row, group of a row, repeats)"
    sources, tasks = defaultdict(list), []
    for row in rows: sources[row['source']].append(row)
    def voices_by_language(some):
        return Counter(row['language'] for row in {row['speaker']: row for row in some}.values())
    def well_known(some):
        counts = Counter(row['speaker'] for row in some)
        return [row for row in some if counts[row['speaker']] >= 5]
    voices = max(map(well_known, sources.values()), key=lambda some: len({row['speaker'] for row in some}))
    tasks.append(('speaker', voices, lambda row: row['speaker'], lambda row: row['file'], 1))
    spoken = max(sources.values(), key=lambda some: sum(n >= 5 for n in voices_by_language(some).values()))
    enough = [language for language, n in voices_by_language(spoken).items() if n >= 5]
    tasks.append(('language', [row for row in spoken
                               if row['language'] in enough], lambda row: row['language'], lambda row: row['speaker'],
                  3))
    best = {}  # the warning: each language from a source of its own
    for source, some in sources.items():
        counts = voices_by_language(some)
        if len(counts) == 1 and min(counts.values()) >= 15:
            best.setdefault(next(iter(counts)), list({row['speaker']: row for row in some}.values()))
    if len(best) > 1:
        tasks.append(('language, each from another source',
                      sum((some[:20] for some in best.values()),
                          []), lambda row: row['language'], lambda row: row['speaker'], 1))
    return tasks

def load_codec(run):
    "Model of a run as a codec, and what is to be known of it: label, preset, start, loss"
    model, config = load_pretrained(run), json.loads((run/'config.json').read_text())
    init = 'codebooks' if model.config.kind == 'adaptive' else config.get('init', 'random')
    label = model.config.preset + (' from random weights' if init == 'random' else '')
    return as_codec(model, label), dict(label=label, preset=model.config.preset, kind=model.config.kind, init=init,
                                        loss=config.get('loss', 'frames'), k=model.config.latent_size, card=model.card)

def is_adaptive(codec): return hasattr(codec, 'model') and codec.model.config.kind == 'adaptive'

def representations(codecs):
    """Name -> (function of samples and of the codes of each codec, rows a second); 25 rows a second of what is made for
    probes"""
    frame_rate = Framing().frame_rate
    result = {f'log-mel, {rate} Hz': (lambda x, z, rate=rate: log_mel(x, rate=rate), rate)
              for rate in (50, 25)} | {'MFCC, 50 Hz': (lambda x, z: mfcc(x), 50)}
    for c in codecs:
        result[f'{c.name} codes'] = (lambda x, z, c=c: z[c.name], frame_rate)
        result[f'features of {c.name}, 50 Hz'] = (lambda x, z, c=c: features(z[c.name]), 50)
        if is_adaptive(c):
            for rate in 50, 25:
                result[f'envelope of {c.name}, {rate} Hz'] = (lambda x, z, c=c, rate=rate: envelope(c, z[c.name], rate),
                                                              rate)
        result[f'log-mel of {c.name} output, 50 Hz'] = (lambda x, z, c=c: log_mel(c.decode(z[c.name], len(x))), 50)
    return result

def rounded(value):
    "Numbers as they stand in the file: five digits are more than anyone reads"
    if isinstance(value, dict): return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)): return [rounded(v) for v in value]
    return float(f'{value:.5g}') if isinstance(value, (float, np.floating)) else value

def run_probes(task, codecs, prepare, reference='log-mel, 50 Hz'):
    "One row per representation, with the difference to the reference paired by speaker"
    name, rows, label, group, repeats = task
    samples = [prepare(row) for row in rows]
    codes = [{c.name: c.encode(x) for c in codecs} for x in samples]
    labels, groups, speakers = ([key(row) for row in rows] for key in (label, group, lambda row: row['speaker']))
    results, levels = {}, {}
    for kind, (represent, rate) in representations(codecs).items():
        if rate not in levels: levels[rate] = [frame_levels(x, rate) for x in samples]
        results[kind] = probe([represent(x, z) for x, z in zip(samples, codes)], labels, groups, levels=levels[rate],
                              speakers=speakers, repeats=repeats)
        print(name, kind, {k: round(results[kind][k], 3)
                           for k in ('balanced_accuracy', 'low', 'high', 'quiet', 'shuffled')}, flush=True)
    out = []
    for kind, r in results.items():
        difference = balanced_interval(r['right'] - results[reference]['right'], labels, speakers)
        out.append(dict(task=name, representation=kind,
                        **{k: v for k, v in r.items() if k not in ('right', 'quiet_right')},
                        **dict(zip(('difference', 'difference_low', 'difference_high'), difference))))
    return dict(task=name, sources=sorted({row['source'] for row in rows}),
                classes=dict(Counter(labels)) if 'language' in name else f'{len(set(labels))} speakers',
                recordings=len(rows), of_training_split=sum(row['split'] == 'train' for row in rows),
                reference=reference), out

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', type=Path, nargs='+', required=True,
                        help='run folders, with model/, config.json and split.csv')
    parser.add_argument('--data', type=Path, required=True, help='corpus folder of these runs')
    parser.add_argument('--cache_dir', type=Path, help='folder for prepared corpora; the usual one if not given')
    parser.add_argument('--seconds', type=float, default=8, help='of each recording, at most')
    parser.add_argument('--output', type=Path, default=Path(__file__).parent/'results'/'latents.json',
                        help='JSON file to write')
    args = parser.parse_args()
    import torch
    torch.set_num_threads(1)
    start, (models, abouts) = time.time(), zip(*map(load_codec, args.models))
    if len({about['label'] for about in abouts}) < len(abouts):
        parser.error('--models: two of them are of the same preset and start')
    if any(about['card'] != abouts[0]['card'] for about in abouts):
        parser.error('--models: their recordings were prepared in different ways (denoise, level)')
    rows, card = read_corpus(args.models[0], args.data), abouts[0]['card']
    splits = [{row['file']: row['split'] for row in read_corpus(run, args.data)} for run in args.models]
    if any(split != splits[0] for split in splits): parser.error('--models: they were trained on different splits')
    corpus = prepare_corpus(args.data, denoise=card.get('denoise', 'none'), level=card.get('level', -20.),
                            cache_dir=args.cache_dir)
    place = {recording.file: i for i, recording in enumerate(corpus.recordings)}
    def prepare(row): return corpus.slice(place[row['file']], 0, round(args.seconds*RATE))
    train, valid = ([prepare(row) for row in some_of([row for row in rows if row['split'] == part], 60)]
                    for part in ('train', 'valid'))
    floors = pca_baseline(train, models[0].k), mdct_baseline(train, models[0].k)
    spectra, dimensions, shifts = [], [], []
    for c in *models, *floors:
        spectrum = variance_spectrum([c.encode(x) for x in train])
        if not is_adaptive(c):
            spectra.append(dict(codec=c.name, eigenvalues=spectrum.eigenvalues,
                                participation_ratio=spectrum.participation_ratio,
                                effective_dimensions=spectrum.effective_dimensions,
                                directions_90=spectrum.needed(.9), directions_99=spectrum.needed(.99),
                                dead=len(spectrum.dead)))
            dimensions += [dict(codec=c.name, **row)
                           for row in reconstruction_by_dimensions(c, valid[::2], spectrum,
                                                                   [n for n in COUNTS if n < len(spectrum.mean)]
                                                                   + [len(spectrum.mean)])]
        shifts += [dict(codec=c.name, **row) for row in shift_consistency(c, valid[::2])]
        print(c.name, spectrum, f'{time.time() - start:.0f} s', flush=True)
    tasks, probes = zip(*(run_probes(task, (*models, floors[0]), prepare) for task in probe_tasks(rows)))
    result = dict(about='Spectrum: codes of 60 training recordings. Dimensions and shift: 30 validation recordings, '
                  'SI-SDR in dB, cosines. Probes: balanced accuracy over speakers, 95 % intervals over speakers '
                        '(low, high), difference to the reference paired by speaker; quiet: the same probe '
                        'on the quietest quarter of the rows; shuffled: labels shuffled between groups. '
                        'Recordings prepared as for the models',
                  models=abouts, seconds_per_recording=args.seconds, seconds=round(time.time() - start),
                  spectra=spectra, dimensions=dimensions, shift=shifts, tasks=list(tasks), probes=sum(probes, []))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(rounded(result), indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    print(f'{result["seconds"]} s')

if __name__ == '__main__': main()
