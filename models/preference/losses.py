"""Preference losses on pairs of answers: DPO and what trl 1.16's DPOTrainer calls ``loss_type``.

For a pair with log-probabilities log π(y | x) summed over the answer's tokens

    Δ_w = log π(y_w) − log π_ref(y_w)       Δ_l = log π(y_l) − log π_ref(y_l)
    h = Δ_w − Δ_l        z = β h            implicit rewards  r = β Δ

DPO (Rafailov et al. 2023, eq. 7) is −log σ(z), with ∂L/∂log π(y_w) = −β σ(−z) = −∂L/∂log π(y_l).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from models.errors import InputError

Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
DIVERGENCES: tuple[Divergence, ...] = get_args(Divergence)
LARGEST_EXPONENT = 80.0  # as in trl, so that e to the power of it stays a float32
Losses = Float[Tensor, " pair"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Log-probabilities of both answers, in nats, summed over their tokens; lengths in tokens."""

    chosen: Float[Tensor, " pair"]
    rejected: Float[Tensor, " pair"]
    reference_chosen: Float[Tensor, " pair"]
    reference_rejected: Float[Tensor, " pair"]
    chosen_length: Float[Tensor, " pair"]
    rejected_length: Float[Tensor, " pair"]

    @property
    def delta_chosen(self) -> Float[Tensor, " pair"]:
        """Δ_w, the log-ratio of the chosen answer."""
        return self.chosen - self.reference_chosen

    @property
    def delta_rejected(self) -> Float[Tensor, " pair"]:
        return self.rejected - self.reference_rejected

    def __len__(self) -> int:
        return len(self.chosen)


@dataclass(frozen=True)
class LossSettings:
    """Every convention that a loss may read; the defaults are trl's, or the papers' where it has none."""

    beta: float = 0.1
    smoothing: float = 0.0  # ε, the share of labels that are wrong
    divergence: Divergence = "reverse_kl"
    alpha: float = 0.5  # of alpha_divergence; 1 is reverse KL
    ipo_by_token: bool = True  # trl divides Δ by the length; the paper's own text and DPO's authors sum
    tau: float = 0.05  # temperature of DiscoPOP's mixture
    gamma: float = 1.0  # SimPO's target margin, not divided by β
    odds_weight: float = 0.1  # λ of ORPO, called beta in trl
    kl: float = 0.0  # z₀ of KTO: KL(π‖π_ref) as estimated over the batch, in nats
    desirable: float = 1.0  # λ_D of KTO
    undesirable: float = 1.0  # λ_U

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError("{name} is not a finite number.", name=name)
        if not 0 < self.beta <= 1_000:
            raise InputError("β is {value}; it must be above 0 and at most 1000.", value=self.beta)
        if not 0 <= self.smoothing < 0.5:
            raise InputError(
                "ε is {value}; a share of wrong labels is at least 0 and below 0.5.", value=self.smoothing
            )
        if not (self.tau > 0 and self.kl >= 0 and min(self.desirable, self.undesirable) >= 0):
            raise InputError("τ must be above 0; z₀ and KTO's weights at least 0.")


def divergence_score(log_ratio: Tensor, settings: LossSettings) -> Tensor:
    """f′(t) of the divergence at t = π/π_ref, up to a constant: what takes the place of log t in DPO.

    f-DPO (Wang et al. 2024, table 1), with trl's constants. Reverse KL gives Δ itself.
    """
    match settings.divergence:
        case "forward_kl":
            return 1 - torch.exp(-log_ratio)
        case "js_divergence":
            return math.log(2) + logsigmoid(log_ratio)
        case "alpha_divergence" if abs(settings.alpha - 1) >= 1e-6:
            power = settings.alpha - 1
            return (torch.exp((power * log_ratio).clamp(max=LARGEST_EXPONENT)) - 1) / power
        case _:
            return log_ratio


def scores(pairs: Pairs, settings: LossSettings) -> tuple[Tensor, Tensor]:
    """The divergence's score of the chosen and of the rejected answer."""
    return (
        divergence_score(pairs.delta_chosen, settings),
        divergence_score(pairs.delta_rejected, settings),
    )


def _z(pairs: Pairs, settings: LossSettings) -> Losses:
    chosen, rejected = scores(pairs, settings)
    return settings.beta * (chosen - rejected)


