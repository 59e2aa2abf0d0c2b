"""Feed damaged recordings to the processes in which the commands decode: `python benchmarks/fuzz.py --files 5000`

Every file is made from a sound one, of nineteen kinds of WAV, FLAC, Ogg and MP3 and, where PyAV is installed, eleven
that FFmpeg reads (MP4, WebM, AMR, AAC, Windows Media and others; --media takes only these), by one to four changes that
a seed decides: bits flipped, bytes overwritten by 0, -1 and powers of two, pieces cut off, left out, doubled or taken
from another file, and header fields that claim the absurd (4 GB of data, 0 Hz, 4 GHz, 255 channels, negative sizes).
Where a format protects itself by checksums, four of five files get right ones again, so that the decoder believes
what it reads. A file is kept to the promise if the answer is finite samples or an `AudioError` that says why, within
10 s and 1 GB. File number n of seed s is always the same: `mutant(n, s)` makes it again."""
import argparse, collections, datetime, io, json, os, random, re, struct, sys, tempfile, time
from fractions import Fraction
from functools import cache
from importlib import metadata
from pathlib import Path

for name in 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS': os.environ.setdefault(name, '1')
here = Path(__file__).resolve().parent
sys.path[:0] = [str(here.parent), str(here)]
import numpy as np, soundfile as sf
from machine import processor
from speech_ae.audio import AudioError, read_audio, synth_speech
from speech_ae.common.media import reads_media
from speech_ae.data import isolation

KINDS = {'.wav': [('WAV', s) for s in ('PCM_16', 'PCM_U8', 'PCM_24', 'FLOAT', 'DOUBLE', 'ULAW', 'IMA_ADPCM', 'MS_ADPCM',
                                       'GSM610')] + [('WAVEX', 'PCM_16'), ('RF64', 'PCM_16')],
         '.flac': [('FLAC', 'PCM_16'), ('FLAC', 'PCM_24'), ('FLAC', 'long')],
         '.ogg': [('OGG', 'VORBIS'), ('OGG', 'OPUS')],
         '.mp3': [('MP3', 'MPEG_LAYER_III'), ('MP3', 'stereo'), ('MP3', 'tagged')]}
# codec, sample rate, bit rate and layout for FFmpeg
MEDIA = {'.m4a': ('aac', 44_100, 64_000, 'mono'), '.mp4': ('aac', 48_000, 96_000, 'stereo'),
         '.mov': ('pcm_s16le', 22_050, 0, 'mono'), '.3gp': ('libopencore_amrnb', 8000, 12_200, 'mono'),
         '.amr': ('libopencore_amrnb', 8000, 12_200, 'mono'), '.webm': ('libopus', 48_000, 32_000, 'mono'),
         '.aac': ('aac', 22_050, 48_000, 'mono'), '.wma': ('wmav2', 44_100, 64_000, 'stereo'),
         '.aiff': ('pcm_s16be', 22_050, 0, 'mono'), '.caf': ('alac', 22_050, 0, 'mono'),
         '.oga': ('flac', 22_050, 0, 'mono')}
ATOMS = [b'moov', b'mvhd', b'trak', b'tkhd', b'mdia', b'mdhd', b'stbl', b'stsd', b'mp4a', b'esds', b'stts', b'stsc',
         b'stsz', b'stco', b'elst', b'mdat']
ODD = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 2**62,
       2**63 - 1, 2**63, 2**64 - 1]

@cache
def sound_files():
    "[(extension, name, content)] of files without fault"
    found = []
    for extension, kinds in KINDS.items():
        for i, (container, subtype) in enumerate(kinds):
            rate, channels = 48_000 if subtype == 'OPUS' else 22_050, 2 if subtype in ('stereo', 'PCM_24') else 1
            samples, buffer = np.repeat(synth_speech(seed=i, seconds=.4, sample_rate=rate)[:, None], channels,
                                        1), io.BytesIO()
            if subtype == 'long': samples = np.concatenate([samples, np.zeros((2**18, 1))])  # more than is read at once
            sf.write(buffer, samples, rate,
                     subtype=dict(long='PCM_16').get(subtype, 'MPEG_LAYER_III' if container == 'MP3' else subtype),
                     format=container)
            content = buffer.getvalue()
            if subtype == 'tagged':
                content = (b'ID3\x04\x00\x00\x00\x00\x01\x76' + b'TIT2\x00\x00\x00\x6a\x00\x00' + b'\x03' + bytes(105)
                           + bytes(256 - 126 + 120)[:130] + content)
            found.append((extension, f'{container} {subtype}', content))
    if only_media: found.clear()
    if not reads_media(): return found
    import av
    return found + [(extension, f'{extension[1:]} {how[0]}', encoded(i, extension, *how))
                    for i, (extension, how) in enumerate(MEDIA.items()) if how[0] in av.codecs_available]

