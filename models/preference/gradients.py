"""The closed form of what some losses ask of one pair: ∂L/∂log π(y_w) and ∂L/∂log π(y_l).

Descent raises a log-probability where its derivative is negative. Everything here is a few lines of
scalars, fast enough to train with; models.preference.losses has the losses themselves.
"""

import math
from collections.abc import Callable

from models.preference.losses import LossSettings

Pull = Callable[[float, float, LossSettings], tuple[float, float]]


def sigma(x: float) -> float:
    """The logistic function, without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _of_margin(slope: float) -> tuple[float, float]:
    """Losses of h alone: what is taken from one is given to the other."""
    return slope, -slope


def sigmoid(chosen: float, rejected: float, settings: LossSettings) -> tuple[float, float]:
    """−β σ(−z) and β σ(−z)."""
    return _of_margin(-settings.beta * sigma(-settings.beta * (chosen - rejected)))


def hinge(chosen: float, rejected: float, settings: LossSettings) -> tuple[float, float]:
    """−β and β until the margin is reached, then nothing."""
    return _of_margin(-settings.beta if settings.beta * (chosen - rejected) < 1 else 0.0)


def ipo(chosen: float, rejected: float, settings: LossSettings) -> tuple[float, float]:
    """2 (h − 1/2β): beyond the goal it turns round. For answers of one token."""
    return _of_margin(2 * (chosen - rejected - 0.5 / settings.beta))


def nca_pair(chosen: float, rejected: float, settings: LossSettings) -> tuple[float, float]:
    """The chosen answer's own pull ends where σ(r_w) = 2/3."""
    beta = settings.beta
    chosen_pull = -sigma(-beta * chosen) + 0.5 * sigma(beta * chosen)
    return beta * chosen_pull, 0.5 * beta * sigma(beta * rejected)


def bco_pair(chosen: float, rejected: float, settings: LossSettings) -> tuple[float, float]:
    """Each answer by its own reward: −β σ(−r_w) and β σ(r_l)."""
    beta = settings.beta
    return -beta * sigma(-beta * chosen), beta * sigma(beta * rejected)


def sppo_hard(chosen: float, rejected: float, settings: LossSettings) -> tuple[float, float]:
    """Each answer towards its own goal, ±1/2β."""
    goal = 0.5 / settings.beta
    return 2 * (chosen - goal), 2 * (rejected + goal)


def apo_zero(chosen: float, rejected: float, settings: LossSettings) -> tuple[float, float]:
    """−β σ′(r_w) and β σ′(r_l), largest near the reference."""
    beta = settings.beta
    return -beta * _slope(beta * chosen), beta * _slope(beta * rejected)


def apo_down(chosen: float, rejected: float, settings: LossSettings) -> tuple[float, float]:
    """β σ′(r_w) − β σ′(z) and β σ′(z)."""
    beta = settings.beta
    margin = beta * _slope(beta * (chosen - rejected))
    return beta * _slope(beta * chosen) - margin, margin


def kto(chosen: float, rejected: float, settings: LossSettings) -> tuple[float, float]:
    """Half of each answer's own, as its mean over answers has it."""
    beta = settings.beta
    return (
        -0.5 * beta * settings.desirable * _slope(beta * (chosen - settings.kl)),
        0.5 * beta * settings.undesirable * _slope(beta * (rejected - settings.kl)),
    )


def _slope(x: float) -> float:
    return sigma(x) * sigma(-x)


CLOSED_FORMS: dict[str, Pull] = {
    pull.__name__: pull
    for pull in (sigmoid, hinge, ipo, nca_pair, bco_pair, sppo_hard, apo_zero, apo_down, kto)
}
