"""Losses of policy-gradient methods: clips of every kind, KL terms, and ways to average over tokens."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError

Kind = Literal["clip", "cispo", "sapo", "vespo", "reinforce"]
Level = Literal["token", "sequence", "sequence_sum"]
Aggregation = Literal["sequence_mean", "token_mean", "constant", "sequence_sum"]
Estimator = Literal["k1", "k2", "k3"]
KINDS: tuple[Kind, ...] = get_args(Kind)
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)
VESPO_POSITIVE, VESPO_NEGATIVE = (2.0, 3.0), (3.0, 2.0)  # k and λ of TRL 1.16


@dataclass(frozen=True)
class PolicyLoss:
    """Everything that turns log-probabilities and advantages into a loss."""

    kind: Kind = "clip"
    level: Level = "token"  # of the ratio: a token's, the sequence's geometric mean, its whole product
    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    delta: float | None = None  # two-sided clip: the ratio's upper end where A < 0 (INTELLECT-2)
    dual_clip: float | None = None  # loss ≤ −c·A where A < 0 (Ye et al. 2020, arXiv 1912.09729)
    cap: float = 5.0  # CISPO: largest weight, as it is
    floor: float = 0.0  # CISPO: smallest weight
    hot: float = 1.0  # SAPO's temperature for A > 0
    cold: float = 1.05  # and for the others
    aggregation: Aggregation = "token_mean"
    longest: int = 512  # tokens; the constant that "constant" divides by
    beta: float = 0.0  # of the KL term
    estimator: Estimator = "k3"
    corrected: bool = False  # KL term times the ratio (TRL's use_bias_correction_kl)
    entropy: float = 0.0  # coefficient of an entropy bonus


@dataclass(frozen=True, eq=False)
class Rollout:
    """Answers with their log-probabilities in nats; padding is where ``mask`` is 0."""

    log_p: Float[Tensor, "answers tokens"]  # under the policy that is trained
    old: Float[Tensor, "answers tokens"]  # under the one that sampled
    reference: Float[Tensor, "answers tokens"]
    advantages: Float[Tensor, " answers"]
    mask: Float[Tensor, "answers tokens"]


def check_loss(loss: PolicyLoss) -> None:
    """Raises InputError, with one sentence, on settings that make no loss."""
    if not (0 <= loss.epsilon_low <= 1 and loss.epsilon_high >= 0):
        raise InputError("ε must lie between 0 and 1 below, and must not be negative above.")
    if loss.longest < 1 or not loss.beta >= 0:
        raise InputError("β must not be negative, and the longest answer must have a token.")


def ratios(rollout: Rollout, level: Level) -> Float[Tensor, "answers tokens"]:
    """ρ = π/π_old: of each token, or of the sequence (the same for all its tokens).

    "sequence" is GSPO's geometric mean (Zheng et al. 2025, arXiv 2507.18071, eq. 7); "sequence_sum" is
    the whole product, as in RLOO.
    """
    difference = rollout.log_p - rollout.old
    if level == "token":
        return difference.exp()
    total = (difference * rollout.mask).sum(dim=1, keepdim=True)
    if level == "sequence":
        total = total / rollout.mask.sum(dim=1, keepdim=True).clamp(min=1.0)
    return total.exp().expand_as(difference)


def token_losses(rollout: Rollout, loss: PolicyLoss) -> Float[Tensor, "answers tokens"]:
    """The loss of each token, before any averaging and without the KL term."""
    advantage = rollout.advantages[:, None]
    ratio = ratios(rollout, loss.level)
    match loss.kind:
        case "clip":
            return _clipped(ratio, advantage, loss)
        case "cispo":  # MiniMax 2025, arXiv 2506.13585, eq. 4: the weight is bounded, the gradient flows
            return -ratio.detach().clamp(loss.floor, loss.cap) * advantage * rollout.log_p
        case "sapo":  # Gao et al. 2025, arXiv 2511.20347
            temperature = torch.where(advantage > 0, loss.hot, loss.cold)
            return -torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature * advantage
        case "vespo":
            return -_gamma_weight(rollout) * advantage * rollout.log_p
    return -advantage * rollout.log_p


def _clipped(
    ratio: Float[Tensor, "answers tokens"], advantage: Float[Tensor, "answers 1"], loss: PolicyLoss
) -> Float[Tensor, "answers tokens"]:
    """PPO's clip (Schulman et al. 2017, arXiv 1707.06347, eq. 7), with DAPO's two ends and a third."""
    clipped = ratio.clamp(1 - loss.epsilon_low, 1 + loss.epsilon_high)
    plain = ratio if loss.delta is None else ratio.clamp(max=loss.delta)
    result = -torch.min(plain * advantage, clipped * advantage)
    if loss.dual_clip is None:
        return result
    return torch.where(advantage < 0, torch.min(result, -loss.dual_clip * advantage), result)


def _gamma_weight(rollout: Rollout) -> Float[Tensor, "answers 1"]:
    """VESPO's φ(w) = e^λ wᵏ e^(−λw) of the sequence's ratio w (TRL 1.16); k and λ go by A's sign."""
    difference = (rollout.log_p - rollout.old).detach().clamp(-20.0, 20.0)
    log_w = (difference * rollout.mask).sum(dim=1, keepdim=True).clamp(math.log(1e-8), 20.0)
    is_positive = rollout.advantages[:, None] >= 0
    k, rate = (torch.where(is_positive, *pair) for pair in zip(VESPO_POSITIVE, VESPO_NEGATIVE, strict=True))
    return (rate + k * log_w - rate * log_w.exp()).exp()