only_media = False

def encoded(seed, extension, codec, rate, bit_rate, layout):
    "The content of a file that FFmpeg writes"
    import av
    samples = synth_speech(seed=seed, seconds=.4, sample_rate=max(rate, 11_025))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/f'x{extension}'
        with av.open(str(path), 'w', options=dict(movflags='faststart') if extension == '.mp4' else {}) as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            if bit_rate: stream.codec_context.bit_rate = bit_rate
            frame = av.AudioFrame.from_ndarray(np.repeat(samples[None], 2 if layout == 'stereo' else 1, 0), 'fltp',
                                               layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            for part in frame, None:
                for packet in stream.encode(part): container.mux(packet)
        return path.read_bytes()

def _flip(data, rng):
    "Flip bits, anywhere or near the beginning"
    end = len(data) if rng.random() < .5 else min(len(data), 256)
    for _ in range(2**min(rng.randint(0, 6), rng.randint(0, 6))): data[rng.randrange(end)] ^= 1 << rng.randrange(8)

def _overwrite(data, rng):
    "A number that decoders seldom expect, at any place"
    size, order = rng.choice([1, 2, 4, 8]), rng.choice('<>')
    at = rng.randrange(max(1, (len(data) if rng.random() < .3 else min(len(data), 128)) - size))
    data[at:at + size] = (struct.pack(f'{order}Q', rng.choice(ODD))[-size:] if order == '>'
                          else struct.pack('<Q', rng.choice(ODD))[:size])

def _cut(data, rng): del data[rng.randrange(len(data)):]

def _leave_out(data, rng):
    at = rng.randrange(len(data))
    del data[at:at + 2**rng.randint(0, 12)]

def _double(data, rng):
    at = rng.randrange(len(data))
    piece = data[at:at + 2**rng.randint(0, 10)]
    data[at:at] = piece*rng.choice([1, 1, 2, 50])

def _splice(data, rng):
    "The beginning of this file and the end of another"
    other = rng.choice(sound_files())[2]
    data[rng.randrange(len(data)):] = other[rng.randrange(len(other)):]

def _noise(data, rng):
    at = rng.randrange(len(data))
    n = min(len(data) - at, 2**rng.randint(0, 10))
    data[at:at + n] = rng.randbytes(n)

def _lie(data, rng):
    "A field of the header that claims the absurd"
    if data[:4] in (b'RIFF', b'RF64'):
        at, size = rng.choice([(4, 4), (16, 4), (20, 2), (22, 2), (24, 4), (28, 4), (32, 2), (34, 2),
                               (max(data.find(b'data'), 0) + 4, 4)])
        data[at:at + size] = struct.pack('<Q', rng.choice([0, 1, 255, 65_535, 4_000_000_000, 0xffffffff, 0x80000000,
                                                           0x7fffffff, 768_000, 1000, 64]))[:size]
    elif data[:4] == b'fLaC':
        # sample rate (20 bits), channels - 1 (3), bits - 1 (5), samples (36)
        numbers = int.from_bytes(data[18:26], 'big')
        shift, bits = rng.choice([(44, 20), (41, 3), (36, 5), (0, 36)])
        value = rng.choice([0, 1, (1 << bits) - 1, 1 << bits - 1,
                            655_350 if bits == 20 else 50_000_000]) & (1 << bits) - 1
        data[18:26] = (numbers & ~((1 << bits) - 1 << shift) | value << shift).to_bytes(8, 'big')
        if rng.random() < .2:
            # within every limit, and far from true
            data[18:26] = (192_000 << 44 | numbers & 0xff << 36 | 192_000*rng.choice([60, 2000, 3500])).to_bytes(8,
                    'big')
    elif data[:4] == b'OggS':
        at, size = rng.choice([(5, 1), (6, 8), (14, 4), (18, 4), (26, 1), (27, 1), (39, 1), (40, 4), (44, 4), (48, 4),
                               (52, 4), (56, 1)])
        data[at:at + size] = struct.pack('<Q', rng.choice(ODD))[:size]
    elif atoms := [at for name in ATOMS if (at := data.find(name)) > 0]:
        at = rng.choice(atoms) + rng.choice([-4, 4, 8, 12, 16, 20])
        data[at:at + 4] = struct.pack('>I', rng.choice(ODD) & 0xffffffff)
    else:
        xing = max(data.find(b'Xing'), data.find(b'Info'))
        at = rng.choice([2, 3, 6, 7, 8, 9, *([xing + 7, xing + 8, xing + 11, xing + 12] if xing > 0 else [])])
        data[at:at + 4] = struct.pack('>I', rng.choice(ODD) & 0xffffffff)

def _polynomial(width, polynomial):
    "Table of a checksum whose highest bit comes first"
    table = []
    for value in range(256):
        value <<= width - 8
        for _ in range(8): value = (value << 1 ^ (polynomial if value >> width - 1 else 0)) & (1 << width) - 1
        table.append(value)
    return table

_TABLES = {8: _polynomial(8, 0x07), 16: _polynomial(16, 0x8005), 32: _polynomial(32, 0x04c11db7)}

def checksum(width, content):
    value = 0
    for byte in content: value = (value << 8 & (1 << width) - 1) ^ _TABLES[width][value >> width - 8 ^ byte]
    return value

def mend(data):
    "Give the pages of an Ogg and the frames of a FLAC the checksums that their content has"
    if data[:4] == b'OggS':
        starts = [m.start() for m in re.finditer(b'OggS', data)]
        for at, end in zip(starts, [*starts[1:], len(data)]):
            if end - at < 27: continue
            data[at + 22:at + 26] = bytes(4)
            data[at + 22:at + 26] = struct.pack('<I', checksum(32, data[at:end]))
    elif data[:4] == b'fLaC':
        starts = [m.start() for m in re.finditer(rb'\xff[\xf8\xf9]', data)]
        starts = [at for at in starts if any(checksum(8, data[at:at + n]) == data[at + n]
                                             for n in range(5, min(15, len(data) - at - 1)))]
        for at, end in zip(starts, [*starts[1:], len(data)]):
            if end - at > 16: data[end - 2:end] = struct.pack('>H', checksum(16, data[at:end - 2]))

CHANGES = _flip, _flip, _overwrite, _overwrite, _cut, _leave_out, _double, _splice, _noise, _lie, _lie

def mutate(content, rng):
    "A damaged copy of a recording's bytes"
    data = bytearray(content)
    for _ in range(min(rng.randint(1, 4), rng.randint(1, 4))):
        if data: rng.choice(CHANGES)(data, rng)
    if rng.random() < .8: mend(data)
    return bytes(data)

def mutant(n, seed=0):
    "(extension, kind, content) of damaged file `n`"
    rng = random.Random(f'{seed} {n}')
    extension, kind, content = rng.choice(sound_files())
    return extension, kind, mutate(content, rng)

def peak_memory(pid):
    "Most memory that a process has had since this was asked before, in bytes; None where the system does not tell"
    try:
        peak = next(int(line.split()[1])*1024 for line in Path(f'/proc/{pid}/status').read_text().splitlines()
                    if line.startswith('VmHWM'))
        Path(f'/proc/{pid}/clear_refs').write_text('5')
        return peak
    except (OSError, StopIteration): return None

def outcome(read, path):
    "(what came out in a few words, whether that is allowed)"
    try: samples, rate = read(path)
    except AudioError as e:
        text = str(e).removeprefix(f'{path}: ')
        if 'crashes its decoder' in text: return text, True
        if re.match(r'\w+(Error|Exception), ', text): return 'not an AudioError: ' + text, False
        return f'{e.problem}: ' + re.sub(r'[\d.e+]*\d', 'n', text), True
    except Exception as e: return f'not an AudioError: {type(e).__name__}, {e}', False
    good = (isinstance(samples, np.ndarray) and samples.dtype == np.float32 and samples.ndim == 1 and len(samples) > 0
            and np.isfinite(samples).all() and 1000 <= rate <= 768_000)
    return ('samples', True) if good else (f'no samples: {type(samples).__name__}', False)

def reader():
    "Process id of the process that waits for the next file; None if there is none"
    return isolation._idle[-1].process.pid if isolation._idle else None

def feed(read, numbers, seed, folder):
    "Read damaged files by a `WorkerProcess`; what came out of each"
    found = []
    for n in numbers:
        extension, kind, content = mutant(n, seed)
        path, before = Path(folder)/f'{n}{extension}', reader()
        path.write_bytes(content)
        begin = time.perf_counter()
        text, good = outcome(read, path)
        seconds, after = time.perf_counter() - begin, reader()
        peak = after and peak_memory(after) or 0
        path.unlink()
        found.append(dict(n=n, kind=kind, outcome=text, seconds=seconds, peak=peak,
                          restarted=before is not None and before != after, kept=good and seconds < 10 and peak < 1e9))
    return found

def summary(found):
    "Counts over files"
    def count(values): return dict(collections.Counter(values).most_common())
    slowest, largest = max(found, key=lambda f: f['seconds']), max(found, key=lambda f: f['peak'])
    return dict(files=len(found), kept=sum(f['kept'] for f in found),
                samples=sum(f['outcome'] == 'samples' for f in found),
                refused=sum(f['outcome'] != 'samples' for f in found),
                crashed=sum('crashes its decoder' in f['outcome'] for f in found),
                timed_out=sum('not read after' in f['outcome'] for f in found),
                too_much_memory=sum('too much memory' in f['outcome'] for f in found),
                by_format={extension: count(['samples' if f['outcome'] == 'samples' else 'refused' for f in found
                                             if f['kind'].split()[0] in names])
                           for extension, names in (('WAV', ('WAV', 'WAVEX', 'RF64')), ('FLAC', ('FLAC',)),
                                                    ('Ogg', ('OGG',)), ('MP3', ('MP3',)),
                                                    *((name[1:], (name[1:],)) for name in MEDIA))},
                outcomes=dict(list(count([f['outcome'] for f in found]).items())[:40]),
                slowest=dict(n=slowest['n'], kind=slowest['kind'], seconds=round(slowest['seconds'], 3)),
                largest=dict(n=largest['n'], kind=largest['kind'], megabytes=round(largest['peak']/1e6)),
                failed=[f for f in found if not f['kept']][:20],
                crashes=[dict(n=f['n'], kind=f['kind'], outcome=f['outcome']) for f in found if f['restarted']
                         or 'crashes' in f['outcome']][:50])

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--files', type=int, default=5000, help='damaged files')
    parser.add_argument('--first', type=int, default=0, help='number of the first')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--media', action='store_true', help='only files that FFmpeg reads')
    parser.add_argument('--output', type=Path, default=here/'results/fuzz.json')
    args = parser.parse_args()
    global only_media
    only_media = args.media
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, isolation.WorkerProcess(read_audio, seconds=10) as read:
        found = feed(read, range(args.first, args.first + args.files), args.seed, folder)
    result = dict(about='damaged recordings read by isolated processes, as the commands read them',
                  date=datetime.date.today().isoformat(), cpu=processor(), cores=os.cpu_count(),
                  soundfile=sf.__version__, libsndfile=sf.__libsndfile_version__,
                  pyav=metadata.version('av') if reads_media() else None, seed=args.seed,
                  took=round(time.monotonic() - begin)) | summary(found)
    args.output.parent.mkdir(exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + '\n')
    print(f'{result["kept"]} of {result["files"]} kept: {result["samples"]} gave samples, '
          f'{result["refused"]} were refused, {result["crashed"]} crashed their decoder, '
          f'{result["timed_out"]} took too long; {result["took"]} s')
    sys.exit(result['kept'] < result['files'])

if __name__ == '__main__': main()
