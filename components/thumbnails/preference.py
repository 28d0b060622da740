"""The gallery's picture of the preference page."""

import numpy as np
import torch
from PIL import Image

from components.thumbnails import coloured
from models.preference.losses import LossSettings, Pairs
from models.preference.relatives import LOSSES


def draw() -> Image.Image:
    """Losses over the plane of both log-ratios, side by side."""
    axis = torch.linspace(-10, 10, 48)
    rejected, chosen = (grid.flatten() for grid in torch.meshgrid(axis.flip(0), axis, indexing="ij"))
    one, reference = torch.full_like(chosen, 10.0), torch.full_like(chosen, -20.0)
    pairs = Pairs(reference + chosen, reference + rejected, reference, reference, one, one)
    settings = LossSettings(beta=0.4)
    shown = []
    for name in ("sigmoid", "bco_pair", "apo_zero", "apo_down"):
        loss = LOSSES[name](pairs, settings).reshape(48, 48).numpy()
        bands = np.floor(10 * (loss - loss.min()) / np.ptp(loss)) / 10
        shown += [bands, np.full((48, 2), np.nan)]
    return coloured(np.concatenate(shown[:-1], axis=1))
