"""How fast batches come from the prepared corpus: `python benchmarks/loading.py [--data_dir FOLDER] [--device cuda]
[--quick]`

Takes turns over one epoch of crops of 150 frames in batches of 8: `Samples` from the memory map, with and without
framing; a PyTorch DataLoader over the same corpus; and what one would write first, frames stored as float32 in a .npy
file for each recording and a DataLoader over those. The bound is the same number of values turned from 16-bit to
float32 once, one batch after another into the same place. Says how many bytes on disk both forms take and how much of a
batch is padding. On a GPU, batches end on the device, from a corpus that lives there and from one that does not. Writes
benchmarks/results/<processor>/loading.json; two minutes on one core."""
import tempfile
from pathlib import Path
from timing import corpus, options, row, save, seconds, show, take_turns
import numpy as np
import torch
from speech_ae.data.batches import AudioDataset, Samples, collate
from speech_ae.framing import Framing

BATCH, CROP, framing = 8, 150, Framing()

class Features(torch.utils.data.Dataset):
    "Frames as people keep them: a file of float32 for each recording, from which a random crop is cut"
    def __init__(self, folder, crop=CROP): self.files, self.crop = sorted(folder.glob('*.npy')), crop
    def __len__(self): return len(self.files)
    def __getitem__(self, i):
        frames = np.load(self.files[i], allow_pickle=False)
        if self.crop and len(frames) > self.crop:
            frames = frames[(at := np.random.randint(len(frames) - self.crop)):at + self.crop]
        return torch.from_numpy(frames)

def pad(items): return torch.nn.utils.rnn.pad_sequence(items, batch_first=True), torch.tensor([len(x) for x in items])

def padding(lengths, batches):
    "Share of the batches that is not sound"
    return 1 - sum(lengths[i] for b in batches for i in b)/sum(len(b)*max(lengths[i] for i in b) for b in batches)

def use(batches, then=lambda x: x):
    for samples, _ in batches: then(samples)

def main():
    args = options(__doc__, files=(770, 'recordings used, at most'))
    device, files = args.device, 40 if args.quick else args.files
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prepared, recordings = corpus(args, folder, files)
        crops, whole = (AudioDataset(prepared, recordings, crop_frames=n) for n in (CROP, 0))
        stored = Path(folder)/'features'
        stored.mkdir()
        for i in range(len(whole)): np.save(stored/f'{i:05}.npy', framing.frame(whole[i]))
        batches, samples = crops.batches(BATCH), Samples(prepared, device)
        features, n_frames = Features(stored), sum(crops.n_frames(i) for i in range(len(crops)))
        # what a perfect loader has at hand
        values = [samples.gather([crops.crops[i] for i in b])[0].to(device) for b in batches]
        place = torch.empty(max(v.numel() for v in values), device=device)
        def bound(): [place[:v.numel()].view(v.shape).copy_(v) for v in values]
        def plain(workers):
            epochs = max(1, round(len(crops)/len(features)))  # as many crops as the others cut
            for _ in range(epochs):
                use(((x.to(device), n)
                     for x, n in torch.utils.data.DataLoader(features, BATCH, shuffle=True, collate_fn=pad,
                                                             num_workers=workers, pin_memory=device == 'cuda')))
        away = Samples(prepared, device)
        away.values = None
        tasks = {'one pass over the values': bound, 'speech_ae': lambda: use(samples.load(crops, batches)),
                 'speech_ae, framed': lambda: use(samples.load(crops, batches), framing.frame),
                 **({'speech_ae, corpus not on the GPU': lambda: use(away.load(crops, batches))} if device != 'cpu'
                    else {}),
                 'speech_ae, DataLoader, 0 workers': lambda: use(((x.to(device), n)
                                                                  for x, n in torch.utils.data.DataLoader(crops,
                         batch_sampler=batches, collate_fn=collate))),
                 'speech_ae, DataLoader, 2 workers': lambda: use(away.load(crops, batches, workers=2)),
                 '.npy frames, DataLoader, 0 workers': lambda: plain(0),
                 '.npy frames, DataLoader, 2 workers': lambda: plain(2)}
        times = take_turns(tasks, args.rounds, device)
        length, rows = n_frames/framing.frame_rate, []
        plain_frames = max(1,
                           round(len(crops)/len(features)))*sum(min(CROP, whole.n_frames(i)) for i in range(len(whole)))
        for name, found in times.items():
            sound = plain_frames/framing.frame_rate if name.startswith('.npy') else length
            rows.append(row(name, 'bound' if name.startswith('one') else 'alternative' if 'DataLoader' in name
                            else 'ours', found, None if name.startswith('.npy') else times['one pass over the values'],
                            'wall',
                            times_real_time=sound/seconds(found, 'wall'), times_real_time_cpu=sound/seconds(found),
                            batches_per_second=sound/length*len(batches)/seconds(found, 'wall')))
        def lengths(data): return np.array([stop - start for _, start, stop in data.crops])
        order = np.random.default_rng(0).permutation(len(whole)).tolist()
        shares = dict(crops=padding(lengths(crops), batches), whole=padding(lengths(whole), whole.batches(BATCH)),
                      whole_shuffled=padding(lengths(whole), [order[i:i + BATCH] for i in range(0, len(order), BATCH)]))
        disk = dict(store=(prepared.folder/'samples.i16').stat().st_size,
                    frames=sum(f.stat().st_size for f in stored.glob('*.npy')))
    show(rows, ('name', 'role', 'cpu', 'wall', 'times_real_time', 'times_real_time_cpu', 'batches_per_second',
                'share_of_bound'))
    print({k: f'{100*v:.2f} % padding' for k, v in shares.items()},
          {k: f'{v/prepared.seconds*3600/1e9:.2f} GB an hour' for k, v in disk.items()})
    save(args, 'loading', 'one epoch of crops, files in the page cache; wall time counts, for workers work beside the '
         'loop, and processor time is given beside it; padding is a share of all samples in batches, '
         'whole_shuffled that of a plain shuffled DataLoader; disk in bytes',
         settings=dict(files=files, batch=BATCH, crop_frames=CROP, threads=1), basis='wall', seconds_of_sound=length,
         seconds_of_corpus=prepared.seconds, batches=len(batches), rows=rows, padding=shares,
         padding_met=max(shares['crops'], shares['whole']) < .05,
         disk=disk, gigabytes_an_hour={k: v/prepared.seconds*3600/1e9 for k, v in disk.items()})

if __name__ == '__main__': main()
