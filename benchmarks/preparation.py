"""How fast recordings become a prepared corpus: `python benchmarks/preparation.py [--data_dir FOLDER] [--quick]`

Writes clips of five seconds as 44.1 kHz mono MP3 into a temporary folder and takes turns, on one core: decoding alone
and decoding with resampling (what no preparation can go below), speech_ae_prepare without and with denoising, from the
call to the finished store, and what one would write first: librosa.load with noisereduce, soxr with
scipy.signal.wiener, each saved as .npy. Then the same with more processes, a second call that finds nothing to do, the
whole command from a cold start, 20,000 very short files, and the peak of the memory for one and four times as many
recordings and for one that lasts an hour. Writes
benchmarks/results/<processor>/preparation.json; ten minutes on two cores."""
import json, subprocess, sys, tempfile, time
from pathlib import Path
from timing import options, quiet, row, save, seconds, show, take_turns, in_process
import numpy as np
import soundfile as sf
import soxr
from speech_ae.audio import find_audio, load_audio, save_audio, synth_speech
from speech_ae.data import isolation
from speech_ae.data.preparation import prepare_corpus

RATE, SECONDS, TARGETS = 44_100, 5, dict(none=350, wiener=200)

def write_clips(data_dir, folder, n):
    "Real speech, one recording after the other, as `n` MP3 clips; synthetic speech after its end"
    samples, files, size = np.zeros(0, np.float32), iter(find_audio(data_dir) if data_dir else []), RATE*SECONDS
    for i in range(n):
        while len(samples) < size:
            samples = np.concatenate([samples, load_audio(f, RATE) if (f := next(files, None))
                                      else synth_speech(i, SECONDS, RATE)])
        save_audio(folder/f's{i//10:03}_{i:04}.mp3', samples[:size]*min(1, .99/np.abs(samples[:size]).max()), RATE)
        samples = samples[size:]

def prepared(folder, denoise='wiener', workers=1, cache=None):
    "Prepare a folder as speech_ae_prepare does, into a new store if no `cache` is given"
    with tempfile.TemporaryDirectory() as new, quiet():
        prepare_corpus(folder, denoise=denoise, workers=workers, cache_dir=cache or new, max_bad=10**6)

def each(folder, work):
    "A function that calls `work(file, where to save)` for every clip"
    def run():
        with tempfile.TemporaryDirectory() as out:
            for f in sorted(folder.glob('*.mp3')): work(f, Path(out, f.stem + '.npy'))
    return run

def decode(f, out=None): return sf.read(f, dtype='float32')[0]
def resample(f, out=None): return soxr.resample(decode(f), RATE, 22_050)

def plain_wiener(f, out):
    from scipy.signal import wiener
    with np.errstate(all='ignore'): np.save(out, np.nan_to_num(wiener(resample(f)).astype(np.float32)))

def spectral_wiener(f, out):
    "As one writes it at first: gains from the quietest tenth of the frames"
    from scipy.signal import istft, stft
    spectrum = stft(resample(f), 22_050, nperseg=512)[2]
    power = np.abs(spectrum)**2 + 1e-12
    np.save(out, istft(spectrum*np.maximum(1 - np.quantile(power, .1, axis=1, keepdims=True)/power, .1), 22_050,
                       nperseg=512)[1].astype(np.float32))

def with_noisereduce(stationary):
    import librosa, noisereduce
    def work(f, out):
        np.save(out, noisereduce.reduce_noise(librosa.load(f, sr=22_050)[0], 22_050, stationary=stationary, n_jobs=1))
    return work

def one_core(folder, length, rounds):
    "Rows in times real time on one core"
    tasks = {'decode': each(folder, decode), 'decode + soxr': each(folder, resample),
             'speech_ae': lambda: prepared(folder, 'none'), 'speech_ae + wiener': lambda: prepared(folder),
             'soxr + scipy.signal.wiener': each(folder, plain_wiener),
             'soxr + STFT, gains, inverse': each(folder, spectral_wiener)}
    try: tasks |= {f'librosa + noisereduce{", stationary"*s}': each(folder, with_noisereduce(s)) for s in (True, False)}
    except ImportError: print('librosa or noisereduce is not installed: left out')
    with tempfile.TemporaryDirectory() as cache:
        prepared(folder, cache=cache)
        times = take_turns(tasks | {'speech_ae, nothing to do': lambda: prepared(folder, cache=cache)}, rounds)
    def role(name):
        return 'ours' if name.startswith('speech_ae') else 'bound' if name.startswith('decode') else 'alternative'
    rows = [row(name, role(name), found, times['decode + soxr'], times_real_time=length/seconds(found))
            for name, found in times.items()]
    targets = {'speech_ae': TARGETS['none'], 'speech_ae + wiener': TARGETS['wiener']}
    return [r | (dict(target=targets[r['name']], met=r['times_real_time'] >= targets[r['name']]) if r['name'] in targets
                 else {}) for r in rows]

def peak_mb(workers=False):
    """Largest resident memory so far of this process, or of the largest of the processes in which it read recordings,
    which end here"""
    import resource
    while workers and isolation._idle: isolation._idle.pop().end()
    unit = 2**20 if sys.platform == 'darwin' else 2**10
    if workers: return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss//unit
    try:
        # ru_maxrss counts the parent's, too
        return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))//2**10
    except OSError: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//unit

