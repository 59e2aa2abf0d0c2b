"Train, resume and measure a speech autoencoder on a folder of recordings"
__version__ = "0.0.1"

import os

# Two spinning OpenMP threads beside one busy process can make an LSTM 30-100 times slower, so threads that wait
# go to sleep, after an instant of spinning: without it, two threads are slower than one on an idle machine too
# (benchmarks/threads.py). The OpenMP library reads these once, when it is loaded: before torch is imported.
for _name, _value in dict(OMP_WAIT_POLICY='passive', GOMP_SPINCOUNT='300', KMP_BLOCKTIME='0').items():
    os.environ.setdefault(_name, _value)
