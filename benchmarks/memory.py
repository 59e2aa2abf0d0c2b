"""Does training take more memory when the corpus is larger? `python benchmarks/memory.py --data data/raw`

Trains one epoch on 50, 200 and all recordings of a corpus, each in a process of its own, and reads the peak of the
resident memory from the report. The prepared corpus is mapped, not loaded: its pages count as resident, but the system
takes them back when it needs them, so its size is given beside the peak."""
import argparse, json, os, subprocess, sys, tempfile
from pathlib import Path

here = Path(__file__).resolve().parent

def peak(data, max_files, folder):
    run, cache = f'{folder}/run{max_files}', f'{folder}/cache{max_files}'
    words = ['--data_dir', data, '--preset', 'classic', '--epochs', '1', '--device', 'cpu', '--output_dir', run,
             '--cache_dir', cache] + (['--max_files', str(max_files)] if max_files else [])
    subprocess.run([sys.executable, '-m', 'speech_ae.training', *words], check=True, cwd=here.parent)
    report, prepared = json.loads(Path(run, 'report.json').read_text()), next(Path(cache).glob('*/samples.i16'))
    return dict(recordings=len(Path(run, 'split.csv').read_text(errors='surrogateescape').splitlines()) - 1,
                minutes=round(prepared.stat().st_size/2/22_050/60, 1),
                peak_mb=report['environment']['peak_memory_mb'], mapped_mb=round(prepared.stat().st_size/2**20),
                as_float64_frames_mb=round(prepared.stat().st_size/2/220*441*8/2**20))

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', required=True, help='corpus folder')
    parser.add_argument('--output', type=Path, default=here/'results/memory.json')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [peak(os.path.abspath(args.data), n, folder) for n in (50, 200, None)]
    args.output.write_text(json.dumps(dict(about='peak resident memory of one epoch of training, in MB; batch size 8, '
                                           'crops of 150 frames', rows=rows), indent=1) + '\n')
    for row in rows: print(row)

if __name__ == '__main__': main()
