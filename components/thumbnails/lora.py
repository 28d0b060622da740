"""The gallery's picture of the lora page."""

import numpy as np
from PIL import Image

from components.thumbnails import coloured
from models.lora.comparison import grid
from models.lora.initialisations import Initialisation
from models.lora.lab import Recipe, Task, train


def draw() -> Image.Image:
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
