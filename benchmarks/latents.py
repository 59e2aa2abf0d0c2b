"""Look at the latents of a trained model: `python benchmarks/latents.py --model RUN --data FOLDER`

RUN is a run folder of speech_ae_train (model/ and split.csv), FOLDER the corpus that it was trained on, with a folder per language. Where a MANIFEST.csv with the
columns file, language, speaker and source lies in FOLDER or beside it, it says which recordings are from one source; otherwise format and sample rate do, and split.csv
names the speakers. Recordings are prepared as the run prepared them (noise reduced, one level). Writes variance spectrum, reconstruction against principal directions
(directions from training recordings, measured on validation recordings), consistency after a shift of 1 ms, and linear probes for speaker and language within one
source, each with a control on the quietest rows. Needs scikit-learn (extra `probe`); about four minutes on one core."""
import os
for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS': os.environ[name] = '1'
import argparse, csv, json, sys, time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from speech_ae.audio import load_audio
from speech_ae.corpus import Source, take_files
from speech_ae.denoising import denoise, normalize_level
from speech_ae.framing import Framing
from speech_ae.latents import as_codec, features, frame_levels, log_mel, mfcc, probe, reconstruction_by_dimensions, shift_consistency, source_of, speaker_interval, variance_spectrum
from speech_ae.metrics import mdct_floor, pca_floor
from speech_ae.model import SpeechAE

RATE = 22_050
COUNTS = 1, 2, 4, 6, 8, 10, 11, 12, 13, 15, 20, 30, 40, 50, 60, 70, 80, 90

def read_corpus(run, data):
    "Rows of split.csv with the source of each recording added"
    with open(run/'split.csv', newline='', encoding='utf-8') as f: rows = list(csv.DictReader(f))
    manifest = next((p for p in (data/'MANIFEST.csv', data.parent/'MANIFEST.csv') if p.is_file()), None)
    if manifest is None: return [row | dict(source=source_of(data/row['file'])) for row in rows]
    with open(manifest, newline='', encoding='utf-8') as f: known = {(r['language'], Path(r['file']).name): r for r in csv.DictReader(f)}
    found = [known[row['language'], Path(row['file']).name] for row in rows]
    return [row | dict(source=f"{r['source']}, {Path(row['file']).suffix[1:]} {r['sr']} Hz", speaker=r['speaker']) for row, r in zip(rows, found)]

def some_of(rows, n):
    "At most n rows, taken in turn from every language and in it from every speaker"
    taken = take_files([Source(row['file'], row['language'], row['speaker']) for row in rows], n)
    return [{row['file']: row for row in rows}[source.file] for source in taken]

def probe_tasks(rows):
    "What can be asked of this corpus: (task, rows, label of a row, group of a row, repeats)"
    sources, tasks = defaultdict(list), []
    for row in rows: sources[row['source']].append(row)
    def voices_by_language(some): return Counter(row['language'] for row in {row['speaker']: row for row in some}.values())
    def well_known(some): counts = Counter(row['speaker'] for row in some); return [row for row in some if counts[row['speaker']] >= 5]
    voices = max(map(well_known, sources.values()), key=lambda some: len({row['speaker'] for row in some}))
    tasks.append(('speaker', voices, lambda row: row['speaker'], lambda row: row['file'], 1))
    spoken = max(sources.values(), key=lambda some: sum(n >= 5 for n in voices_by_language(some).values()))
    enough = [language for language, n in voices_by_language(spoken).items() if n >= 5]
    tasks.append(('language', [row for row in spoken if row['language'] in enough], lambda row: row['language'], lambda row: row['speaker'], 5))
    best = {}  # the warning: each language from a source of its own
    for source, some in sources.items():
        counts = voices_by_language(some)
        if len(counts) == 1 and min(counts.values()) >= 15: best.setdefault(next(iter(counts)), list({row['speaker']: row for row in some}.values()))
    if len(best) > 1: tasks.append(('language, each from another source', sum((some[:20] for some in best.values()), []), lambda row: row['language'], lambda row: row['speaker'], 1))
    return tasks

def representations(codec, pca):
    "Name -> (function of samples and codes, rows a second)"
    frame_rate, result = Framing().frame_rate, {f'{codec.name} latents': (lambda x, z: z, Framing().frame_rate)}
    for rate in 50, 25: result[f'features of {codec.name}, {rate} Hz'] = (lambda x, z, rate=rate: features(z, rate=rate), rate)
    result[f'features of {codec.name}, deviation, 50 Hz'] = (lambda x, z: features(z, kind='deviation'), 50)
    result[f'log-mel of {codec.name} output, 50 Hz'] = (lambda x, z: log_mel(codec.decode(z, len(x))), 50)
    result[f'{pca.name} codes'] = (lambda x, z: pca.encode(x), frame_rate)
    for rate in 50, 25: result[f'features of {pca.name}, {rate} Hz'] = (lambda x, z, rate=rate: features(pca.encode(x), rate=rate), rate)
    result[f'log-mel of {pca.name} output, 50 Hz'] = (lambda x, z: log_mel(pca(x)), 50)
    for rate in 50, 25: result[f'log-mel, {rate} Hz'] = (lambda x, z, rate=rate: log_mel(x, rate=rate), rate)
    for rate in 50, 25: result[f'MFCC, {rate} Hz'] = (lambda x, z, rate=rate: mfcc(x, rate=rate), rate)
    return result

