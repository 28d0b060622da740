"""The invariance knob: α, initial size and learning rate move together, and the curve does not."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.curves import Curve, curves
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.lora.settings import Seeded
from components.settings import one_of, several, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.lora.comparison import trained_by_torch
from models.lora.lab import OPTIMIZERS, Optimizer, Recipe, Run, Task, train
from models.lora.scaling import Knobs, turned
from models.numerics.comparison import largest_difference

TASK = Task(width=32, target_rank=8)
RANK, STEPS = 8, 120
LARGEST = 1e12  # of a loss that is compared
ROUNDED = 1e-4  # of a loss: what rounding may have done to it by then
TURNED = ("alpha", "start", "rate")


@dataclass(frozen=True)
class Pair:
    """The run as the knobs say, the one that p makes of it, and what both share."""

    plain: Knobs
    other: Knobs
    recipe: Recipe
    runs: tuple[Run, Run]


def knob_label(knob: str) -> str:
    return {"alpha": "α / p²", "start": _("p · initial A"), "rate": _("p · learning rate")}[knob]


@dataclass(frozen=True)
class OneKnob(Seeded):
    """α, the initial size of A and the learning rate turned together: one knob, not four."""

    page, name = "lora", "invariance"
    p: float = slider(0.125, 8.0, 2.0, log=True, label="p")
    knob_alpha: float = slider(1.0, 64.0, 8.0, log=True, label="α")
    knob_start: float = slider(0.25, 4.0, 1.0, log=True, label=mark("Initial size of A"))
    knob_rate: float = slider(1e-3, 3e-2, 5e-3, log=True, label=mark("Learning rate"))
    optimizer: Optimizer = one_of(
        OPTIMIZERS, "adam", label=mark("Optimizer"), label_of=str.upper, style="segments"
    )
    turned: tuple[str, ...] = several(
        TURNED, TURNED, label=mark("What follows p"), label_of=knob_label, least=1, most=3
    )

    @property
    def pair(self) -> Pair:
        """Two runs of one seed; the second with those knobs turned that follow p."""
        knobs = Knobs(self.knob_alpha, self.knob_start, self.knob_rate)
        whole = turned(knobs, self.p, self.optimizer)
        other = Knobs(
            whole.alpha if "alpha" in self.turned else knobs.alpha,
            whole.start if "start" in self.turned else knobs.start,
            whole.learning_rate if "rate" in self.turned else knobs.learning_rate,
        )
        factor = (
            1.0 if self.optimizer == "adam" else 10.0
        )  # plain gradients are small: SGD needs larger steps
        first, second = (
            Run(
                "kaiming",
                RANK,
                knob.learning_rate * factor,
                self.seed,
                knob.alpha / knobs.alpha,
                knob.start,
            )
            for knob in (knobs, other)
        )
        recipe = Recipe(knobs.alpha, steps=STEPS, optimizer=self.optimizer, epsilon=1e-30)
        return Pair(knobs, other, recipe, (first, second))

    def stage(self) -> Stage:
        alt = _("Loss of both settings against the step")
        return Stage(Plot("invariance", figure_of(self.pair), alt))

    def below(self) -> None:
        """The four numbers of both settings, their largest difference, and torch's own curves."""
        note(self, "invariance")
        pair = self.pair
        both = losses(pair)
        left, right = st.columns(2, gap="medium")
        with left:
            st.dataframe(knob_table(pair, both), hide_index=True, width="stretch")
            gap = largest_difference(both[0], both[1])
            st.metric(_("Largest difference of the two curves"), f"{gap:.2e}")
        with right:
            power = "" if pair.recipe.optimizer == "adam" else "^2"
            show_formula(
                r"\begin{aligned}s'B'A'&=\frac{s}{p^2}(pB)(pA)=sBA\\[6pt]"
                rf"\eta'&=p{power}\,\eta,\qquad p={self.p:.4g}\end{{aligned}}"
            )
        checked_against(checks(pair, both))
        take_with_you(
            self,
            lambda: pd.DataFrame({"as_set": both[0].numpy(), "turned": both[1].numpy()}).rename_axis(
                "step"
            ),
            lambda: figure_of(pair),
            snippet(pair),
        )


def knob_table(pair: Pair, both: torch.Tensor) -> pd.DataFrame:
    """Both settings in numbers."""
    knobs = (pair.plain, pair.other)
    return pd.DataFrame(
        {
            _("Setting"): [_("as set"), _("turned by p")],
            "α": [f"{knob.alpha:.4g}" for knob in knobs],
            _("initial A ×"): [f"{knob.start:.4g}" for knob in knobs],
            _("learning rate"): [f"{run.learning_rate:.4g}" for run in pair.runs],
            _("final loss"): [f"{value:.6g}" for value in both[:, -1].tolist()],
        }
    )


def checks(pair: Pair, both: torch.Tensor) -> list[Check]:
    """The first 20 steps of both by torch's own optimizer."""
    made = []
    recipe = Recipe(pair.recipe.alpha, steps=20, optimizer=pair.recipe.optimizer, epsilon=1e-30)
    optimizer = "torch.optim.Adam" if pair.recipe.optimizer == "adam" else "torch.optim.SGD"
    for run, ours, name in zip(pair.runs, both, (_("as set"), _("turned by p")), strict=True):
        theirs = trained_by_torch(TASK, run, recipe)
        exact = trained_by_torch(TASK, run, recipe, torch.float64)
        # A run that flies apart ends in infinities and NaN of either's own; one on the edge of that is
        # decided by rounding, from where torch parts from itself in float64.
        same = (theirs - exact).abs() <= ROUNDED * exact.clamp(min=1.0)
        known = (theirs < LARGEST) & same.cumprod(0).bool()
        gap = largest_difference(ours[:21][known], theirs[known]) / max(1.0, float(theirs[known].max()))
        made.append(Check(f"{optimizer}, {name}", gap, 1e-3))
    return made


def losses(pair: Pair) -> torch.Tensor:
    *_steps, last = train(TASK, pair.runs, pair.recipe, STEPS)
    return last.losses


def figure_of(pair: Pair) -> go.Figure:
    shown = [
        Curve(name, place, np.arange(0, STEPS + 1, thin), loss[::thin], markers=place == 1)
        for place, (name, thin, loss) in enumerate(
            zip(
                (_("as set"), _("turned by p")),
                (1, 6),
                losses(pair).nan_to_num(nan=1e3).clamp(1e-6, 1e3).numpy(),
                strict=True,
            )
        )
    ]
    return curves(
        shown,
        _("Step"),
        _("Loss relative to ‖ΔW*‖²"),
        x_range=(0, STEPS),
        y_range=(1e-5, 5),
        y_log=True,
        height=400,
    )


def snippet(pair: Pair) -> str:
    """Python that repeats both curves."""
    return f"""from models.lora.lab import Recipe, Run, Task, train

*_, last = train({TASK!r}, {pair.runs!r}, {pair.recipe!r})
print(last.losses[:, -1], (last.losses[0] - last.losses[1]).abs().max())
"""
