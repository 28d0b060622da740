"""The gallery's pictures, drawn from real numbers: one module a page, each with ``draw``."""

import importlib

import numpy as np
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

from components.figures.style import SEQUENTIAL

SIZE = (640, 320)
TOKENS = 40


def drawing(page: str) -> Image.Image:
    """The picture of a page, from the module of the same name."""
    return importlib.import_module(f"components.thumbnails.{page}").draw()


def coloured(values: np.ndarray) -> Image.Image:
    """Values between 0 and 1 in the sequential colours; NaN is transparent."""
    steps = np.array(
        [
            unlabel_rgb(colour)
            for colour in sample_colorscale(get_colorscale(SEQUENTIAL), np.linspace(0, 1, 256))
        ]
    )
    indices = np.nan_to_num(values.clip(0, 1) * 255).astype(int)
    alpha = np.where(np.isnan(values), 0, 255)
    pixels = np.concatenate([steps[indices], alpha[..., None]], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels, "RGBA").resize(SIZE, Image.Resampling.NEAREST)
