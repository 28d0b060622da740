"""Draw the gallery's pictures from real numbers: ``python -m components.thumbnails``."""

from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

from components.catalogue import PAGES
from components.figures.style import SEQUENTIAL
from models.moe_training import Knobs, LayerSettings, LayerTraining
from models.networks.catalogue import DEFAULT
from models.networks.evaluation import head_figures
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tracing import trace

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


def moe() -> Image.Image:
    """Load of a small layer's experts over its training: left unbalanced, right balanced by a bias."""
    maps = []
    for balancing in ("none", "sign"):
        knobs = Knobs(balancing, bias_rate=0.01)
        steps = LayerTraining(LayerSettings()).steps(repeat(knobs).__next__, 400)
        load = np.stack([step.load.numpy() for step in steps]).reshape(40, 10, -1).mean(1)
        maps.append((load / load.mean(1, keepdims=True)).T / 2.5)
    return coloured(np.concatenate([maps[0], np.full((len(maps[0]), 2), np.nan), maps[1]], axis=1))


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


DRAWINGS = {"attention": attention, "moe": moe}


def main() -> None:
    for entry in PAGES:
        entry.thumbnail.parent.mkdir(parents=True, exist_ok=True)
        DRAWINGS[entry.name]().save(entry.thumbnail, optimize=True)
        print(Path(entry.thumbnail).name)


if __name__ == "__main__":
    main()
