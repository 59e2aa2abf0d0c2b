"""What a training run reached, without the paths of the machine: `python benchmarks/training.py --run runs/raw`

Reads report.json and timing.csv of a finished run and writes benchmarks/results/training.json, from which the README takes its table."""
import argparse, csv, json, platform
from pathlib import Path

here = Path(__file__).resolve().parent

def processor():
    "Name of the CPU"
    try: return next(line.split(':')[1].strip() for line in open('/proc/cpuinfo') if line.startswith('model name'))
    except (OSError, StopIteration): return platform.processor() or platform.machine()

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--run', required=True, type=Path, help='run folder')
    parser.add_argument('--output', type=Path, default=here/'results/training.json')
    args = parser.parse_args()
    report = json.loads((args.run/'report.json').read_text())
    with open(args.run/'split.csv', errors='surrogateescape', newline='') as f: split = list(csv.DictReader(f))
    settings = {k: v for k, v in report['config'].items() if k not in ('data_dir', 'output_dir', 'cache_dir')}
    environment = {k: v for k, v in report['environment'].items() if k != 'system'}
    kept = {k: report[k] for k in ('quality', 'verdict', 'split', 'floor', 'parameters', 'best_epoch', 'stopped', 'seconds', 'history')}
    result = dict(kept, recordings=len(split), settings=settings, environment=environment, cpu=processor())
    args.output.write_text(json.dumps(result, indent=1) + '\n')
    print(report['verdict'])

if __name__ == '__main__': main()
