"""What a corpus costs, from ten minutes to fourteen hours: `python benchmarks/scale.py [--data_dir FOLDER] [--quick]`

The same clips of five seconds, 44.1 kHz mono MP3, over and over, each with another tag behind it so that no two files
are equal: that serves to measure speed and memory, not quality. For every size, in a process of its own: preparation on
all cores, a second call that finds nothing to do, cutting and ordering an epoch of crops, and taking all of them from
the memory map. The time of an epoch of training follows from the rate of a step in step.json; it is not measured here.
Writes benchmarks/results/<processor>/scale.json; five minutes on two cores, 3 GB of disk."""
import json, sys, tempfile
from pathlib import Path
from timing import in_process, options, save, show, spent
from preparation import SECONDS, peak_mb, prepared, write_clips
from speech_ae.data.batches import AudioDataset, Samples

def child(folder, cache):
    "In a process of its own: seconds of each part, and the largest memory of this process and of a worker"
    from joblib import cpu_count
    from speech_ae.data.preparation import prepare_corpus
    from timing import quiet
    found = dict(prepare=spent(lambda: prepared(folder, workers=cpu_count(), cache=cache))[0])
    found |= dict(peak_mb=peak_mb(), largest_worker_mb=peak_mb(workers=True))
    found['again'] = spent(lambda: prepared(folder, cache=cache))[0]
    with quiet(): corpus = prepare_corpus(folder, cache_dir=cache, max_bad=10**6)
    data, samples = AudioDataset(corpus, crop_frames=150), Samples(corpus)
    found['order'] = spent(lambda: (data.set_epoch(1), data.batches(8)))[0]
    found['load'] = spent(lambda: [samples.take([data.crops[i] for i in b]) for b in data.batches(8)])[0]
    print(json.dumps(found | dict(recordings=len(corpus), seconds=corpus.seconds, crops=len(data),
                                  store_mb=(corpus.folder/'samples.i16').stat().st_size/1e6)))

def main():
    args = options(__doc__, most=(840, 'largest corpus in minutes'))
    rows, sizes = [], (2, 4) if args.quick else [m for m in (10, 54, 216, 840) if m <= args.most]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)/'source'
        write_clips(args.data_dir, source, 60*min(sizes[-1], 54)//SECONDS)
        clips = [f.read_bytes() for f in sorted(source.glob('*.mp3'))]
        for minutes in sizes:
            data = Path(folder)/'data'
            data.mkdir()
            for i in range(60*minutes//SECONDS):
                (data/f's{i//100:03}_{i:05}.mp3').write_bytes(clips[i % len(clips)] + b'TAG%-125d' % i)
            with tempfile.TemporaryDirectory() as cache: found = in_process(__file__, ['--child', data, cache])
            for f in data.iterdir(): f.unlink()
            data.rmdir()
            rows.append(dict(minutes=minutes) | found
                        | dict(prepare_times_real_time=found['seconds']/found['prepare'],
                               load_times_real_time=found['seconds']/found['load']))
            show(rows[-1:], rows[-1].keys())
    save(args, 'scale', 'a corpus repeated to several sizes, seconds of wall time; prepare: all cores; again: a second '
         'call; order: cutting and ordering an epoch of crops; load: taking all of them as batches of '
         '8; peak of the memory while preparing, in MB', settings=dict(crop_frames=150, batch=8, clip_seconds=SECONDS),
         basis='wall', rows=rows)

if __name__ == '__main__':
    if sys.argv[1:2] == ['--child']: child(Path(sys.argv[2]), sys.argv[3])
    else: main()
