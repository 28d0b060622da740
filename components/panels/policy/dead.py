"""Dead groups: how many answers agree by chance, what remains of a batch, what sampling anew costs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.curves import Curve, curves
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.policy.settings import Seeded
from components.settings import number, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.policy.dead_groups import dead_share, deadness, expected_signal
from models.policy.group_advantages import is_dead

RATES = torch.linspace(0.005, 0.995, 100, dtype=torch.float64)
LEAST, MOST = float(RATES[0]), float(RATES[-1])
SMALLEST, LARGEST = 2, 64  # groups
SIMULATED = 4_096  # groups
DRAWS_SCALE = 10.0  # of the groups drawn for each that is kept, so that they share the axis


@dataclass(frozen=True)
class DeadGroups(Seeded):
    """How often all answers of a group agree, and what that costs."""

    page, name = "policy", "dead"
    pass_rate: float = slider(LEAST, MOST, 0.1, 0.005, key="pass", label=mark("Pass rate p"))
    size: int = slider(SMALLEST, LARGEST, 8, 1, label=mark("Answers in a group G"))
    spread: float = slider(
        0.0,
        0.9,
        0.0,
        0.05,
        label=mark("How much prompts differ"),
        help=mark("0: all prompts have the pass rate p. Towards 1: each is solved always or never."),
    )
    batch: int = number(1, 100_000, 64, label=mark("Groups in a batch"))

    def stage(self) -> Stage:
        by_rate = _("Share of dead groups by pass rate")
        by_size = _("Share of dead groups by group size")
        return Stage(
            [
                Plot("dead_rates", rate_figure(self.pass_rate, self.size), by_rate),
                Plot("dead_sizes", size_figure(self.pass_rate, self.size, self.spread), by_size),
            ]
        )

    def below(self) -> None:
        rate, size, spread = self.pass_rate, self.size, self.spread
        formula(rate, size, spread)
        note(self, "dead")
        table = batch_table(self)
        st.dataframe(table, hide_index=True, width="stretch")
        checked_against([simulation(rate, size, spread, self.seed)])
        take_with_you(
            self,
            lambda: rates_table(size),
            lambda: rate_figure(rate, size),
            snippet(rate, size, spread),
        )


def shares(rate: float, size: int, spread: float) -> tuple[float, float]:
    """P(all wrong) and P(all right), prompts alike or not."""
    if spread > 0:
        return dead_share(rate, spread, size)
    alike = deadness(torch.tensor([rate], dtype=torch.float64), size)
    return float(alike.all_wrong[0]), float(alike.all_right[0])


def rate_figure(rate: float, size: int) -> go.Figure:
    """Over the pass rate: both ways to be dead, and how large an advantage is on average."""
    by_rate, x = deadness(RATES, size), RATES.numpy()
    lines = [
        Curve(_("dead"), 0, x, by_rate.dead.numpy()),
        Curve(_("all wrong"), 1, x, by_rate.all_wrong.numpy()),
        Curve(_("all right"), 2, x, by_rate.all_right.numpy()),
        Curve(_("mean |A| of an answer"), 3, x, expected_signal(RATES, size).numpy()),
        _now(rate, float(deadness(torch.tensor([rate], dtype=torch.float64), size).dead[0]), 0.5),
    ]
    return curves(lines, _("Pass rate p"), _("Share of groups, or |A|"), x_range=(0, 1), y_range=(0, 1.05))


def size_figure(rate: float, size: int, spread: float) -> go.Figure:
    """Over G: dead groups, and the groups that dynamic sampling draws for each that it keeps."""
    sizes = np.arange(SMALLEST, LARGEST + 1)
    dead = np.array([sum(shares(rate, int(count), spread)) for count in sizes])
    drawn = 1 / (1 - dead).clip(min=1e-9) / DRAWS_SCALE
    lines = [
        Curve(_("dead"), 0, sizes, dead),
        Curve(_("groups drawn for each that is kept ÷ 10"), 4, sizes, drawn),
        _now(size, sum(shares(rate, size, spread)), LARGEST / 2),
    ]
    return curves(
        lines,
        _("Answers in a group G"),
        _("Share of groups"),
        x_range=(SMALLEST - 1, LARGEST + 1),
        y_range=(0, 1.05),
    )


def _now(x: float, y: float, middle: float) -> Curve:
    """Where the sliders stand, with the share that is dead there; written towards the ``middle``."""
    side = "top left" if x > middle else "top right"
    return Curve(_("dead"), 0, np.array([x]), np.array([y]), written=f"{y:.3f}", side=side)


def formula(rate: float, size: int, spread: float) -> None:
    """The share of dead groups with its numbers put in."""
    wrong, right = shares(rate, size, spread)
    total = f"{wrong:.4f}+{right:.4f}={wrong + right:.4f}"
    if spread > 0:
        show_formula(rf"P=E[(1-p)^G]+E[p^G]={total}")
        return
    show_formula(
        rf"\begin{{aligned}}P&=(1-p)^G+p^G={1 - rate:.3f}^{{{size}}}+{rate:.3f}^{{{size}}}\\"
        rf"&={total}\end{{aligned}}"
    )


def batch_table(view: DeadGroups) -> pd.DataFrame:
    """What dead groups leave of a batch, and what it costs to draw others in their place."""
    groups, size = view.batch, view.size
    alive = 1 - sum(shares(view.pass_rate, size, view.spread))
    return pd.DataFrame(
        {
            _("Groups in a batch"): [groups],
            _("of them alive"): [f"{groups * alive:.1f}"],
            _("Effective answers"): [f"{groups * size * alive:.0f} / {groups * size}"],
            _("Groups drawn for each that is kept"): [f"{1 / alive:.2f}" if alive > 0 else "∞"],
            _("Answers sampled to fill the batch"): [f"{groups * size / alive:,.0f}" if alive > 0 else "∞"],
            _("Token mean diluted to"): [f"{100 * alive:.1f} %"],
        }
    )


def simulation(rate: float, size: int, spread: float, seed: int) -> Check:
    """Groups drawn at random by NumPy, counted; five standard deviations of that count are allowed."""
    generator = np.random.default_rng(seed)
    scale = np.inf if spread == 0 else 1 / spread - 1
    p = (
        np.full(SIMULATED, rate)
        if spread == 0
        else generator.beta(rate * scale, (1 - rate) * scale, SIMULATED)
    )
    rewards = torch.from_numpy((generator.random((SIMULATED, size)) < p[:, None]).astype(float))
    counted = float(is_dead(rewards).double().mean())
    dead = sum(shares(rate, size, spread))
    allowed = 5 * (max(dead * (1 - dead), 1e-4) / SIMULATED) ** 0.5
    what = _("NumPy's random groups, {count} of them, share of dead ones").format(count=f"{SIMULATED:,}")
    return Check(what, abs(counted - dead), allowed)


def rates_table(size: int) -> pd.DataFrame:
    """The left figure's curves, for the CSV."""
    by_rate = deadness(RATES, size)
    return pd.DataFrame(
        {
            "p": RATES.numpy(),
            "all_wrong": by_rate.all_wrong.numpy(),
            "all_right": by_rate.all_right.numpy(),
            "draws": by_rate.draws.numpy(),
            "signal": expected_signal(RATES, size).numpy(),
        }
    )


def snippet(rate: float, size: int, spread: float) -> str:
    call = (
        f"dead_share({rate!r}, {spread!r}, {size})"
        if spread
        else f"deadness(torch.tensor([{rate!r}]), {size}).dead"
    )
    return f"""import torch

from models.policy.dead_groups import dead_share, deadness

print({call})
"""
