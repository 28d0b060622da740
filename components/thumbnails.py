"""Draw the gallery's pictures from real numbers: ``python -m components.thumbnails``."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

from components.catalogue import PAGES
from components.figures.style import ORANGE, SEQUENTIAL, SKY
from models.networks.catalogue import DEFAULT
from models.networks.evaluation import head_figures
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tracing import trace
from models.optimizers import Choice, Run, trajectory
from models.surfaces import SurfaceChoice, on_grid, surface

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


def optimizers() -> Image.Image:
    """Three paths over Himmelblau's four minima; brightness is the logarithm of the surface."""
    made = surface(SurfaceChoice("himmelblau"))
    values = on_grid(made, SIZE[1]).log1p()
    picture = coloured((1 - values / values.max()).numpy()[::-1])
    left, right, bottom, top = made.window
    pen = ImageDraw.Draw(picture)
    for kind, rate, colour in (("sgd", 0.01, SKY), ("momentum", 0.005, ORANGE), ("adam", 0.3, "white")):
        path = trajectory(made, (-0.5, -4.5), Choice(kind, rate), Run(120)).positions
        across = (path[:, 0] - left) / (right - left) * SIZE[0]
        down = (top - path[:, 1]) / (top - bottom) * SIZE[1]
        pen.line([*zip(across.tolist(), down.tolist(), strict=True)], fill=colour, width=4)
    return picture


DRAWINGS = {"optimizers": optimizers, "attention": attention}


def main() -> None:
    for entry in PAGES:
        entry.thumbnail.parent.mkdir(parents=True, exist_ok=True)
        DRAWINGS[entry.name]().save(entry.thumbnail, optimize=True)
        print(Path(entry.thumbnail).name)


if __name__ == "__main__":
    main()
