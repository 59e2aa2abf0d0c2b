"""What the parts of the transform-coding model are worth on real speech: `python benchmarks/allocation.py --data
FOLDER`

How long a group of frames must be that shares its numbers; how loud the noise in the holes should be (judged on
training speakers, needs the extra `metrics`); what networks after the allocation add. SI-SDR on whole recordings of
speakers that were not fitted on. Writes benchmarks/results/allocation.json. Networks are trained for `--steps` steps on
batches of 16 crops of one second, which takes about a quarter of an hour each for 3,000 steps on one free core."""
import argparse, json, time
from pathlib import Path
import numpy as np
import torch
from torch import nn
from speech_ae.adaptive.allocation import AdaptiveBaseline, Allocation, lapped
from speech_ae.adaptive.model import Refiner
from speech_ae.data.batches import AudioDataset
from speech_ae.data.corpus import bandwidth, split_by_speaker
from speech_ae.data.preparation import prepare_corpus
from speech_ae.measure.quality import measure_recording
from machine import processor

here = Path(__file__).resolve().parent
GROUPS, KS = (2, 10, 32, 100, 300, 1000), (100, 50, 25, 12)

class LSTMRefiner(nn.Module):
    """As large as half of the classic network: two bidirectional layers of 256 over the blocks; its output begins at
    zero"""
    def __init__(self, block=440, size=256):
        super().__init__()
        self.input, self.lstm = nn.Linear(2*block, size), nn.LSTM(size, size, 2, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Linear(2*size, size), nn.ReLU(), nn.Linear(size, block))
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    def forward(self, values, keep, energies, real):
        size = energies.sqrt()
        seen = torch.cat([torch.asinh(2*values*size), .4*size.log() + 1], -1)*real
        return self.head(self.lstm(self.input(seen))[0])*(~keep & real)

def decibels(energy, error): return (10*torch.log10(energy/error.clamp(min=1e-9*energy))).clamp(max=45)

def prepared(allocation, samples):
    "Coefficients in units of their expected size, what the decoder knows, for one recording"
    n_frames = torch.tensor([allocation.framing.n_frames(len(samples))])
    blocks, n_blocks = allocation.blocks(torch.as_tensor(samples)[None], n_frames)
    coefficients = lapped(blocks, n_blocks)
    indices = allocation.indices(coefficients, n_blocks)
    energies, keep = allocation.expected(indices), allocation.keep(indices, n_frames)
    return (coefficients/energies.sqrt()/allocation.level)[0], keep[0], energies[0]

def groups(allocation, recordings):
    "Mean SI-SDR for each length of a group and each k"
    table = []
    for k in KS:
        for frames in GROUPS:
            trial = Allocation(k, allocation.framing, frames)
            trial.load_state_dict(allocation.state_dict())
            scores = []
            for x in recordings:
                values, keep, energies = prepared(trial, x)
                power = values.square()*energies
                scores.append(decibels(power.sum(), (power*~keep).sum()).item())
            table.append(dict(k=k, group_frames=frames, si_sdr=round(float(np.mean(scores)), 3)))
            print(table[-1], flush=True)
    return table

def fills(allocation, recordings):
    "PESQ, ESTOI and SI-SDR for some levels of the noise in place of dropped coefficients"
    table = []
    for k in (25, 12):
        for fill in (0., .2, .35, .5, .7):
            trial = Allocation(k, allocation.framing, noise_fill=fill)
            trial.load_state_dict(allocation.state_dict())
            found = [measure_recording(x, AdaptiveBaseline(trial)(x), metrics=('waveform', 'pesq', 'stoi'))
                     for x in recordings]
            table.append(dict(k=k, noise_fill=fill,
                              **{m: round(float(np.mean([f[m] for f in found])), 3)
                                 for m in ('pesq_wb', 'estoi', 'si_sdr')}))
            print(table[-1], flush=True)
    return table

