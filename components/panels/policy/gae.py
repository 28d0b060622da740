"""Generalised advantage estimation: rewards and a critic's values to advantages, step by step."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.curves import Curve, curves
from components.figures.policy import grouped_bars, round_limits
from components.formulas import show_formula
from components.lesson_parts import note
from components.settings import View, slider, text
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.errors import InputError
from models.policy.gae import advantages, temporal_differences, whitened
from models.tables import number_of, numbers, parse_grid

MOST_STEPS = 64
LAMBDAS = np.linspace(0, 1, 41)
SIDES = ("top", "bottom", "top")  # of a step's marker, where its number stands
MIDDLE = 0.5  # λ from which the numbers stand on the left
FIRST_OF_STEPS = 3  # place of the steps' colours: the bars beside them have the first three


@lru_cache(maxsize=64)  # a redraw asks several times
def steps_of(rewards_text: str, values_text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and values as numbers. Raises InputError on what is none."""
    rewards, values = (
        numbers(parse_grid(typed), 1, MOST_STEPS)[0] for typed in (rewards_text, values_text)
    )
    if len(rewards) != len(values):
        raise InputError(
            "There are {rewards} rewards and {values} values; each step needs one of both.",
            rewards=len(rewards),
            values=len(values),
        )
    return rewards, values


@dataclass(frozen=True)
class GeneralisedAdvantages(View):
    """What GAE makes of rewards and a critic's values."""

    page, name = "policy", "gae"
    decay: float = slider(0.0, 1.0, 0.95, key="lambda", label="λ")
    discount: float = slider(0.0, 1.0, 1.0, label="γ")
    gae_rewards: str = text("0, 0, 0, 0, 0, 1", label=mark("Rewards r by step"), most=2_000)
    gae_values: str = text("0.5, 0.55, 0.4, 0.6, 0.7, 0.8", label=mark("The critic's values V"), most=2_000)
    after: str = text("0", label=mark("V after the last step (0: the answer ended)"), most=100)

    @property
    def bootstrap(self) -> float:
        """V behind the last step. Raises InputError."""
        return number_of(self.after.strip() or "0", 1, 1)

    @property
    def steps(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rewards and values. Raises InputError."""
        return steps_of(self.gae_rewards, self.gae_values)

    def at_decay(self, decay: float) -> torch.Tensor:
        """The advantages at a λ: [steps]."""
        return advantages(*self.steps, self.discount, decay, self.bootstrap)

    def stage(self) -> Stage:
        bars, lines = step_figure(self), decay_figure(self)
        return Stage(
            [
                Plot("gae_steps", bars, _("Temporal differences and advantages by step")),
                Plot(
                    "gae_decay",
                    lines,
                    _("Advantage of the first, the middle and the last step against λ"),
                ),
            ]
        )

    def below(self) -> None:
        rewards, values = self.steps
        deltas = temporal_differences(rewards, values, self.discount, self.bootstrap)
        made = self.at_decay(self.decay)
        show_formula(first_step(self, deltas, made))
        note(self, "gae")
        table = step_table(rewards, values, deltas, made)
        st.dataframe(table, hide_index=True, width="stretch")
        checked_against([system_check(deltas, made, self.discount * self.decay)])
        take_with_you(
            self,
            lambda: table,
            lambda: step_figure(self),
            snippet(self),
        )


def step_figure(view: GeneralisedAdvantages) -> go.Figure:
    rewards, values = view.steps
    series = {
        "δ": temporal_differences(rewards, values, view.discount, view.bootstrap).numpy(),
        _("advantage A"): view.at_decay(view.decay).numpy(),
        _("A at λ = 1"): view.at_decay(1.0).numpy(),
    }
    names = [str(step + 1) for step in range(len(rewards))]
    limits = round_limits(*series.values())
    return grouped_bars(series, names, _("By step"), x_title=_("Step"), limits=limits)


def decay_figure(view: GeneralisedAdvantages) -> go.Figure:
    by_decay = np.array([view.at_decay(float(each)).numpy() for each in LAMBDAS])
    decay, at, count = view.decay, view.at_decay(view.decay).numpy(), by_decay.shape[1]
    lines = []
    for place, step in enumerate(dict.fromkeys((0, count // 2, count - 1))):
        name, look = _("step {number}").format(number=step + 1), FIRST_OF_STEPS + place
        lines += [
            Curve(name, look, LAMBDAS, by_decay[:, step]),
            Curve(
                name,
                look,
                np.array([decay]),
                at[[step]],
                written=f"{name} {at[step]:+.4f}",
                side=f"{SIDES[place]} {'left' if decay > MIDDLE else 'right'}",
            ),
        ]
    limits = round_limits(by_decay)
    return curves(lines, "λ", _("Advantage"), x_range=(-0.03, 1.03), y_range=limits)


def first_step(view: GeneralisedAdvantages, deltas: torch.Tensor, made: torch.Tensor) -> str:
    """The first step's δ and A with their numbers put in."""
    rewards, values = view.steps
    following = float(values[1]) if len(values) > 1 else view.bootstrap
    behind = float(made[1]) if len(made) > 1 else 0.0
    return (
        r"\begin{aligned}\delta_1&=r_1+\gamma V_2-V_1\\"
        rf"&={float(rewards[0]):.4g}+{view.discount:.2f}\cdot({following:.4g})"
        rf"-({float(values[0]):.4g})={float(deltas[0]):.5g}\\[4pt]A_1&=\delta_1+\gamma\lambda A_2\\"
        rf"&={float(deltas[0]):.5g}+{view.discount * view.decay:.4g}\cdot({behind:.5g})"
        rf"={float(made[0]):.5g}\end{{aligned}}"
    )


def step_table(
    rewards: torch.Tensor, values: torch.Tensor, deltas: torch.Tensor, made: torch.Tensor
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            _("Step"): range(1, len(rewards) + 1),
            "r": rewards.numpy(),
            "V": values.numpy(),
            "δ": deltas.numpy(),
            "A": made.numpy(),
            _("return A + V"): (made + values).numpy(),
            _("whitened A"): whitened(made).numpy(),
        }
    )


def system_check(deltas: torch.Tensor, made: torch.Tensor, factor: float) -> Check:
    """(I − γλ·shift) A = δ, solved as a whole."""
    system = torch.eye(len(deltas), dtype=torch.float64)
    system -= factor * torch.diag(torch.ones(len(deltas) - 1, dtype=torch.float64), 1)
    theirs = torch.linalg.solve_triangular(system, deltas[:, None], upper=True)[:, 0]
    what = _("torch.linalg.solve_triangular of all steps at once")
    return Check(what, float((theirs - made).abs().max()), 1e-9)


def snippet(view: GeneralisedAdvantages) -> str:
    """Python that repeats the numbers of the bars."""
    rewards, values = view.steps
    return f"""import torch

from models.policy.gae import advantages

rewards, values = torch.tensor({rewards.tolist()!r}), torch.tensor({values.tolist()!r})
print(advantages(rewards, values, {view.discount!r}, {view.decay!r}, {view.bootstrap!r}))
"""
