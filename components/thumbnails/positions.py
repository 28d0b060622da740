"""The gallery's picture of the positions page."""

from PIL import Image

from components.thumbnails import coloured
from models.positions.absolute import sinusoidal


def draw() -> Image.Image:
    """The sinusoidal encoding, positions down and dimensions across."""
    return coloured((sinusoidal(32, 64).numpy() + 1) / 2)