def _rewards(pairs: Pairs, settings: LossSettings) -> tuple[Tensor, Tensor]:
    return settings.beta * pairs.delta_chosen, settings.beta * pairs.delta_rejected


def smoothed(z: Losses, smoothing: float) -> Losses:
    """−(1−ε) log σ(z) − ε log σ(−z), cross-entropy with labels that are wrong with probability ε.

    As log σ(−z) = log σ(z) − z, this is −log σ(z) + ε z: a straight line pulls the margin back.
    """
    return smoothing * z - logsigmoid(z)


def sigmoid(pairs: Pairs, settings: LossSettings) -> Losses:
    """DPO: −log σ(z)."""
    return -logsigmoid(_z(pairs, settings))


def hinge(pairs: Pairs, settings: LossSettings) -> Losses:
    """SLiC-HF (Zhao et al. 2023) on DPO's rewards: max(0, 1 − z)."""
    return relu(1 - _z(pairs, settings))


def ipo(pairs: Pairs, settings: LossSettings) -> Losses:
    """(h − 1/2β)² (Azar et al. 2023, eq. 17), h from means by token as in trl, or from sums."""
    chosen, rejected = scores(pairs, settings)
    if settings.ipo_by_token:
        chosen, rejected = chosen / pairs.chosen_length, rejected / pairs.rejected_length
    return (chosen - rejected - 0.5 / settings.beta) ** 2


def exo_pair(pairs: Pairs, settings: LossSettings) -> Losses:
    """KL(σ(±z) ‖ 1−ε, ε) (Ji et al. 2024, eq. 16). Raises InputError for ε = 0, where it is infinite."""
    if settings.smoothing == 0:
        raise InputError("exo_pair needs ε above 0; its authors take 0.001.")
    z = _z(pairs, settings)
    right = logsigmoid(z)
    wrong = right - z  # log σ(−z)
    return (
        right
        - math.log1p(-settings.smoothing)
        - wrong.exp() * (z + math.log(settings.smoothing) - math.log1p(-settings.smoothing))
    )


def nca_pair(pairs: Pairs, settings: LossSettings) -> Losses:
    """−log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l) (Chen et al. 2024), as log σ(−r) = log σ(r) − r."""
    chosen, rejected = _rewards(pairs, settings)
    return 0.5 * (chosen - logsigmoid(-rejected)) - 1.5 * logsigmoid(chosen)


def robust(pairs: Pairs, settings: LossSettings) -> Losses:
    """[−(1−ε) log σ(z) + ε log σ(−z)]/(1−2ε), unbiased under flipped labels (Chowdhury et al. 2024).

    That is −log σ(z) − ε z/(1−2ε): where cDPO pulls the margin back, this one pushes it on.
    """
    z, epsilon = _z(pairs, settings), settings.smoothing
    return -epsilon / (1 - 2 * epsilon) * z - logsigmoid(z)


def bco_pair(pairs: Pairs, settings: LossSettings) -> Losses:
    """−log σ(r_w) − log σ(−r_l), BCO without its shift (Jung et al. 2024)."""
    chosen, rejected = _rewards(pairs, settings)
    return -logsigmoid(chosen) - logsigmoid(-rejected)


def sppo_hard(pairs: Pairs, settings: LossSettings) -> Losses:
    """(Δ_w − 1/2β)² + (Δ_l + 1/2β)² (Wu et al. 2024, eq. 4.7 with a certain winner)."""
    goal = 0.5 / settings.beta
    return (pairs.delta_chosen - goal) ** 2 + (pairs.delta_rejected + goal) ** 2


def aot(pairs: Pairs, settings: LossSettings) -> Losses:
    """Log-ratios of policy and reference, each sorted over the batch (Melnyk et al. 2024).

    The k-th largest of one stands against the k-th largest of the other; losses keep the policy's order.
    """
    policy = pairs.chosen - pairs.rejected
    reference = np.sort((pairs.reference_chosen - pairs.reference_rejected).numpy())
    partner = np.empty_like(reference)
    partner[np.argsort(policy.detach().numpy())] = reference
    return smoothed(settings.beta * (policy - torch.from_numpy(partner)), settings.smoothing)


