"""The gallery's picture of the context page."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from components.thumbnails import coloured
from models.context.long_context import rope_of
from models.networks.catalogue import DEFAULT
from models.networks.loading import load
from models.rotary.scaling import scaled_rope


def draw() -> Image.Image:
    """The angles of every pair up to eight times the trained length, unscaled above and YaRN below."""
    network = load(DEFAULT)
    own = rope_of(network)
    yarn = replace(own, rope_type="yarn", factor=8.0, longest=8 * own.longest, trained=own.longest)
    positions = torch.linspace(0, yarn.longest, 320)
    bands = [
        (1 + torch.cos(scaled_rope(rope).inverse_frequencies[:, None] * positions)) / 2
        for rope in (own, yarn)
    ]
    gap = np.full((1, len(positions)), np.nan)
    return coloured(np.concatenate([bands[0].numpy(), gap, bands[1].numpy()]))
