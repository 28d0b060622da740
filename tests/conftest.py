"""Settings that all tests share."""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # as in app.py, before torch and NumPy come
    os.environ.setdefault(name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a hub; read when its package is imported
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # bitsandbytes compiles its statements for every shape

from functools import cache  # noqa: E402

# Before any module of ours: while jaxtyping's hook loads one, what that imports finds no compiled file.
import plotly.graph_objects  # noqa: E402, F401
import streamlit.testing.v1  # noqa: E402, F401
import torch  # noqa: E402
import transformers.modeling_utils  # noqa: E402, F401
from hypothesis import settings  # noqa: E402
from streamlit.components.v2 import manifest_scanner  # noqa: E402

torch.set_num_threads(1)  # several workers on two cores

# Machines that run tests are shared: how long an example takes says nothing. CI tries the same examples
# each time; LOUPE_EXAMPLES=1000 searches longer.
EXAMPLES = int(os.environ.get("LOUPE_EXAMPLES", "30"))
in_ci = os.environ.get("CI", "").lower() in {"1", "true"}
settings.register_profile("loupe", deadline=None, print_blob=True, max_examples=EXAMPLES, derandomize=in_ci)
settings.load_profile("loupe")

# AppTest looks through all installed packages for Streamlit components in each run: a second, none found.
manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)