def network(refiner, allocation, train, held_out, steps, crop=50, batch=16, rate=2e-3):
    "Train a network after the allocation; paired gain on recordings held out"
    rng, real = np.random.default_rng(0), torch.ones(1, 1, 1, dtype=torch.bool)
    train = [item for item in train if len(item[0]) > crop]
    share = np.array([len(item[0]) - crop for item in train], float)
    optimizer, start, curve = torch.optim.AdamW(refiner.parameters(), lr=rate), time.perf_counter(), []
    def error(values, keep, energies):
        return (((values - refiner(values*keep, keep, energies,
                                   real.expand(*keep.shape[:2], 1)))*~keep).square()*energies).sum((1, 2))
    def gain():
        with torch.no_grad():
            before, after = zip(*[(decibels((v.square()*e).sum(), ((v*~m).square()*e).sum()),
                                   decibels((v.square()*e).sum(), error(v[None], m[None], e[None])[0]))
                                  for v, m, e in held_out])
        paired = np.array(after) - np.array(before)
        return dict(gain_db=round(float(paired.mean()), 4),
                    standard_error=round(float(paired.std(ddof=1)/np.sqrt(len(paired))), 4))
    for step in range(steps):
        for group in optimizer.param_groups:
            group['lr'] = rate*min(1, (step + 1)/100)*(.5 + .5*np.cos(np.pi*step/steps))
        pick = rng.choice(len(train), batch, p=share/share.sum())
        cuts = [(train[i], rng.integers(0, len(train[i][0]) - crop)) for i in pick]
        values, keep, energies = (torch.stack([item[j][at:at + crop] for item, at in cuts]) for j in range(3))
        power, missing = (values.square()*energies).sum((1, 2)), ((values*~keep).square()*energies).sum((1, 2))
        loss = ((error(values, keep, energies) + 1e-4*power + 1e-3)/(missing + 1e-4*power + 1e-3)).log().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(refiner.parameters(), 1.)
        optimizer.step()
        if (step + 1) % max(1, steps//6) == 0:
            curve.append(dict(step=step + 1, seconds=round(time.perf_counter() - start), **gain()))
            print(type(refiner).__name__, curve[-1], flush=True)
    return dict(parameters=sum(p.numel() for p in refiner.parameters()), recordings=len(held_out), curve=curve)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', required=True, type=Path, help='folder of recordings')
    parser.add_argument('--cache_dir', help='for the prepared corpus')
    parser.add_argument('--steps', type=int, default=3000, help='steps of each network; 0 leaves the networks out')
    parser.add_argument('--k', type=int, default=25, help='numbers per frame of the networks')
    parser.add_argument('--output', type=Path, default=here/'results/allocation.json')
    args = parser.parse_args()
    torch.manual_seed(0)
    corpus = prepare_corpus(args.data, cache_dir=args.cache_dir)
    recordings = split_by_speaker(corpus.recordings)
    train, valid = ([np.asarray(x) for x in AudioDataset(corpus, recordings, split)] for split in ('train', 'valid'))
    start = time.perf_counter()
    allocation = Allocation(args.k).fit(train)
    result = dict(fit_seconds=round(time.perf_counter() - start, 1), recordings=len(valid), cpu=processor(),
                  groups=groups(allocation, valid),
                  fills=fills(allocation, [x for x in train if len(x) > 40_000
                                           and bandwidth(x, 22_050) >= 7500][::12][:16]))
    if args.steps:
        with torch.no_grad():
            some, held_out = [prepared(allocation, x) for x in train], [prepared(allocation, x) for x in valid[::3]]
        result |= dict(k=args.k, networks={name: network(kind(), allocation, some, held_out, args.steps)
                                           for name, kind in (('convolution', Refiner), ('LSTM', LSTMRefiner))})
    args.output.write_text(json.dumps(result, indent=1) + '\n')

if __name__ == '__main__': main()
