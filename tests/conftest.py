"""Settings that all tests share."""

import os

import torch
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a hub
torch.set_num_threads(1)  # several workers on two cores

# Machines that run tests are shared: how long an example takes says nothing.
settings.register_profile("loupe", deadline=None, print_blob=True)
settings.load_profile("loupe")
