"""Draw the gallery's pictures from real numbers: ``python -m components.thumbnails``."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale, unlabel_rgb

from components.catalogue import PAGES
from components.figures.style import SEQUENTIAL
from models.long_context import rope_of
from models.masks import lambda_shaped
from models.networks.catalogue import DEFAULT
from models.networks.evaluation import head_figures
from models.networks.interventions import Intervention, Visible
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tracing import trace, trace_ids
from models.positions import sinusoidal
from models.rope_scaling import scaled_rope

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
    """A head that rests on the first token, with the network's own mask and with sinks and a window."""
    network = load(DEFAULT)
    layer, head = head_figures(network)["first_token_on_text_head"]
    visible = lambda_shaped(2, 10).to_tensor(TOKENS, TOKENS)
    text = passages()[0].excerpt
    ids = trace(network, text).token_ids[:TOKENS]
    maps = []
    for change in (Intervention(), Intervention(visible=Visible.from_tensor(visible))):
        record = trace_ids(network, ids, change).layers[layer]
        weights = record.probabilities[head].masked_fill(~record.visible, torch.nan).numpy()
        maps.append(weights**0.5)  # the many small weights stay visible
    return coloured(np.concatenate([maps[0], np.full((TOKENS, 2), np.nan), maps[1]], axis=1))


def positions() -> Image.Image:
    """The sinusoidal encoding, positions down and dimensions across."""
    return coloured((sinusoidal(32, 64).numpy() + 1) / 2)


def context() -> Image.Image:
    """The angles of every pair up to eight times the trained length, unscaled above and YaRN below."""
    network = load(DEFAULT)
    own = rope_of(network)
    yarn = replace(own, rope_type="yarn", factor=8.0, longest=8 * own.longest, trained=own.longest)
    positions = torch.linspace(0, yarn.longest, 320)
    bands = [(1 + torch.cos(scaled_rope(rope).inverse_frequencies[:, None] * positions)) / 2
             for rope in (own, yarn)]  # fmt: skip
    gap = np.full((1, len(positions)), np.nan)
    return coloured(np.concatenate([bands[0].numpy(), gap, bands[1].numpy()]))


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


DRAWINGS = {
    "attention": attention,
    "masks": masks,
    "positions": positions,
    "context": context,
}


def main() -> None:
    for entry in PAGES:
        entry.thumbnail.parent.mkdir(parents=True, exist_ok=True)
        DRAWINGS[entry.name]().save(entry.thumbnail, optimize=True)
        print(Path(entry.thumbnail).name)


if __name__ == "__main__":
    main()
