"""Settings that all tests share."""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # as in app.py, before torch and NumPy come
    os.environ.setdefault(name, "1")

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a hub
torch.set_num_threads(1)  # several workers on two cores

# Machines that run tests are shared: how long an example takes says nothing.
settings.register_profile("loupe", deadline=None, print_blob=True)
settings.load_profile("loupe")
