"""Groups in which every answer gets the same reward: how often, and what it costs to avoid them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError

MOST_ANSWERS = 1_024


@dataclass(frozen=True, eq=False)
class Deadness:
    """For answers that are right or wrong, by pass rate."""

    all_wrong: Float[Tensor, " rates"]
    all_right: Float[Tensor, " rates"]
    draws: Float[Tensor, " rates"]  # groups that dynamic sampling generates for each that it keeps

    @property
    def dead(self) -> Float[Tensor, " rates"]:
        return self.all_wrong + self.all_right

    @property
    def alive(self) -> Float[Tensor, " rates"]:
        """The share of a batch that gives a gradient: the effective batch."""
        return 1 - self.dead


def deadness(rates: Float[Tensor, " rates"], answers: int) -> Deadness:
    """P(all wrong) = (1−p)^G, P(all right) = p^G; draws are 1/P(not dead), infinite at p = 0 and 1.

    Raises InputError unless rates lie in [0, 1] and a group has at least two answers.
    """
    check_group(answers)
    if not ((rates >= 0) & (rates <= 1)).all():
        raise InputError("A pass rate must lie between 0 and 1.")
    all_wrong, all_right = (1 - rates) ** answers, rates**answers
    return Deadness(all_wrong, all_right, 1 / (1 - all_wrong - all_right).clamp(min=0.0))


def check_group(answers: int) -> None:
    """Raises InputError on a group that has no deviation, or is too large."""
    if not 2 <= answers <= MOST_ANSWERS:
        raise InputError(
            "A group of {count} answers has no spread to learn from; from 2 to {most} are accepted.",
            count=answers,
            most=MOST_ANSWERS,
        )


def expected_signal(rates: Float[Tensor, " rates"], answers: int) -> Float[Tensor, " rates"]:
    """E|A| of an answer under GRPO without ε, summed over how many of the group are right.

    With k of G right the sample deviation is σ = √(k(G−k)/(G(G−1))), and the mean |r − r̄| is
    2k(G−k)/G².
    """
    check_group(answers)
    right = torch.arange(1, answers, dtype=rates.dtype)
    spread = right * (answers - right)
    size = (2 * spread / answers**2) / (spread / (answers * (answers - 1))).sqrt()
    log_ways = torch.lgamma(torch.tensor(answers + 1.0, dtype=rates.dtype)) - torch.lgamma(right + 1)
    log_ways = log_ways - torch.lgamma(answers - right + 1)
    p = rates[:, None]
    log_p = log_ways + torch.xlogy(right, p) + torch.xlogy(answers - right, 1 - p)
    return log_p.exp() @ size


def mixture(mean: float, spread: float, points: int = 199) -> tuple[Tensor, Tensor]:
    """Pass rates of many prompts: a Beta distribution on a grid, and the weight of each rate.

    ``spread`` is from 0 (all prompts alike) to 1 (each always right or always wrong): Beta with
    α + β = 1/spread − 1. Raises InputError unless both lie strictly between 0 and 1.
    """
    if not (0 < mean < 1 and 0 < spread < 1):
        raise InputError("The mean pass rate and the spread must lie between 0 and 1.")
    rates = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    size = 1 / spread - 1
    density = (mean * size - 1) * rates.log() + ((1 - mean) * size - 1) * torch.log1p(-rates)
    weights = density.softmax(0)
    return rates, weights


def dead_share(mean: float, spread: float, answers: int) -> tuple[float, float]:
    """P(all wrong) and P(all right) over Beta-distributed prompts, in closed form.

    E[(1−p)^G] = Γ(β+G)Γ(α+β) / (Γ(β)Γ(α+β+G)), and the same with α for all right. Raises InputError
    as ``mixture`` and ``deadness`` do.
    """
    check_group(answers)
    if not (0 < mean < 1 and 0 < spread < 1):
        raise InputError("The mean pass rate and the spread must lie between 0 and 1.")
    size = 1 / spread - 1
    alpha, beta = mean * size, (1 - mean) * size

    def rising(start: float) -> Tensor:
        ends = torch.tensor([start + answers, start], dtype=torch.float64)
        return torch.lgamma(ends[0]) - torch.lgamma(ends[1])

    return float((rising(beta) - rising(size)).exp()), float((rising(alpha) - rising(size)).exp())
