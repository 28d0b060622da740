"""How evenly a router loads its experts: measures, auxiliary losses, and the bias that needs no loss.

Letters: N experts, K chosen for each token, T tokens. A load counts tokens, K·T of them in all.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.errors import InputError


def expert_load(chosen: Int[Tensor, "*tokens chosen"], experts: int) -> Float[Tensor, " experts"]:
    """How many of the tokens each expert was chosen for."""
    return torch.bincount(chosen.flatten(), minlength=experts).float()


def max_violation(load: Float[Tensor, "*batch experts"]) -> Float[Tensor, "*batch"]:
    """MaxVio: by how much the fullest expert exceeds the mean load, in units of the mean.

    0 is perfect balance, N/K − 1 is collapse. On the load of one batch it is MaxVio_batch, on that
    of a whole data set MaxVio_global. Source: Wang et al. 2024 (arXiv:2408.15664), section 4.1.
    """
    mean = load.mean(-1)
    return torch.where(mean > 0, load.amax(-1) / mean - 1, torch.zeros_like(mean))


def expert_level_loss(
    scores: Float[Tensor, "tokens experts"], chosen: Int[Tensor, "tokens chosen"]
) -> Float[Tensor, ""]:
    """Σ f·P, 1 at balance: f = N/(K·T) × times chosen, P = mean score, scores normalised to sum 1.

    f has no gradient; P carries it. Source: Dai et al. 2024 (DeepSeekMoE, arXiv:2401.06066),
    equations 12 to 14; normalised first as in DeepSeek-V3 (arXiv:2412.19437), equation 19, because
    sigmoid scores do not sum to 1.
    """
    experts = scores.shape[-1]
    fraction = expert_load(chosen, experts) * experts / chosen.numel()
    probability = (scores / scores.sum(-1, keepdim=True)).mean(0)
    return (fraction * probability).sum()


def updated_bias(
    bias: Float[Tensor, " experts"],
    load: Float[Tensor, " experts"],
    rate: float,
    rule: Literal["sign", "proportional"] = "sign",
) -> Float[Tensor, " experts"]:
    """The selection bias after a batch: up where an expert had too few tokens, down where too many.

    ``sign`` moves each bias by ``rate``; ``proportional`` by ``rate`` × (mean − load)/mean. Source:
    Wang et al. 2024 (arXiv:2408.15664), algorithm 1 and table 4. Raises InputError when the rate is
    negative.
    """
    if rate < 0:
        raise InputError("The bias update rate is {rate}; it must not be negative.", rate=rate)
    error = load.mean() - load
    step = error.sign() if rule == "sign" else error / load.mean().clamp(min=1)
    return bias + rate * step
