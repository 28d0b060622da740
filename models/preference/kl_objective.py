"""The objective behind RLHF and DPO, on a few answers where everything can be enumerated.

    max_π  E_π[r(y)] − β KL(π ‖ π_ref)        π*(y) = π_ref(y) e^{r(y)/β} / Z        (Rafailov 2023, eq. 4)
    r(y) = β log π*(y)/π_ref(y) + β log Z                                            (eq. 5)

The implicit reward β log π*/π_ref is the reward up to β log Z, which is the same for all answers to a
prompt and falls out of every difference.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError

MOST_ANSWERS = 12
Distribution = Float[Tensor, " answer"]


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best policy and what it consists of; KL, entropies and rewards in nats."""

    policy: Distribution
    log_partition: float  # log Z
    implicit_reward: Distribution  # β log π*/π_ref
    expected_reward: float
    kl: float  # KL(π* ‖ π_ref)
    objective: float  # E[r] − β KL, which is β log Z at the optimum


def optimum(reference: Distribution, reward: Float[Tensor, " reward"], beta: float) -> Optimum:
    """π* for these answers. Raises InputError where the reference is none or β is not above 0."""
    reference = checked_distribution(reference)
    if not (math.isfinite(beta) and beta > 0):
        raise InputError("β is {value}; it must be above 0.", value=beta)
    if len(reward) != len(reference) or not reward.isfinite().all():
        raise InputError("Each answer needs one finite reward.")
    weighted = reference.log() + reward.double() / beta
    log_partition = float(weighted.logsumexp(0))
    log_policy = weighted - log_partition
    policy = log_policy.exp()
    expected, divergence = float((policy * reward).sum()), kl(policy, reference)
    return Optimum(
        policy,
        log_partition,
        beta * (log_policy - reference.log()),
        expected,
        divergence,
        expected - beta * divergence,
    )


def checked_distribution(weights: Distribution) -> Distribution:
    """Positive weights made to add up to 1. Raises InputError where they are none."""
    if not 2 <= len(weights) <= MOST_ANSWERS:
        raise InputError(
            "There are {count} answers; from 2 to {most} are accepted.",
            count=len(weights),
            most=MOST_ANSWERS,
        )
    weights = weights.double()
    if not (weights.isfinite().all() and (weights > 0).all()):
        raise InputError("Each answer needs a probability above 0 under the reference.")
    return weights / weights.sum()


def entropy(p: Distribution) -> float:
    """H(p) = −Σ p log p in nats; what p = 0 adds is 0."""
    return float(torch.special.entr(p).sum())


def cross_entropy(p: Distribution, q: Distribution) -> float:
    """H(p, q) = −Σ p log q = H(p) + KL(p‖q)."""
    return float(-torch.special.xlogy(p, q).sum())


def kl(p: Distribution, q: Distribution) -> float:
    """KL(p‖q) = H(p, q) − H(p), at least 0."""
    return max(0.0, cross_entropy(p, q) - entropy(p))
