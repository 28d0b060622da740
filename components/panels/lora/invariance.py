"""The invariance knob: α, initial size and learning rate move together, and the curve does not."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, choose_several
from components.figures.curves import Curve, curves
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.words import _
from models.lora.comparison import trained_by_torch
from models.lora.lab import OPTIMIZERS, Recipe, Run, Task, train
from models.lora.scaling import Knobs, turned
from models.numerics.comparison import largest_difference

TASK = Task(width=32, target_rank=8)
RANK, STEPS = 8, 120
P = (0.125, 8.0, 2.0)
ALPHA, START, RATE = (1.0, 64.0, 8.0), (0.25, 4.0, 1.0), (1e-3, 3e-2, 5e-3)
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


def pair_now(page: Page) -> Pair:
    """Two runs of one seed; the second with those knobs turned that follow p."""
    state, name = st.session_state, page.name
    knobs = Knobs(
        slider_value(f"{name}_knob_alpha", *ALPHA),
        slider_value(f"{name}_knob_start", *START),
        slider_value(f"{name}_knob_rate", *RATE),
    )
    optimizer = state.get(f"{name}_optimizer", "adam")
    whole = turned(knobs, slider_value(f"{name}_p", *P), optimizer)
    follow = state.get(f"{name}_turned", list(TURNED))
    other = Knobs(
        whole.alpha if "alpha" in follow else knobs.alpha,
        whole.start if "start" in follow else knobs.start,
        whole.learning_rate if "rate" in follow else knobs.learning_rate,
    )
    seed = state.get(f"{name}_seed", 0)
    factor = 1.0 if optimizer == "adam" else 10.0  # plain gradients are small: SGD needs larger steps
    runs = tuple(
        Run("kaiming", RANK, knob.learning_rate * factor, seed, knob.alpha / knobs.alpha, knob.start)
        for knob in (knobs, other)
    )
    recipe = Recipe(knobs.alpha, steps=STEPS, optimizer=optimizer, epsilon=1e-30)
    return Pair(knobs, other, recipe, (runs[0], runs[1]))


@panel
def invariance(page: Page) -> None:
    live, settled = ("invariance_figure",), ("invariance_figure", "invariance_words")
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        live_slider("p", f"{name}_p", *P, log=True, live=live, settled=settled)
        live_slider("α", f"{name}_knob_alpha", *ALPHA, log=True, live=live, settled=settled)
        live_slider(
            _("Initial size of A"), f"{name}_knob_start", *START, log=True, live=live, settled=settled
        )
        live_slider(_("Learning rate"), f"{name}_knob_rate", *RATE, log=True, live=live, settled=settled)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose(_("Optimizer"), OPTIMIZERS, f"{name}_optimizer", str.upper, default="adam", style="segments")
        choose_several(
            _("What follows p"), TURNED, f"{name}_turned", knob_label,
            default=page.default("turned"), most=3, width=420,
        )  # fmt: skip
    invariance_figure(page)
    page.note("invariance")
    invariance_words(page)


def losses(pair: Pair) -> torch.Tensor:
    *_steps, last = train(TASK, pair.runs, pair.recipe, STEPS)
    return last.losses


@live_panel
def invariance_figure(page: Page) -> None:
    live_figure(
        figure_of(pair_now(page)), f"{page.name}_invariance", _("Loss of both settings against the step")
    )


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
        shown, _("Step"), _("Loss relative to ‖ΔW*‖²"),
        x_range=(0, STEPS), y_range=(1e-5, 5), y_log=True, height=400,
    )  # fmt: skip


@panel
def invariance_words(page: Page) -> None:
    """The four numbers of both settings, their largest difference, and torch's own curves."""
    pair = pair_now(page)
    p = slider_value(f"{page.name}_p", *P)
    both = losses(pair)
    left, right = st.columns(2, gap="medium")
    with left:
        st.dataframe(
            pd.DataFrame(
                {
                    "": [_("as set"), _("turned by p")],
                    "α": [f"{k.alpha:.4g}" for k in (pair.plain, pair.other)],
                    _("initial A ×"): [f"{k.start:.4g}" for k in (pair.plain, pair.other)],
                    _("learning rate"): [f"{run.learning_rate:.4g}" for run in pair.runs],
                    _("final loss"): [f"{value:.6g}" for value in both[:, -1].tolist()],
                }
            ),
            hide_index=True,
            width="stretch",
        )
        gap = largest_difference(both[0], both[1])
        st.metric(_("Largest difference of the two curves"), f"{gap:.2e}")
    with right:
        power = "" if pair.recipe.optimizer == "adam" else "^2"
        st.latex(
            r"\begin{aligned}s'B'A'&=\frac{s}{p^2}(pB)(pA)=sBA\\[6pt]"
            rf"\eta'&=p{power}\,\eta,\qquad p={p:.4g}\end{{aligned}}"
        )
    checks = []
    for run, ours, name in zip(pair.runs, both, (_("as set"), _("turned by p")), strict=True):
        theirs = trained_by_torch(
            TASK, run, Recipe(pair.recipe.alpha, steps=20, optimizer=pair.recipe.optimizer, epsilon=1e-30)
        )
        optimizer = "torch.optim.Adam" if pair.recipe.optimizer == "adam" else "torch.optim.SGD"
        gap = largest_difference(ours[:21], theirs) / max(1.0, float(theirs.max()))
        checks.append(Check(f"{optimizer}, {name}", gap, 1e-3))
    checked_against(checks)
    take_with_you(
        f"{page.name}_invariance",
        lambda: pd.DataFrame({"as_set": both[0].numpy(), "turned": both[1].numpy()}),
        lambda: figure_of(pair),
        snippet(pair),
    )


def snippet(pair: Pair) -> str:
    """Python that repeats both curves."""
    return f"""from models.lora.lab import Recipe, Run, Task, train

*_, last = train({TASK!r}, {pair.runs!r}, {pair.recipe!r})
print(last.losses[:, -1], (last.losses[0] - last.losses[1]).abs().max())
"""
