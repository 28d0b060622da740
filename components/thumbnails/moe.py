"""The gallery's picture of the moe page."""

from itertools import repeat

import numpy as np
from PIL import Image

from components.thumbnails import coloured
from models.moe.layer_training import Knobs, LayerSettings, LayerTraining


def draw() -> Image.Image:
    """Load of a small layer's experts over its training: left unbalanced, right balanced by a bias."""
    maps = []
    for balancing in ("none", "sign"):
        knobs = Knobs(balancing, bias_rate=0.01)
        steps = LayerTraining(LayerSettings()).steps(repeat(knobs).__next__, 400)
        load = np.stack([step.load.numpy() for step in steps]).reshape(40, 10, -1).mean(1)
        maps.append((load / load.mean(1, keepdims=True)).T / 2.5)
    return coloured(np.concatenate([maps[0], np.full((len(maps[0]), 2), np.nan), maps[1]], axis=1))
