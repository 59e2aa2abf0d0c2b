"""All benchmarks of speed, one after another: `python benchmarks/all_speed.py [--data_dir FOLDER] [--device cuda]
[--quick] [--table FOLDER]`

Runs preparation.py, loading.py, step.py, rates.py, threads.py, epoch.py, inference.py, scale.py, onnx_speed.py and
streaming.py, each in a process of its own, with the options given here; on a GPU without those that only a CPU answers.
They write to benchmarks/results/<processor>/, which then gets a table.json of what the others found: for every piece of
work the rate, how many times as fast as the obvious alternative it is, and the share of its bound. --table only makes
that table, from the results in a folder. Up to three quarters of an hour on two free cores. See timing.py for what the
numbers mean."""
import json, subprocess, sys
from pathlib import Path
from machine import processor_folder

here = Path(__file__).resolve().parent
SCRIPTS = ('preparation', 'loading', 'step', 'rates', 'threads', 'epoch', 'inference', 'scale', 'onnx_speed',
           'streaming')
ONLY_CPU = 'preparation', 'threads', 'scale', 'onnx_speed', 'streaming'

def find(result, name, **more):
    "The row of a result with a name and other values; None if there is none"
    return next((r for r in result['rows'] if r['name'] == name and all(r.get(k) == v for k, v in more.items())), None)

def entry(work, ours, alternative=None, other=None, bound=None, share=None):
    """A row of the table: rates of ours and of the alternative, in any unit, larger is faster; None where nothing is
    measured"""
    return dict(work=work, rate=ours, alternative=alternative, times_as_fast=ours/other if other else None, bound=bound,
                share_of_bound=share)

def rate(row): return row and row['times_real_time']

def prepared(found):
    names = dict(wiener='speech_ae + wiener', none='speech_ae')
    rows = {r['name']: r for r in found['rows']}
    decoding = 'decoding and resampling alone'
    yield entry('preparing 44.1 kHz MP3, with noise suppression', rate(rows[names['wiener']]),
                'librosa and noisereduce', rate(rows.get('librosa + noisereduce')), decoding,
                rows[names['wiener']]['share_of_bound'])
    yield entry('preparing 44.1 kHz MP3, with noise suppression', rate(rows[names['wiener']]),
                'a plain filter of spectra, soxr and scipy.signal', rate(rows['soxr + STFT, gains, inverse']))
    yield entry('the same without noise suppression', rate(rows[names['none']]), bound=decoding,
                share=rows[names['none']]['share_of_bound'])
    for row in found.get('cold', ()):
        if row['clips'] > 1:
            many = 'es'*(row['workers'] > 1)
            yield entry(f'five minutes with noise suppression from a cold start, {row["workers"]} process{many}',
                        row['times_real_time'], bound='the rate without the start',
                        share=row['times_real_time']/rate(rows[names['wiener']])/row['workers'])

def loaded(found):
    ours, bound = find(found, 'speech_ae'), 'one pass over the values'
    yield entry('loading batches', rate(ours), 'a DataLoader over .npy frames',
                rate(find(found, '.npy frames, DataLoader, 0 workers')), bound, ours['share_of_bound'])

def stepped(found):
    for precision, note in ('float32', ''), ('bfloat16', ', LSTMs in bfloat16'):
        ours = find(found, f'classic, {precision}', batch=8)
        yield entry(f'training `classic`, batch of 8{note}', rate(ours), 'a plain loop in float32',
                    rate(find(found, 'plain float32 loop', batch=8)), f'{precision} matrix products alone',
                    ours['share_of_bound'])
    yield entry('training `adaptive`, batch of 8', rate(find(found, 'adaptive, float32', batch=8)))

def threaded(found):
    for busy, where in (False, 'on an idle machine'), (True, 'beside a busy process'):
        two, within, one = (find(found, f'{name}', waiting='passive', busy=busy)
                            for name in ('2 threads', '2 threads within each product', '1 thread'))
        if within: yield entry(f'training `classic` in two threads, {where}', 1/two['wall'],
                               'two threads within each product', 1/within['wall'])
        yield entry(f'training `classic` in two threads, {where}', 1/two['wall'], 'one thread', 1/one['wall'])

def exported(found):
    chunks = found['settings']['chunks']
    def minute(name, **more): return find(found, name, length=60, **dict(preset='classic') | more)
    whole = minute('PyTorch', chunks=1)
    for name, how in ('ONNX int8', 'in 8 bits'), ('ONNX', 'in float32'):
        row = minute(name, chunks=chunks)
        yield entry(f'a minute through `classic` and back, by onnxruntime {how}', rate(row),
                    'PyTorch on the whole minute', rate(whole), 'float32 matrix products alone',
                    rate(row)/whole['bound_times_real_time']) | dict(noise_db=row['noise_db'])
    yield entry('a minute through `adaptive` and back', rate(find(found, 'PyTorch', preset='adaptive', length=60)))

def streamed(found):
    ours, again = (find(found, name, chunk_ms=20) for name in ('Stream', 'the last second again'))
    yield entry('sound in chunks of 20 ms through `streaming` and back', 1/ours['real_time_factor'],
                'the last second again for each chunk', 1/again['real_time_factor'], 'products of single frames',
                found['bound']['real_time_factor']/ours['real_time_factor'])

PARTS = dict(preparation=prepared, loading=loaded, step=stepped, threads=threaded, onnx_speed=exported,
             streaming=streamed)

def write_table(folder):
    "The table of a processor, from the results in its folder"
    results = {name: json.loads((folder/f'{name}.json').read_text()) for name in PARTS
               if (folder/f'{name}.json').exists()}
    rows = [row for name, found in results.items() for row in PARTS[name](found)]
    one = next(iter(results.values()))
    dates = sorted({r['date'] for r in results.values() if 'date' in r})
    table = dict(about='rate: times real time, of processor time of one core, or, with processes or threads, of wall '
                 'time (threads: passes a second)', cpu=one['cpu'], cores=one['cores'], date=max(dates, default=None),
                 torch=one['torch'], rows=[{name: float(f'{value:.4g}') if isinstance(value, float) else value
                                            for name, value in row.items()} for row in rows])
    (folder/'table.json').write_text(json.dumps(table, indent=1) + '\n')
    for row in table['rows']: print(*(f'{name} {value}' for name, value in row.items() if value is not None), sep=' | ')

def main():
    words = sys.argv[1:]
    if {'--help', '-h'} & set(words): raise SystemExit(__doc__)
    if '--table' in words: return write_table(Path(words[words.index('--table') + 1]))
    failed = []
    for name in SCRIPTS:
        if any('cuda' in word for word in words) and name in ONLY_CPU: continue
        print(f'\n{name}', flush=True)
        if subprocess.run([sys.executable, here/f'{name}.py', *words]).returncode: failed.append(name)
    if not any(word in ('--quick', 'cuda') for word in words): write_table(here/'results'/processor_folder())
    raise SystemExit(f'failed: {", ".join(failed)}' if failed else 0)

if __name__ == '__main__': main()
