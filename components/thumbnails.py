"""Draw the gallery's pictures from real numbers: ``python -m components.thumbnails``."""

from pathlib import Path

import numpy as np
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

from components.catalogue import PAGES
from components.figures.style import SEQUENTIAL
from models.networks.catalogue import DEFAULT
from models.networks.evaluation import head_figures
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tracing import trace
from models.quantized_network import matrix, weights_of
from models.weight_formats import Setting, quantize

SIZE = (640, 320)
TOKENS = 40


def attention() -> Image.Image:
    """The previous-token head and the strongest first-token head, side by side, on a passage."""
    network = load(DEFAULT)
    figures = head_figures(network)
    traced = trace(network, passages()[0].excerpt)
    maps = []
    for name in ("previous_token_on_text", "first_token_on_text"):
        layer, head = figures[f"{name}_head"]
        weights = traced.layers[layer].probabilities[head, :TOKENS, :TOKENS].numpy()
        maps.append(np.where(np.tril(np.ones_like(weights)) > 0, weights, np.nan))
    return coloured(np.concatenate([maps[0], np.full((TOKENS, 2), np.nan), maps[1]], axis=1))


def quantization() -> Image.Image:
    """The same corner of a weight matrix in 8, 4, 3 and 2 bits, from left to right."""
    network = load(DEFAULT)
    corner = matrix(network, weights_of(network)[0])[:TOKENS, :18]
    limit = float(corner.abs().max()) / 2
    parts = []
    for bits in (8, 4, 3, 2):
        setting = Setting(bits=bits, granularity="channel", clipping="mse")
        parts += [
            quantize(corner, setting).dequantized.numpy() / limit / 2 + 0.5,
            np.full((TOKENS, 2), np.nan),
        ]
    return coloured(np.concatenate(parts[:-1], axis=1))


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


DRAWINGS = {"attention": attention, "quantization": quantization}


def main() -> None:
    for entry in PAGES:
        entry.thumbnail.parent.mkdir(parents=True, exist_ok=True)
        DRAWINGS[entry.name]().save(entry.thumbnail, optimize=True)
        print(Path(entry.thumbnail).name)


if __name__ == "__main__":
    main()
