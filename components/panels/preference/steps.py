"""One pair, step by step: how each loss comes from its numbers, with the numbers put in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from models.preference.logged import means
from models.preference.losses import LossSettings, Pairs, scores
from models.preference.relatives import WITH_DIVERGENCE, WITHOUT_REFERENCE, log_odds_ratio


@dataclass(frozen=True)
class PairAt:
    """A row of the table as floats."""

    pairs: Pairs
    settings: LossSettings
    row: int

    def of(self, values: Tensor) -> float:
        return float(values[self.row])

    @property
    def deltas(self) -> tuple[float, float]:
        return self.of(self.pairs.delta_chosen), self.of(self.pairs.delta_rejected)

    @property
    def scores(self) -> tuple[float, float]:
        first, second = scores(self.pairs, self.settings)
        return self.of(first), self.of(second)

    @property
    def lengths(self) -> tuple[float, float]:
        return self.of(self.pairs.chosen_length), self.of(self.pairs.rejected_length)

    @property
    def means(self) -> tuple[float, float]:
        chosen, rejected = means(self.pairs)
        return self.of(chosen), self.of(rejected)


def n(value: float) -> str:
    return f"{value:.5g}"


def b(value: float) -> str:
    """A number behind another sign: in brackets where it has one of its own."""
    return n(value) if value >= 0 else f"({n(value)})"


def sigma(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -700, 700))))


def read(name: str, at: PairAt) -> list[str]:
    """What the loss reads of the two answers: log-ratios, or the policy's own mean log-probabilities."""
    pairs = at.pairs
    if name == "sft":
        return []
    if name in WITHOUT_REFERENCE:
        sides = (("w", pairs.chosen, at.lengths[0]), ("l", pairs.rejected, at.lengths[1]))
        return [
            rf"m_{side}&=\frac{{{n(at.of(values))}}}{{{n(length)}}}={n(at.of(values) / length)}"
            for side, values, length in sides
        ]
    lines = [
        rf"\Delta_{side}&={n(at.of(policy))}-({n(at.of(reference))})={n(delta)}"
        for side, policy, reference, delta in (
            ("w", pairs.chosen, pairs.reference_chosen, at.deltas[0]),
            ("l", pairs.rejected, pairs.reference_rejected, at.deltas[1]),
        )
    ]
    if name in WITH_DIVERGENCE and at.settings.divergence != "reverse_kl":
        (first, second), (chosen, rejected) = at.scores, at.deltas
        lines.append(rf"f'&:\ {n(chosen)}\to{n(first)},\quad {n(rejected)}\to{n(second)}")
    return lines


def margin(at: PairAt, by_length: bool = False) -> tuple[float, list[str]]:
    """Z = β(s_w − s_l), of sums or of means by token, and σ(−z)."""
    (first, second), beta = at.scores, at.settings.beta
    if by_length:
        first, second = first / at.lengths[0], second / at.lengths[1]
        head = r"z&=\beta\,(\tfrac{s_w}{|y_w|}-\tfrac{s_l}{|y_l|})"
    else:
        head = r"z&=\beta\,(s_w-s_l)"
    z = beta * (first - second)
    return z, [
        head,
        rf"&={n(beta)}\cdot({n(first)}-({n(second)}))={n(z)}",
        rf"\sigma(-z)&={sigma(-z):.6g}",
    ]


def _smoothed(z: float, epsilon: float, loss: float) -> str:
    if epsilon == 0:
        return rf"L&=-\log\sigma(z)={loss:.6g}"
    return rf"L&=-\log\sigma(z)+\varepsilon z=-\log\sigma({n(z)})+{n(epsilon)}\cdot{b(z)}={loss:.6g}"


def by_margin(name: str, at: PairAt, loss: float) -> list[str]:
    """Losses of z alone."""
    z, lines = margin(at, name == "sigmoid_norm")
    epsilon, tau = at.settings.smoothing, at.settings.tau
    last = {
        "sigmoid": lambda: rf"L&=-\log\sigma(z)={loss:.6g}",
        "sigmoid_norm": lambda: rf"L&=-\log\sigma(z)={loss:.6g}",
        "hinge": lambda: rf"L&=\max(0, 1-{b(z)})={loss:.6g}",
        "cdpo": lambda: _smoothed(z, epsilon, loss),
        "robust": lambda: (
            rf"L&=-\log\sigma(z)-\frac{{\varepsilon z}}{{1-2\varepsilon}}"
            rf"=-\log\sigma({n(z)})-\frac{{{n(epsilon)}\cdot{b(z)}}}{{{n(1 - 2 * epsilon)}}}={loss:.6g}"
        ),
        "exo_pair": lambda: (
            rf"L&=\sigma(z)\log\tfrac{{\sigma(z)}}{{1-\varepsilon}}"
            rf"+\sigma(-z)\log\tfrac{{\sigma(-z)}}{{\varepsilon}},\quad \varepsilon={n(epsilon)}"
            rf"\\[3pt]L&={loss:.6g}"
        ),
        "discopop": lambda: (
            rf"c&=\sigma(z/\tau)={sigma(z / tau):.6g}\\[3pt]"
            rf"L&=-(1-c)\log\sigma(z)+c\,e^{{-z}}={loss:.6g}"
        ),
    }[name]
    return [*lines, last()]


