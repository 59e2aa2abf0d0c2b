"Train, resume and measure a speech autoencoder on a folder of recordings"
__version__ = "0.0.1"

import os

# Two spinning OpenMP threads beside one busy process make an LSTM 30-100 times slower, so threads that wait
# go to sleep instead. The OpenMP library reads these once, when it is loaded: before torch is imported.
for _name, _value in dict(OMP_WAIT_POLICY='passive', GOMP_SPINCOUNT='0', KMP_BLOCKTIME='0').items():
    os.environ.setdefault(_name, _value)
