"""Preference losses put together from torch's own losses and distributions: a second way to each."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    kl_div,
    logsigmoid,
    margin_ranking_loss,
    mse_loss,
    nll_loss,
)

from models.numerics.comparison import largest_difference
from models.preference.losses import Losses, LossSettings, Pairs, graded, scores
from models.preference.relatives import LOSSES

MOST_CHECKED = 256  # pairs; nll_loss needs a square of them


def _entropy(logit: Tensor, target: float) -> Tensor:
    """Cross-entropy of a coin: −t log σ(x) − (1−t) log σ(−x)."""
    return binary_cross_entropy_with_logits(logit, torch.full_like(logit, target), reduction="none")


def _chance(logit: Tensor) -> Tensor:
    return Bernoulli(logits=logit).probs


def _square(values: Tensor, goal: float) -> Tensor:
    return mse_loss(values, torch.full_like(values, goal), reduction="none")


def _by_length(pairs: Pairs, settings: LossSettings, is_divided: bool = True) -> Tensor:
    chosen, rejected = scores(pairs, settings)
    if is_divided:
        chosen, rejected = chosen / pairs.chosen_length, rejected / pairs.rejected_length
    return chosen - rejected


def _exo(z: Tensor, epsilon: float) -> Tensor:
    """kl_div's target is the policy's own view, its input the smoothed labels; both as logarithms.

    A probability of 0 has the gradient 0·∞, which a logarithm has not.
    """
    seen = torch.stack([logsigmoid(z), logsigmoid(-z)], 1)
    labels = torch.tensor([1 - epsilon, epsilon], dtype=z.dtype).log().expand_as(seen)
    return kl_div(labels, seen, reduction="none", log_target=True).sum(1)


def _sft(pairs: Pairs) -> Tensor:
    """nll_loss with a class for each pair, weighted by its length."""
    means = torch.diag_embed(pairs.chosen / pairs.chosen_length)
    found: Tensor = nll_loss(means, torch.arange(len(pairs)), weight=pairs.chosen_length)
    return found.expand(len(pairs))


def by_torch(name: str, pairs: Pairs, settings: LossSettings) -> Losses:
    """The loss ``name`` of each pair; sorted losses in the order of their sorting."""
    beta, epsilon = settings.beta, settings.smoothing
    z = beta * _by_length(pairs, settings, False)
    chosen, rejected = beta * pairs.delta_chosen, beta * pairs.delta_rejected
    means = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
    ways: dict[str, Callable[[], Tensor]] = {
        "sigmoid": lambda: _entropy(z, 1.0),
        "cdpo": lambda: _entropy(z, 1 - epsilon),
        "hinge": lambda: margin_ranking_loss(
            z, torch.zeros_like(z), torch.ones_like(z), margin=1.0, reduction="none"
        ),
        "ipo": lambda: _square(_by_length(pairs, settings, settings.ipo_by_token), 0.5 / beta),
        "exo_pair": lambda: _exo(z, epsilon),
        "nca_pair": lambda: _entropy(chosen, 1.0) + 0.5 * (_entropy(chosen, 0.0) + _entropy(rejected, 0.0)),
        "robust": lambda: (
            ((1 - epsilon) * _entropy(z, 1.0) - epsilon * _entropy(z, 0.0)) / (1 - 2 * epsilon)
        ),
        "bco_pair": lambda: _entropy(chosen, 1.0) + _entropy(rejected, 0.0),
        "sppo_hard": lambda: (
            _square(pairs.delta_chosen, 0.5 / beta) + _square(pairs.delta_rejected, -0.5 / beta)
        ),
        "aot": lambda: _entropy(
            beta
            * (
                torch.sort(pairs.chosen - pairs.rejected).values
                - torch.sort(pairs.reference_chosen - pairs.reference_rejected).values
            ),
            1 - epsilon,
        ),
        "aot_unpaired": lambda: _entropy(
            torch.sort(chosen).values - torch.sort(rejected).values, 1 - epsilon
        ),
        "apo_zero": lambda: _chance(-chosen) + _chance(rejected),
        "apo_down": lambda: _chance(chosen) + _chance(rejected - chosen),
        "discopop": lambda: torch.lerp(_entropy(z, 1.0), torch.exp(-z), _chance(z / settings.tau)),
        "sft": lambda: _sft(pairs),
        "sigmoid_norm": lambda: _entropy(beta * _by_length(pairs, settings), 1.0),
        "simpo": lambda: _entropy(beta * (means[0] - means[1]) - settings.gamma, 1 - epsilon),
        "orpo": lambda: (
            settings.odds_weight * _entropy(torch.logit(means[0].exp()) - torch.logit(means[1].exp()), 1.0)
            - means[0]
        ),
        "kto": lambda: (
            0.5 * settings.desirable * _chance(beta * settings.kl - chosen)
            + 0.5 * settings.undesirable * _chance(rejected - beta * settings.kl)
        ),
    }
    return ways[name]()


def first_pairs(pairs: Pairs, count: int) -> Pairs:
    return Pairs(*(column[:count] for column in vars(pairs).values()))


def differences(name: str, pairs: Pairs, settings: LossSettings) -> tuple[float, float]:
    """The largest difference from ``by_torch`` of losses and of gradients, relative to the largest."""
    pairs = first_pairs(pairs, MOST_CHECKED)
    ours = graded(LOSSES[name], pairs, settings)
    chosen, rejected = (x.clone().requires_grad_() for x in (pairs.chosen, pairs.rejected))
    theirs = by_torch(name, replace(pairs, chosen=chosen, rejected=rejected), settings)
    gradients = torch.autograd.grad(theirs.sum(), (chosen, rejected), materialize_grads=True)
    found = torch.sort(ours.loss).values, torch.stack([ours.by_chosen, ours.by_rejected])
    return (
        _relative(found[0], torch.sort(theirs.detach()).values),
        _relative(found[1], torch.stack(gradients)),
    )


def _relative(ours: Float[Tensor, "..."], theirs: Float[Tensor, "..."]) -> float:
    return largest_difference(ours, theirs) / max(1.0, float(theirs.abs().max()))
