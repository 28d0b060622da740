"""The gallery's picture of the quantization page."""

import numpy as np
from PIL import Image

from components.thumbnails import TOKENS, coloured
from models.networks.catalogue import DEFAULT
from models.networks.loading import load
from models.quantization.quantized_network import matrix, weights_of
from models.quantization.weight_formats import Setting, quantize


def draw() -> Image.Image:
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
