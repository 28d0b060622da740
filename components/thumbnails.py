"""Draw the gallery's pictures from real numbers: ``python -m components.thumbnails``."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

from components.catalogue import PAGES
from components.figures.style import SEQUENTIAL
from models.networks.catalogue import DEFAULT
from models.networks.evaluation import head_figures
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tracing import trace
from models.packing import visible_pairs as packed_pairs
from models.streaming import KeyCache
from models.streaming import visible_pairs as streaming_pairs

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


def masks() -> Image.Image:
    """A Λ-shaped cache beside the packed conversations' blocks, bright as the weights of a real head."""
    traced = trace(load(DEFAULT), passages()[1].excerpt)
    layer, head = head_figures(load(DEFAULT))["first_token_on_text_head"]
    weights = traced.layers[layer].probabilities[head, :TOKENS, :TOKENS]
    documents = torch.arange(TOKENS) // 14
    shapes = (streaming_pairs(TOKENS, KeyCache(9, 3)), packed_pairs(documents))
    maps = [np.where(shape, 0.35 + weights.sqrt(), np.nan) for shape in shapes]
    return coloured(np.concatenate([maps[0], np.full((TOKENS, 2), np.nan), maps[1]], axis=1))


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


DRAWINGS = {"attention": attention, "masks": masks}


def main() -> None:
    for entry in PAGES:
        entry.thumbnail.parent.mkdir(parents=True, exist_ok=True)
        DRAWINGS[entry.name]().save(entry.thumbnail, optimize=True)
        print(Path(entry.thumbnail).name)


if __name__ == "__main__":
    main()
