"""KL estimators on a policy whose every outcome can be listed: exact bias, variance and gradients."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.policy.losses import ESTIMATORS, Estimator, kl_terms

Place = Literal["loss", "loss_corrected", "reward"]
PLACES: tuple[Place, ...] = get_args(Place)
MOST_OUTCOMES = 64


@dataclass(frozen=True, eq=False)
class ValueOfEstimator:
    """An estimator of KL(π‖ref) from one sample of π, in nats; exact, by summing over outcomes."""

    mean: float
    deviation: float
    bias: float  # mean − KL


@dataclass(frozen=True, eq=False)
class GradientOfEstimator:
    """What training with an estimator does to the logits, on average, beside the wanted direction."""

    mean: Float[Tensor, " outcomes"]
    deviation: float  # √(E‖g − E g‖²): noise of one sample's gradient
    error: float  # ‖mean − ∇KL(π‖ref)‖
    reverse_error: float  # ‖mean − ∇KL(ref‖π)‖


def log_policy(logits: Float[Tensor, " outcomes"]) -> Float[Tensor, " outcomes"]:
    """Ln softmax, in float64. Raises InputError on fewer than two outcomes or no finite number."""
    if not 2 <= len(logits) <= MOST_OUTCOMES:
        raise InputError(
            "There are {count} outcomes; from 2 to {most} are accepted.",
            count=len(logits),
            most=MOST_OUTCOMES,
        )
    if not logits.isfinite().all():
        raise InputError("Every logit must be a finite number.")
    return logits.double().log_softmax(dim=0)


def pair(outcomes: int, distance: float, seed: int) -> tuple[Tensor, Tensor]:
    """Logits of a policy and of its reference: both random, ``distance`` apart (0: the same)."""
    generator = torch.Generator().manual_seed(seed)
    reference = torch.randn(outcomes, generator=generator, dtype=torch.float64)
    step = torch.randn(outcomes, generator=generator, dtype=torch.float64)
    return reference + distance * step, reference


def exact_kl(logits: Float[Tensor, " outcomes"], reference: Float[Tensor, " outcomes"]) -> float:
    """KL(π‖ref) in nats."""
    log_p, log_r = log_policy(logits), log_policy(reference)
    return float((log_p.exp() * (log_p - log_r)).sum())


def value_of(
    logits: Float[Tensor, " outcomes"], reference: Float[Tensor, " outcomes"], estimator: Estimator
) -> ValueOfEstimator:
    """Mean, deviation and bias of one sample's estimate."""
    log_p, log_r = log_policy(logits), log_policy(reference)
    p, terms = log_p.exp(), kl_terms(log_p, log_r, estimator)
    mean = (p * terms).sum()
    variance = (p * (terms - mean) ** 2).sum()
    return ValueOfEstimator(float(mean), float(variance.sqrt()), float(mean) - exact_kl(logits, reference))


def true_gradients(
    logits: Float[Tensor, " outcomes"], reference: Float[Tensor, " outcomes"]
) -> tuple[Float[Tensor, " outcomes"], Float[Tensor, " outcomes"]]:
    """∇KL(π‖ref) and ∇KL(ref‖π) with respect to π's logits: p·(d − KL), and p − ref."""
    log_p, log_r = log_policy(logits), log_policy(reference)
    p, difference = log_p.exp(), log_p - log_r
    return p * (difference - (p * difference).sum()), p - log_r.exp()


def sample_gradients(
    logits: Float[Tensor, " outcomes"],
    reference: Float[Tensor, " outcomes"],
    estimator: Estimator,
    place: Place,
) -> Float[Tensor, "sampled outcomes"]:
    """The gradient that each outcome gives to the logits when it is the one that was sampled.

    "loss" differentiates the estimate through ln π(x), as a term of the loss does; "loss_corrected"
    does so after multiplying it by π/sg(π) (DeepSeek-V3.2, TRL's use_bias_correction_kl); "reward"
    takes the estimate as a number and multiplies ∇ ln π(x) by it.
    """
    log_p, log_r = log_policy(logits), log_policy(reference)
    difference = log_p - log_r
    score = torch.eye(len(logits), dtype=torch.float64) - log_p.exp()  # ∇ ln π(x), one row an outcome
    slope = {"k1": torch.ones_like(difference), "k2": difference, "k3": -torch.expm1(-difference)}[
        estimator
    ]
    value = kl_terms(log_p, log_r, estimator)
    factor = {"loss": slope, "loss_corrected": slope + value, "reward": value}[place]
    return factor[:, None] * score


def gradient_of(
    logits: Float[Tensor, " outcomes"],
    reference: Float[Tensor, " outcomes"],
    estimator: Estimator,
    place: Place,
) -> GradientOfEstimator:
    """The average over all outcomes, its noise, and how far it is from either KL's gradient."""
    p = log_policy(logits).exp()
    each = sample_gradients(logits, reference, estimator, place)
    mean = p @ each
    forward, reverse = true_gradients(logits, reference)
    noise = (p * ((each - mean) ** 2).sum(dim=1)).sum().sqrt()
    return GradientOfEstimator(
        mean, float(noise), float((mean - forward).norm()), float((mean - reverse).norm())
    )


def running_means(
    logits: Float[Tensor, " outcomes"], reference: Float[Tensor, " outcomes"], samples: int, seed: int
) -> dict[Estimator, Float[Tensor, " samples"]]:
    """Each estimator's mean over the first 1, 2, … samples of π, all on the same ones."""
    log_p, log_r = log_policy(logits), log_policy(reference)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(log_p.exp(), samples, replacement=True, generator=generator)
    count = torch.arange(1, samples + 1)
    return {name: kl_terms(log_p, log_r, name)[drawn].cumsum(0) / count for name in ESTIMATORS}