def rounded(value):
    "Numbers as they stand in the file: five digits are more than anyone reads"
    if isinstance(value, dict): return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)): return [rounded(v) for v in value]
    return float(f'{value:.5g}') if isinstance(value, (float, np.floating)) else value

def run_probes(task, codec, pca, prepare, reference='log-mel, 50 Hz'):
    "One row per representation, with the difference to the reference paired by speaker"
    name, rows, label, group, repeats = task
    samples = [prepare(row) for row in rows]
    codes = [codec.encode(x) for x in samples]
    labels, groups, speakers = ([key(row) for row in rows] for key in (label, group, lambda row: row['speaker']))
    results, levels = {}, {}
    for kind, (represent, rate) in representations(codec, pca).items():
        if rate not in levels: levels[rate] = [frame_levels(x, rate) for x in samples]
        results[kind] = probe([represent(x, z) for x, z in zip(samples, codes)], labels, groups, levels=levels[rate], speakers=speakers, repeats=repeats)
        print(name, kind, {k: round(results[kind][k], 3) for k in ('balanced_accuracy', 'low', 'high', 'quiet', 'shuffled')}, flush=True)
    out = []
    for kind, r in results.items():
        difference = speaker_interval(r['right'] - results[reference]['right'], labels, speakers)
        out.append(dict(task=name, representation=kind, **{k: v for k, v in r.items() if k not in ('right', 'quiet_right')}, **dict(zip(('difference', 'difference_low', 'difference_high'), difference))))
    return dict(task=name, sources=sorted({row['source'] for row in rows}), classes=dict(Counter(labels)) if 'language' in name else f'{len(set(labels))} speakers',
                recordings=len(rows), of_training_split=sum(row['split'] == 'train' for row in rows), reference=reference), out

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', type=Path, required=True, help='run folder, with model/ and split.csv')
    parser.add_argument('--data', type=Path, required=True, help='corpus folder of that run')
    parser.add_argument('--seconds', type=float, default=8, help='of each recording, at most')
    parser.add_argument('--output', type=Path, default=Path(__file__).parent/'results'/'latents.json', help='JSON file to write')
    args = parser.parse_args()
    import torch
    torch.set_num_threads(1)
    start, model = time.time(), SpeechAE.from_pretrained(args.model)
    codec, card = as_codec(model), model.card
    def prepare(row): return normalize_level(denoise(load_audio(args.data/row['file'])[:round(args.seconds*RATE)], method=card.get('denoise', 'none')), level=card.get('level', -20.)).astype(np.float32)
    rows = read_corpus(args.model, args.data)
    train, valid = ([prepare(row) for row in some_of([row for row in rows if row['split'] == part], 60)] for part in ('train', 'valid'))
    codecs = codec, pca_floor(train, codec.k), mdct_floor(train, codec.k)
    spectra, dimensions, shifts = [], [], []
    for c in codecs:
        spectrum = variance_spectrum([c.encode(x) for x in train])
        spectra.append(dict(codec=c.name, eigenvalues=spectrum.eigenvalues, participation_ratio=spectrum.participation_ratio, effective_dimensions=spectrum.effective_dimensions,
                            directions_90=spectrum.needed(.9), directions_99=spectrum.needed(.99), dead=len(spectrum.dead)))
        dimensions += [dict(codec=c.name, **row) for row in reconstruction_by_dimensions(c, valid[::2], spectrum, [n for n in COUNTS if n < codec.k] + [codec.k])]
        shifts += [dict(codec=c.name, **row) for row in shift_consistency(c, valid[::2])]
        print(c.name, spectrum, f'{time.time() - start:.0f} s', flush=True)
    tasks, probes = zip(*(run_probes(task, codec, codecs[1], prepare) for task in probe_tasks(rows)))
    result = dict(about='Spectrum: codes of 60 training recordings. Dimensions and shift: 30 validation recordings, SI-SDR in dB, cosines. Probes: balanced accuracy over speakers, 95 % intervals over speakers '
                        '(low, high), difference to the reference paired by speaker; quiet: the same probe on the quietest quarter of the rows; shuffled: labels shuffled between groups. Recordings prepared as for the model',
                  model=dict(preset=model.config.preset, k=codec.k, card=card), seconds_per_recording=args.seconds, seconds=round(time.time() - start),
                  spectra=spectra, dimensions=dimensions, shift=shifts, tasks=list(tasks), probes=sum(probes, []))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(rounded(result), indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    print(f'{result["seconds"]} s')

if __name__ == '__main__': main()
