"""How far two results are apart: what "Checked against" shows."""

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError


def largest_difference(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> float:
    """The largest |a − b|, compared in float64; what "Checked against" shows.

    The same infinity in both counts as equal. Infinity (no agreement) where one is infinite and the
    other is not, where the signs differ, and where either is NaN. Zero for empty tensors.

    Raises InputError when the shapes differ.
    """
    if a.shape != b.shape:
        raise InputError(
            "Shapes {first} and {second} cannot be compared; they must be the same.",
            first=tuple(a.shape),
            second=tuple(b.shape),
        )
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    difference = torch.where(a == b, 0.0, (a - b).abs())  # ∞ − ∞ is NaN, though they are equal
    return difference.nan_to_num(nan=torch.inf, posinf=torch.inf).amax().item() if a.numel() else 0.0
