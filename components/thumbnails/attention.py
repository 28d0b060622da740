"""The gallery's picture of the attention page."""

import numpy as np
from PIL import Image

from components.thumbnails import TOKENS, coloured
from models.attention.head_figures import head_figures
from models.networks.catalogue import DEFAULT
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tracing import trace


def draw() -> Image.Image:
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
