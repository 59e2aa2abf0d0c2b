"""A recording through exported models and back: `python onnx_consumer.py encoder.onnx decoder.onnx in.wav out.wav`;
needs numpy, onnxruntime and soundfile, nothing else."""
import sys
import numpy as np
import onnxruntime
import soundfile

if len(sys.argv) != 5: sys.exit(__doc__)
encoder, decoder = (onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider']) for path in sys.argv[1:3])
facts = encoder.get_modelmeta().custom_metadata_map
rate, length, hop = (int(facts[name]) for name in ('sample_rate', 'frame_length', 'hop_length'))
window = {'hann': np.hanning(length + 1)[:-1], 'boxcar': np.ones(length)}[facts['window']]
samples, found = soundfile.read(sys.argv[3], dtype='float32', always_2d=True)
if found != rate: sys.exit(f'{sys.argv[3]}: {found} samples a second, this model wants {rate}')
samples = samples.mean(1)
count = 1 + -(-(len(samples) - 1)//hop)
starts = hop*np.arange(count)

padded = np.zeros(starts[-1] + length)
padded[length//2:][:len(samples)] = samples
frames = np.stack([padded[start:start + length]*window for start in starts])[None].astype(np.float32)

latents, = encoder.run(['latents'], dict(frames=frames, lengths=np.array([count])))
frames, = decoder.run(['reconstruction'], dict(latents=latents, lengths=np.array([count])))

total, weight = np.zeros(len(padded)), np.zeros(len(padded))
for start, frame in zip(starts, frames[0]):
    total[start:start + length] += frame*window
    weight[start:start + length] += window**2
soundfile.write(sys.argv[4], (total/np.maximum(weight, 1e-9))[length//2:][:len(samples)], rate, subtype='FLOAT')
print(f'{len(samples)/rate:.2f} s, {count} frames, latents of {latents.shape[2]} numbers from '
      f'{latents.min():.2f} to {latents.max():.2f}')