def kl_terms(
    log_p: Float[Tensor, "*shape"], reference: Float[Tensor, "*shape"], estimator: Estimator
) -> Float[Tensor, "*shape"]:
    """Estimates of KL(π‖π_ref) from sampled tokens (Schulman 2020, "Approximating KL divergence").

    With d = ln π − ln π_ref: k1 = d, k2 = d²/2, k3 = e^(−d) − 1 + d.
    """
    difference = log_p - reference
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference**2 / 2
    return torch.expm1(-difference) + difference


def kl_penalty(rollout: Rollout, estimator: Estimator, beta: float) -> Float[Tensor, " answers"]:
    """β times each answer's KL when it was sampled: what "KL in the reward" takes off its reward.

    A number, not a graph: no gradient goes through it, only the advantages change.
    """
    terms = kl_terms(rollout.old, rollout.reference, estimator)
    return beta * (terms * rollout.mask).sum(dim=1).detach()


def aggregate(
    values: Float[Tensor, "answers tokens"],
    mask: Float[Tensor, "answers tokens"],
    aggregation: Aggregation,
    longest: int,
) -> Float[Tensor, ""]:
    """One number from many: see ``token_weights`` for what each token counts."""
    return (values * token_weights(mask, aggregation, longest)).sum()


def token_weights(
    mask: Float[Tensor, "answers tokens"], aggregation: Aggregation, longest: int
) -> Float[Tensor, "answers tokens"]:
    """What each token counts in the loss.

    "sequence_mean" (GRPO): 1/(B·its answer's length); "token_mean" (BNPO, DAPO): 1/(all tokens);
    "constant" (Dr. GRPO): 1/(B·longest); "sequence_sum" (LUSPO, RLOO): 1/B.
    """
    answers = len(mask)
    match aggregation:
        case "sequence_mean":
            return mask / (answers * mask.sum(dim=1, keepdim=True).clamp(min=1.0))
        case "token_mean":
            return mask / mask.sum().clamp(min=1.0)
        case "constant":
            return mask / (answers * longest)
    return mask / answers


