"""How evenly a router loads its experts: measures, auxiliary losses, and the bias that needs no loss.

Letters: N experts, K chosen for each token, T tokens. A load counts tokens, K·T of them in all.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.errors import InputError

Convention = Literal["switch", "deepseek", "transformers"]


def expert_load(chosen: Int[Tensor, "*tokens chosen"], experts: int) -> Float[Tensor, " experts"]:
    """How many of the tokens each expert was chosen for."""
    return torch.bincount(chosen.flatten(), minlength=experts).float()


def effective_experts(load: Float[Tensor, "*batch experts"]) -> Float[Tensor, "*batch"]:
    """exp(H(load)): how many experts, equally used, would give this entropy; N at balance, K at least."""
    share = load / load.sum(-1, keepdim=True).clamp(min=1)
    return torch.special.entr(share).sum(-1).exp()


def coefficient_of_variation(load: Float[Tensor, "*batch experts"]) -> Float[Tensor, "*batch"]:
    """Population standard deviation of the load over its mean; 0 at balance.

    Shazeer et al. 2017 (arXiv:1701.06538), section 4, use its square, of the sums of the weights.
    """
    mean = load.mean(-1)
    return torch.where(mean > 0, load.std(-1, correction=0) / mean, torch.zeros_like(mean))


def group_load(load: Float[Tensor, "*batch experts"], groups: int) -> Float[Tensor, "*batch groups"]:
    """Load of each device, which holds N/D neighbouring experts.

    Raises InputError where the D devices do not divide the N experts.
    """
    if groups < 1 or load.shape[-1] % groups:
        raise InputError(
            "{experts} experts do not divide into {groups} groups of equal size.",
            experts=load.shape[-1],
            groups=groups,
        )
    return load.unflatten(-1, (groups, -1)).sum(-1)


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


def mean_score(scores: Float[Tensor, "tokens experts"]) -> Float[Tensor, " experts"]:
    """P: the mean over tokens of scores that are first divided by their sum."""
    return (1 / scores.sum(-1)) @ scores / len(scores)


def load_balancing_loss(
    fraction: Float[Tensor, " experts"],
    probability: Float[Tensor, " experts"],
    convention: Convention,
    chosen: int,
) -> Float[Tensor, ""]:
    """The auxiliary loss from f and P, before its coefficient; balanced at ``balanced_value``.

    ``fraction`` is the share of tokens that go to each expert, which sums to K.

    - switch: N Σ f·P with K = 1 and f the share of tokens; for K > 1 its f is divided by K here.
      Fedus et al. 2021 (arXiv:2101.03961), equations 4 to 6.
    - deepseek: f = N/K × share, Σ f·P. Dai et al. 2024 (arXiv:2401.06066), equations 12 to 14: the
      same number.
    - transformers: N Σ share·P, so K times as large. ``load_balancing_loss_func`` of Mixtral, OLMoE
      and others in transformers 5.23.
    """
    total = len(fraction) * (fraction * probability).sum()
    return total if convention == "transformers" else total / chosen


def balanced_value(convention: Convention, chosen: int) -> float:
    """What the loss is when f and P are even: 1, or K in transformers."""
    return float(chosen) if convention == "transformers" else 1.0


def device_level_loss(
    scores: Float[Tensor, "tokens experts"], chosen: Int[Tensor, "tokens chosen"], devices: int
) -> Float[Tensor, ""]:
    """Σ f′·P′ over devices, f′ the mean f of a device's experts and P′ the sum of their P; 1 at balance.

    Source: Dai et al. 2024 (DeepSeekMoE, arXiv:2401.06066), equations 15 to 17. Raises InputError
    where the devices do not divide the experts.
    """
    experts = scores.shape[-1]
    fraction = expert_load(chosen, experts) * experts / chosen.numel()
    on_device = group_load(fraction, devices) / (experts // devices)
    return (on_device * group_load(mean_score(scores), devices)).sum()


def sequence_level_loss(
    scores: Float[Tensor, "sequences tokens experts"], chosen: Int[Tensor, "sequences tokens chosen"]
) -> Float[Tensor, ""]:
    """The expert-level loss of each sequence by itself, and their mean; 1 at balance.

    Stricter than over the batch: each sequence must use all experts. Source: DeepSeek-V3
    (arXiv:2412.19437), equations 17 to 20.
    """
    losses = [expert_level_loss(s, c) for s, c in zip(scores, chosen, strict=True)]
    return torch.stack(losses).mean()


def router_z_loss(logits: Float[Tensor, "*tokens experts"]) -> Float[Tensor, ""]:
    """Mean of (log Σ exp logits)²: keeps logits small, and balances nothing; ln²N for zero logits.

    Source: Zoph et al. 2022 (ST-MoE, arXiv:2202.08906), equation 5.
    """
    return torch.logsumexp(logits, -1).square().mean()


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
