"""Softmax over the keys of which some are hidden, step by step."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MaskedSoftmax:
    """What softmax does to rows of scores; each part broadcasts against the scores."""

    row_maximum: Float[Tensor, "*rows 1"]  # −∞ in a row that is hidden throughout; a sink counts
    exponentials: Float[Tensor, "*rows key"]
    denominator: Float[Tensor, "*rows 1"]
    probabilities: Float[Tensor, "*rows key"]


def masked_softmax(
    scores: Float[Tensor, "*rows key"], sink: Float[Tensor, "*#rows 1"] | None = None
) -> MaskedSoftmax:
    """Softmax over the keys, in float32 at least; rows of nothing but −∞ become zero.

    ``sink`` is a learned score that takes part in the sum and reads no key, so that a row's weights add
    up to less than 1 (gpt-oss: OpenAI 2025, model card, section 2).
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if scores.shape[-1] == 0:  # no key, nothing to weigh; amax would have nothing to choose from
        row_maximum = scores.new_full((*scores.shape[:-1], 1), -torch.inf)
    else:
        row_maximum = scores.amax(dim=-1, keepdim=True)
    if sink is not None:
        row_maximum = torch.maximum(row_maximum, sink.to(scores.dtype))
    # −∞ − (−∞) would be NaN; without a finite score there is nothing to subtract
    exponentials = (scores - row_maximum.masked_fill(row_maximum == -torch.inf, 0.0)).exp()
    denominator = exponentials.sum(dim=-1, keepdim=True)
    if sink is not None:
        denominator = denominator + (sink.to(scores.dtype) - row_maximum).exp()
    probabilities = exponentials / denominator.masked_fill(denominator == 0, 1.0)
    return MaskedSoftmax(row_maximum, exponentials, denominator, probabilities)
