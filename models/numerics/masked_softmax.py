"""Softmax over the keys of which some are hidden, step by step."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MaskedSoftmax:
    """What softmax does to rows of scores; each part broadcasts against the scores."""

    row_maximum: Float[Tensor, "*rows 1"]  # −∞ in a row that is hidden throughout
    exponentials: Float[Tensor, "*rows key"]
    denominator: Float[Tensor, "*rows 1"]
    probabilities: Float[Tensor, "*rows key"]


def masked_softmax(scores: Float[Tensor, "*rows key"]) -> MaskedSoftmax:
    """Softmax over the keys, in float32 at least; rows of nothing but −∞ become zero."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    row_maximum = scores.amax(dim=-1, keepdim=True)
    # −∞ − (−∞) would be NaN; without a finite score there is nothing to subtract
    exponentials = (scores - row_maximum.masked_fill(row_maximum == -torch.inf, 0.0)).exp()
    denominator = exponentials.sum(dim=-1, keepdim=True)
    probabilities = exponentials / denominator.masked_fill(denominator == 0, 1.0)
    return MaskedSoftmax(row_maximum, exponentials, denominator, probabilities)
