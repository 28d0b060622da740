"""The references: Streamlit applications of a few lines, which do no more than they must."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser.server import HEALTH, Server, serving

HELLO = """import streamlit as st

st.write("hello")
"""

# A slider and a heatmap of 64 × 64, as Streamlit's own parts do it.
CHART = """import numpy as np
import plotly.graph_objects as go
import streamlit as st

temperature = st.slider("Temperature", 0.05, 20.0, 1.0)
scores = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
weights = np.exp(scores / temperature)
weights /= weights.sum(1, keepdims=True)
st.plotly_chart(go.Figure(go.Heatmap(z=weights, zmin=0, zmax=1), {"height": 560}), key="chart")
"""


@contextmanager
def bare(script: str) -> Iterator[Server]:
    """Serve a script from a folder of its own, without any settings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bare.py"
        path.write_text(script)
        with serving(path, HEALTH) as server:
            yield server
