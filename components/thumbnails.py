"""Draw the gallery's pictures from real numbers: ``python -m components.thumbnails``."""

from pathlib import Path

import numpy as np
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

from components.catalogue import PAGES
from components.figures.style import SEQUENTIAL
from models.lora_comparison import grid
from models.lora_initialisations import Initialisation
from models.lora_lab import Recipe, Task, train
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


def lora() -> Image.Image:
    """Losses of three initialisations against the step, as the task turns from one end to the other."""
    names: tuple[Initialisation, ...] = ("kaiming", "pissa", "milora")
    columns = []
    for alignment in np.linspace(-1, 1, 24):
        runs = grid(names, (8,), (1e-2,), (0,))
        *_steps, last = train(Task(width=32, alignment=float(alignment)), runs, Recipe(steps=60), 60)
        columns.append(last.losses[:, ::3].T.numpy())
    curves = np.stack(columns)  # alignment, step, initialisation
    shown = 1 + np.log10(np.clip(curves, 1e-4, 1)) / 4
    gap = np.full((1, shown.shape[1]), np.nan)
    rows = [np.concatenate([shown[:, :, index], gap]) for index in range(len(names))]
    return coloured(np.concatenate(rows)[:-1])


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


DRAWINGS = {"attention": attention, "lora": lora}


def main() -> None:
    for entry in PAGES:
        entry.thumbnail.parent.mkdir(parents=True, exist_ok=True)
        DRAWINGS[entry.name]().save(entry.thumbnail, optimize=True)
        print(Path(entry.thumbnail).name)


if __name__ == "__main__":
    main()