def by_rewards(name: str, at: PairAt, loss: float) -> list[str]:
    """Losses that look at each answer's own reward r = βΔ."""
    beta, (chosen, rejected) = at.settings.beta, at.deltas
    won, lost = beta * chosen, beta * rejected
    lines = [
        rf"r_w&=\beta\Delta_w={n(beta)}\cdot{b(chosen)}={n(won)}",
        rf"r_l&=\beta\Delta_l={n(beta)}\cdot{b(rejected)}={n(lost)}",
    ]
    last = {
        "nca_pair": rf"L&=-\log\sigma({n(won)})-0.5\cdot\log\sigma({n(-won)})"
        rf"-0.5\cdot\log\sigma({n(-lost)})",
        "bco_pair": rf"L&=-\log\sigma({n(won)})-\log\sigma({n(-lost)})",
        "apo_zero": rf"L&=1-\sigma({n(won)})+\sigma({n(lost)})",
        "apo_down": rf"L&=\sigma({n(won)})+1-\sigma({n(won - lost)})",
    }[name]
    return [*lines, rf"{last}={loss:.6g}"]


def by_goal(name: str, at: PairAt, loss: float) -> list[str]:
    """Squares around a goal of 1/2β."""
    goal = 0.5 / at.settings.beta
    lines = [rf"\tfrac{{1}}{{2\beta}}&={n(goal)}"]
    if name == "sppo_hard":
        chosen, rejected = at.deltas
        return [*lines, rf"L&=({n(chosen)}-{n(goal)})^2+({n(rejected)}+{n(goal)})^2={loss:.6g}"]
    first, second = at.scores
    head = "h&=s_w-s_l"
    if at.settings.ipo_by_token:
        first, second = first / at.lengths[0], second / at.lengths[1]
        head = r"h&=\tfrac{s_w}{|y_w|}-\tfrac{s_l}{|y_l|}"
    h = first - second
    lines = [rf"{head}={n(first)}-({n(second)})={n(h)}", *lines]
    return [*lines, rf"L&=({n(h)}-{n(goal)})^2={loss:.6g}"]


def by_batch(name: str, at: PairAt, loss: float) -> list[str]:
    """Losses for which the other pairs count."""
    pairs, settings = at.pairs, at.settings
    if name == "sft":
        total, tokens = float(pairs.chosen.sum()), float(pairs.chosen_length.sum())
        return [
            r"L&=-\frac{\sum\log\pi_w}{\sum|y_w|}"
            rf"=-\frac{{{n(total)}}}{{{n(tokens)}}}={loss:.6g}"
        ]
    if name == "aot":
        own = (pairs.chosen - pairs.rejected).numpy()
        other = (pairs.reference_chosen - pairs.reference_rejected).numpy()
        head = r"z&=\beta\,(\log\tfrac{\pi_w}{\pi_l}-\text{the reference's of the same rank})"
    else:
        own, other = pairs.delta_chosen.numpy(), pairs.delta_rejected.numpy()
        head = r"z&=\beta\,(\Delta_w-\text{the }\Delta_l\text{ of the same rank})"
    rank = int(np.argsort(np.argsort(own, kind="stable"))[at.row])
    mine, partner = float(own[at.row]), float(np.sort(other)[rank])
    z = settings.beta * (mine - partner)
    return [
        head,
        rf"&={n(settings.beta)}\cdot({n(mine)}-({n(partner)}))={n(z)}",
        _smoothed(z, settings.smoothing, loss),
    ]


def simpo(_name: str, at: PairAt, loss: float) -> list[str]:
    (first, second), settings = at.means, at.settings
    z = settings.beta * (first - second) - settings.gamma
    return [
        r"z&=\beta\,(m_w-m_l)-\gamma",
        rf"&={n(settings.beta)}\cdot({n(first)}-({n(second)}))-{n(settings.gamma)}={n(z)}",
        rf"\sigma(-z)&={sigma(-z):.6g}",
        _smoothed(z, settings.smoothing, loss),
    ]


def orpo(_name: str, at: PairAt, loss: float) -> list[str]:
    first, weight = at.means[0], at.settings.odds_weight
    odds = at.of(log_odds_ratio(at.pairs))
    return [
        r"o&=\log\frac{\bar p_w/(1-\bar p_w)}{\bar p_l/(1-\bar p_l)}"
        rf"={n(odds)},\quad \bar p=e^m",
        rf"L&=-m_w-\lambda\log\sigma(o)={n(-first)}-{n(weight)}\cdot\log\sigma({n(odds)})={loss:.6g}",
    ]


def kto(_name: str, at: PairAt, loss: float) -> list[str]:
    (chosen, rejected), settings = at.deltas, at.settings
    beta, zero = settings.beta, settings.kl
    up, down = beta * (chosen - zero), beta * (zero - rejected)
    return [
        rf"z_w&=\beta(\Delta_w-z_0)={n(beta)}\cdot({n(chosen)}-{n(zero)})={n(up)}",
        rf"z_l&=\beta(z_0-\Delta_l)={n(beta)}\cdot({n(zero)}-({n(rejected)}))={n(down)}",
        rf"L&=0.5\cdot({n(settings.desirable)}\cdot\sigma({n(-up)})"
        rf"+{n(settings.undesirable)}\cdot\sigma({n(-down)}))={loss:.6g}",
    ]


Maker = Callable[[str, PairAt, float], list[str]]
MAKERS: dict[str, Maker] = {
    **dict.fromkeys(("nca_pair", "bco_pair", "apo_zero", "apo_down"), by_rewards),
    **dict.fromkeys(("ipo", "sppo_hard"), by_goal),
    **dict.fromkeys(("sft", "aot", "aot_unpaired"), by_batch),
    "simpo": simpo,
    "orpo": orpo,
    "kto": kto,
}


def steps(name: str, pairs: Pairs, settings: LossSettings, row: int, loss: float) -> list[str]:
    """The lines of an aligned formula that end in this loss of this pair. ``row`` counts from 0."""
    at = PairAt(pairs, settings, row)
    return [*read(name, at), *MAKERS.get(name, by_margin)(name, at, loss)]
