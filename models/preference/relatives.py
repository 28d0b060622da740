"""Preference losses outside of DPOTrainer, and terms by length: cDPO, SimPO, ORPO, KTO, LD-DPO, WPO."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from models.preference.losses import (
    TRL_LOSSES,
    Loss,
    Losses,
    LossSettings,
    Pairs,
    scores,
    smoothed,
)

CERTAIN = 1e-15  # nats by token


def cdpo(pairs: Pairs, settings: LossSettings) -> Losses:
    """Conservative DPO: −(1−ε) log σ(z) − ε log σ(−z) (Mitchell 2023)."""
    chosen, rejected = scores(pairs, settings)
    return smoothed(settings.beta * (chosen - rejected), settings.smoothing)


def simpo(pairs: Pairs, settings: LossSettings) -> Losses:
    """−log σ(β (log π(y_w)/|y_w| − log π(y_l)/|y_l|) − γ); no reference (Meng et al. 2024, eq. 6)."""
    h = pairs.chosen / pairs.chosen_length - pairs.rejected / pairs.rejected_length
    return smoothed(settings.beta * h - settings.gamma, settings.smoothing)


def orpo(pairs: Pairs, settings: LossSettings) -> Losses:
    """Negative log-likelihood by token − λ log σ(log odds ratio), without a reference (Hong et al. 2024).

    odds(y) = p̄ / (1 − p̄) with p̄ = exp(log π(y)/|y|), the geometric mean of the tokens' probabilities.
    """
    likelihood = pairs.chosen / pairs.chosen_length
    return 0.0 - likelihood - settings.odds_weight * logsigmoid(log_odds_ratio(pairs))


def log_odds_ratio(pairs: Pairs) -> Float[Tensor, " pair"]:
    """ORPO's log odds(y_w) − log odds(y_l)."""
    chosen, rejected = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
    return chosen - rejected - (_log1mexp(chosen) - _log1mexp(rejected))


def _log1mexp(x: Tensor) -> Tensor:
    """Ln(1 − e^x) for x < 0; expm1 keeps the digits where e^x is near 1.

    A certain answer (x = 0) has infinite odds: it counts as 1e-15 below, so that they stay finite.
    """
    return torch.log(-torch.expm1(x.clamp(max=-CERTAIN)))


def kto(pairs: Pairs, settings: LossSettings) -> Losses:
    """Mean of λ_D (1 − σ(β(Δ_w − z₀))) and λ_U (1 − σ(β(z₀ − Δ_l))) (Ethayarajh et al. 2024, eq. 7).

    KTO needs no pairs; over pairs, this mean makes the batch's mean that of trl's KTOTrainer.
    """
    chosen, rejected = kto_halves(pairs, settings)
    return (chosen + rejected) / 2


def kto_halves(pairs: Pairs, settings: LossSettings) -> tuple[Losses, Losses]:
    """KTO's loss of the chosen and of the rejected answers. z₀ is taken for a constant."""
    chosen = torch.sigmoid(settings.beta * (settings.kl - pairs.delta_chosen))
    rejected = torch.sigmoid(settings.beta * (pairs.delta_rejected - settings.kl))
    return settings.desirable * chosen, settings.undesirable * rejected


RELATIVES: dict[str, Loss] = {loss.__name__: loss for loss in (cdpo, simpo, orpo, kto)}
LOSSES: dict[str, Loss] = TRL_LOSSES | RELATIVES
WITHOUT_REFERENCE = ("sft", "simpo", "orpo")
BY_LENGTH = ("ipo", "sft", "sigmoid_norm", "simpo", "orpo")  # a pair's lengths change its loss
WITH_SMOOTHING = ("exo_pair", "robust", "aot", "aot_unpaired", "cdpo", "simpo")
WITH_DIVERGENCE = ("sigmoid", "hinge", "ipo", "exo_pair", "robust", "discopop", "sigmoid_norm", "cdpo")


def length_desensitized(
    log_probabilities: Float[Tensor, "pair token"],
    is_answer: Bool[Tensor, "pair token"],
    shared: Int[Tensor, " pair"],
    alpha: float,
) -> Float[Tensor, " pair"]:
    """LD-DPO (Liu et al. 2024): the first ``shared`` tokens of an answer in full, the rest times α.

    ``shared`` is the shorter answer's length; α = 1 is DPO, α = 0 compares equal lengths.
    """
    position = is_answer.cumsum(1)
    weight = torch.where(position <= shared[:, None], 1.0, alpha) * is_answer
    return (log_probabilities * weight).sum(1)


def wpo_weight(
    log_probabilities: Float[Tensor, "pair token"],
    log_sum_squares: Float[Tensor, "pair token"],
    is_answer: Bool[Tensor, "pair token"],
) -> Float[Tensor, " pair"]:
    """WPO's weight of an answer (Zhou et al. 2024, eq. 2): how on-policy it is, by token.

    exp of the mean of log π(y_t) − log Σ_v π(v)²; a pair's loss is multiplied by both of its answers'.
    """
    aligned = (log_probabilities - log_sum_squares) * is_answer
    return (aligned.sum(1) / is_answer.sum(1).clamp(min=1)).exp()
