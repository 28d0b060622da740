"""The gallery's picture of the policy page."""

import numpy as np
import torch
from PIL import Image

from components.thumbnails import coloured
from models.policy.group_advantages import advantages

GROUPS, ANSWERS = 12, 24


def draw() -> Image.Image:
    """Advantages of twelve groups, from hopeless prompts to solved ones; dead groups are flat."""
    generator = torch.Generator().manual_seed(3)
    rates = torch.linspace(0.01, 0.99, GROUPS)[:, None]
    rewards = (torch.rand(GROUPS, ANSWERS, generator=generator) < rates).float()
    values = 0.5 + advantages(rewards).numpy() / 6
    sorted_rows = np.sort(values, axis=1)
    return coloured(np.kron(sorted_rows, np.ones((2, 2))))