@dataclass(frozen=True, eq=False)
class Parts:
    """A loss taken apart: policy + kl (β times the estimate) = total."""

    policy: Float[Tensor, ""]
    kl: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        return self.policy + self.kl


def objective(rollout: Rollout, loss: PolicyLoss) -> Parts:
    """The loss of a batch. Raises InputError on settings that make none."""
    check_loss(loss)
    policy = aggregate(token_losses(rollout, loss), rollout.mask, loss.aggregation, loss.longest)
    if loss.beta == 0:
        return Parts(policy, policy.new_zeros(()))
    kl = kl_terms(rollout.log_p, rollout.reference, loss.estimator)
    if loss.corrected:
        kl = kl * ratios(rollout, loss.level)
    return Parts(policy, loss.beta * aggregate(kl, rollout.mask, loss.aggregation, loss.longest))


def gradients(
    rollout: Rollout, loss: PolicyLoss
) -> tuple[Parts, Float[Tensor, "answers tokens"], Float[Tensor, "answers tokens"]]:
    """The loss, and ∂policy/∂log π and ∂kl/∂log π of each token."""
    log_p = rollout.log_p.detach().clone().requires_grad_()
    with torch.enable_grad():
        parts = objective(
            Rollout(log_p, rollout.old, rollout.reference, rollout.advantages, rollout.mask), loss
        )
        found = [
            torch.autograd.grad(part, log_p, retain_graph=True)[0]
            if part.requires_grad
            else torch.zeros_like(log_p)
            for part in (parts.policy, parts.kl)
        ]
    return Parts(parts.policy.detach(), parts.kl.detach()), found[0], found[1]


def token_gradients(rollout: Rollout, loss: PolicyLoss) -> Float[Tensor, "answers tokens"]:
    """∂policy/∂ln π in closed form, for ratios of single tokens: −A times a factor and the weight.

    The factor is ρ, or 0 where the clip binds; CISPO's bounded ρ; ρ times the slope of SAPO's gate,
    4σ(1 − σ); VESPO's φ; 1 for REINFORCE.
    """
    advantage = rollout.advantages[:, None]
    ratio = ratios(rollout, "token")
    factor = torch.ones_like(ratio)
    match loss.kind:
        case "clip":
            factor = ratio * (is_clipped(ratio, rollout.advantages, loss) == 0)
        case "cispo":
            factor = ratio.clamp(loss.floor, loss.cap)
        case "sapo":
            gate = torch.sigmoid(torch.where(advantage > 0, loss.hot, loss.cold) * (ratio - 1))
            factor = 4 * gate * (1 - gate) * ratio
        case "vespo":
            factor = _gamma_weight(rollout)
    return -advantage * factor * token_weights(rollout.mask, loss.aggregation, loss.longest)


def is_clipped(
    ratio: Float[Tensor, "answers tokens"], advantages: Float[Tensor, " answers"], loss: PolicyLoss
) -> Float[Tensor, "answers tokens"]:
    """+1 where the clip binds above, −1 where it binds below, 0 where the gradient flows.

    Above: ρ > 1 + ε with A > 0, or ρ beyond δ or the dual clip with A < 0. Below: ρ < 1 − ε, A < 0.
    """
    advantage = advantages[:, None]
    above = (advantage > 0) & (ratio > 1 + loss.epsilon_high)
    for bound in (loss.delta, loss.dual_clip):
        if bound is not None:
            above = above | ((advantage < 0) & (ratio > bound))
    below = (advantage < 0) & (ratio < 1 - loss.epsilon_low)
    return above.to(ratio.dtype) - below.to(ratio.dtype)


def entropy_bonus(
    entropies: Float[Tensor, "answers tokens"], mask: Float[Tensor, "answers tokens"], coefficient: float
) -> Float[Tensor, ""]:
    """What an entropy bonus subtracts from the loss: the mean over tokens, whatever the averaging."""
    return coefficient * (entropies * mask).sum() / mask.sum().clamp(min=1.0)