def aot_unpaired(pairs: Pairs, settings: LossSettings) -> Losses:
    """Δ_w and Δ_l, each sorted over the batch; losses keep the chosen answers' order."""
    chosen, rejected = pairs.delta_chosen, pairs.delta_rejected
    rank, order = (np.argsort(x.detach().numpy()) for x in (chosen, rejected))
    partner = np.empty_like(rank)
    partner[rank] = order
    return smoothed(settings.beta * (chosen - rejected[torch.from_numpy(partner)]), settings.smoothing)


def apo_zero(pairs: Pairs, settings: LossSettings) -> Losses:
    """1 − σ(r_w) + σ(r_l): chosen up, rejected down (D'Oosterlinck et al. 2024, eq. 7)."""
    chosen, rejected = _rewards(pairs, settings)
    return torch.sigmoid(-chosen) + torch.sigmoid(rejected)


def apo_down(pairs: Pairs, settings: LossSettings) -> Losses:
    """σ(r_w) + 1 − σ(r_w − r_l): both down, rejected more (D'Oosterlinck et al. 2024, eq. 8)."""
    chosen, rejected = _rewards(pairs, settings)
    return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)


def discopop(pairs: Pairs, settings: LossSettings) -> Losses:
    """Between −log σ(z) and e^−z, mixed by σ(z/τ) (Lu et al. 2024, eq. 5)."""
    z = _z(pairs, settings)
    share = torch.sigmoid(z / settings.tau)
    return -logsigmoid(z) * (1 - share) + torch.exp(-z) * share


def sft(pairs: Pairs, settings: LossSettings) -> Losses:
    """Negative log-likelihood of the chosen answers, mean over all tokens of the batch; one for all."""
    return (-pairs.chosen.sum() / pairs.chosen_length.sum()).expand(len(pairs))


def sigmoid_norm(pairs: Pairs, settings: LossSettings) -> Losses:
    """DPO on means by token: −log σ(β (Δ_w/|y_w| − Δ_l/|y_l|))."""
    chosen, rejected = scores(pairs, settings)
    return -logsigmoid(settings.beta * (chosen / pairs.chosen_length - rejected / pairs.rejected_length))


Loss = Callable[[Pairs, LossSettings], Losses]
TRL_LOSSES: dict[str, Loss] = {
    loss.__name__: loss
    for loss in (
        sigmoid,
        hinge,
        ipo,
        exo_pair,
        nca_pair,
        robust,
        bco_pair,
        sppo_hard,
        aot,
        aot_unpaired,
        apo_zero,
        apo_down,
        discopop,
        sft,
        sigmoid_norm,
    )
}
OVER_THE_BATCH = ("aot", "aot_unpaired", "sft")  # one pair's loss depends on the others


@dataclass(frozen=True, eq=False)
class Graded:
    """A loss by pair, and its derivatives by that pair's log-probabilities under the policy.

    They are those of the sum over the batch: divide by the number of pairs for those of its mean.
    """

    loss: Losses
    by_chosen: Losses
    by_rejected: Losses


def graded(loss: Loss, pairs: Pairs, settings: LossSettings) -> Graded:
    """The loss with its gradients, by automatic differentiation."""
    chosen = pairs.chosen.detach().requires_grad_()
    rejected = pairs.rejected.detach().requires_grad_()
    found = loss(replace(pairs, chosen=chosen, rejected=rejected), settings)
    by_chosen, by_rejected = torch.autograd.grad(
        found, (chosen, rejected), torch.ones_like(found), allow_unused=True
    )
    nothing = torch.zeros_like(found)
    return Graded(
        found.detach(),
        nothing if by_chosen is None else by_chosen,
        nothing if by_rejected is None else by_rejected,
    )


def mixture(parts: Mapping[Loss, float]) -> Loss:
    """Several losses added up with weights, as trl's ``loss_type`` and ``loss_weights`` do."""

    def mixed(pairs: Pairs, settings: LossSettings) -> Losses:
        return torch.stack([weight * loss(pairs, settings) for loss, weight in parts.items()]).sum(0)

    return mixed


def dpo_weight(z: Float[Tensor, " pair"]) -> Float[Tensor, " pair"]:
    """σ(−z): how much of β a pair's gradient still gets; near 1 where the implicit rewards are wrong."""
    return torch.sigmoid(-z)