def child(folder, denoise, workers):
    "In a process of its own: seconds, and peak memory of this process and of the largest worker, in MB"
    imported, start = peak_mb(), time.perf_counter()
    prepared(folder, denoise, workers)
    wall = time.perf_counter() - start
    print(json.dumps(dict(wall=wall, peak_mb=peak_mb(), largest_worker_mb=peak_mb(workers=True), imported_mb=imported)))

def in_child(folder, length, name, denoise='wiener', workers=1):
    found = in_process(__file__, ['--child', folder, denoise, workers])
    return dict(name=name, workers=workers, minutes=length/60, times_real_time=length/found['wall']) | found

def command(folder, workers):
    "Wall seconds of `speech_ae_prepare` in a new process and into a new store"
    with tempfile.TemporaryDirectory() as cache:
        words = dict(data_dir=folder, cache_dir=cache, workers=workers, max_bad=10**6)
        start = time.perf_counter()
        subprocess.run([Path(sys.executable).with_name('speech_ae_prepare'),
                        *(str(word) for name, value in words.items() for word in (f'--{name}', value))],
                       stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

def cold_start(folder, clips, rounds):
    "The command for one clip and for all, with one worker and two; medians of wall seconds"
    from shutil import copy
    one = folder.parent/'one'
    one.mkdir()
    copy(min(folder.glob('*.mp3')), one)
    cases = (one, 1, 1), (folder, clips, 1), (folder, clips, 2)
    found = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases: found[case].append(command(case[0], case[2]))
    return [dict(clips=n, workers=workers, wall=float(np.median(walls)), fastest=min(walls), slowest=max(walls),
                 times_real_time=n*SECONDS/float(np.median(walls))) for (_, n, workers), walls in found.items()]

def many_files(folder, n):
    "Wall milliseconds for each of `n` files of a quarter of a second, by the whole command on all cores"
    from joblib import cpu_count
    folder.mkdir()
    sound = synth_speech(0, 60, RATE)
    for i in range(n): save_audio(folder/f's{i//100:03}_{i:05}.wav', sound[i*100:i*100 + RATE//4], RATE)
    return dict(files=n, workers=cpu_count(), milliseconds_each=1000*command(folder, cpu_count())/n, target=1)

def main():
    args = options(__doc__, clips=(60, 'number of clips'))
    if args.quick: args.clips = 12
    with tempfile.TemporaryDirectory() as folder:
        once, four, hour = (Path(folder, name) for name in ('once', 'four', 'hour'))
        write_clips(args.data_dir, four, 4*args.clips)
        once.mkdir()
        for f in sorted(four.glob('*.mp3'))[::4]: (once/f.name).write_bytes(f.read_bytes())
        length, kbit = SECONDS*args.clips, sum(f.stat().st_size for f in once.glob('*.mp3'))*8/1000/SECONDS/args.clips
        rows = one_core(once, length, args.rounds)
        show(rows, ('name', 'role', 'cpu', 'wall', 'times_real_time', 'share_of_bound', 'target', 'met'))
        from joblib import cpu_count
        counts, turns = sorted({1, 2, cpu_count()}), {}
        for _ in range(1 if args.quick else 3):
            for n in counts:
                for size, name, seconds_in in (once, 'once', length), (four, 'four times', 4*length):
                    turns.setdefault((n, name), []).append(in_child(size, seconds_in, name, workers=n))
        scaling = [sorted(found, key=lambda r: r['wall'])[len(found)//2] for found in turns.values()]
        walls = {(r['workers'], r['name']): r['wall'] for r in scaling}
        # between one and four times as much: without the start of the workers
        rates = [dict(workers=n, times_real_time=3*length/(walls[n, 'four times'] - walls[n, 'once'])) for n in counts]
        show(scaling, ('name', 'workers', 'minutes', 'wall', 'times_real_time', 'peak_mb', 'largest_worker_mb',
                       'imported_mb'))
        show(rates, ('workers', 'times_real_time'))
        cold = cold_start(once, args.clips, 1 if args.quick else args.rounds)
        show(cold, ('clips', 'workers', 'wall', 'fastest', 'slowest', 'times_real_time'))
        many = many_files(Path(folder)/'many', 500 if args.quick else 20_000)
        show([many], many)
        minutes = 6 if args.quick else 60
        save_audio(hour/'long.mp3', np.resize(np.concatenate([decode(f) for f in sorted(four.glob('*.mp3'))[:60]]),
                                              minutes*60*RATE), RATE)
        long = in_child(hour, 60*minutes, f'one recording of {minutes} min')
        long['peak_mb'] = max(long['peak_mb'], long.pop('largest_worker_mb'))
        show([long], ('name', 'wall', 'times_real_time', 'peak_mb'))
    save(args, 'preparation',
         'preparation from 44.1 kHz mono MP3; times_real_time is sound per second of processor time of '
         'one core in `rows`, per second of wall time in `scaling`, `rates`, `cold` and `long`; share_of_bound '
         'against decode + soxr',
         settings=dict(clips=args.clips, clip_seconds=SECONDS, kbit_per_second=kbit, sample_rate=RATE), basis='cpu',
         times_real_time=next(r['times_real_time'] for r in rows if r['name'] == 'speech_ae + wiener'),
         rows=rows, scaling=scaling, rates=rates, cold=cold, many=many, long=long)

if __name__ == '__main__':
    if sys.argv[1:2] == ['--child']: child(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else: main()
