"""Pre-LN and Post-LN by depth: gradients at the start, and training with and without warm-up."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import whole_number
from components.figures.optimizer_curves import Curve, curves
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.optimizers.training import checks
from components.take.script import Script
from components.take.small_transformer import depth as depth_script
from components.words import _
from components.work.running import keep_going, run_controls
from models.optimizers.schedules import Schedule
from models.optimizers.training_lab import NORMS, Progress, Training, gradient_norms_at_start, side_by_side

STEPS, WARMUP, PREVIEW = 100, 50, 10
LIVE = ("norms_at_start",)
SETTLED = (*LIVE, "four_runs")


@panel
def norm_and_depth(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        live_slider(_("Layers"), f"{name}_depth", 1, 24, 8, 1, live=LIVE, settled=SETTLED)
        live_slider(
            _("Learning rate η (Adam)"),
            f"{name}_depth_rate",
            1e-4,
            0.03,
            3e-3,
            log=True,
            settled=("four_runs",),
        )
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    left, right = st.columns(2, gap="medium")
    with left:
        norms_at_start(page)
    with right:
        four_runs(page)
    page.note("depth")
    at_start_table(page)


def depth_now(page: Page) -> tuple[int, int]:
    layers = round(slider_value(f"{page.name}_depth", 1, 24, 8))
    return layers, st.session_state.get(f"{page.name}_seed", 0)


@st.cache_data(max_entries=256, show_spinner=False)
def norms_of(norm: str, layers: int, seed: int) -> np.ndarray:
    return gradient_norms_at_start(norm, layers, seed).numpy()


@live_panel
def norms_at_start(page: Page) -> None:
    live_figure(
        start_figure(*depth_now(page)),
        f"{page.name}_at_start",
        _("Gradient norm of every layer before the first step, Pre-LN and Post-LN"),
    )


def start_figure(layers: int, seed: int) -> go.Figure:
    lines = [
        Curve(label, place, np.arange(1, layers + 1), norms_of(norm, layers, seed))
        for norm, place, label in (("pre", 0, "Pre-LN"), ("post", 1, "Post-LN"))
    ]
    return curves(
        lines,
        _("Layer"),
        _("Gradient norm before the first step"),
        x_range=(0.5, 24.5),
        y_range=(0, 1.8),
        height=460,
    )


def trainings(page: Page) -> list[Training]:
    """Pre-LN and Post-LN, each without and with warm-up."""
    layers, seed = depth_now(page)
    rate = slider_value(f"{page.name}_depth_rate", 1e-4, 0.03, 3e-3)
    plain = Training("adam", rate, layers=layers, steps=STEPS, seed=seed)
    return [
        replace(plain, norm=norm, schedule=Schedule(warmup=warmup))
        for norm in NORMS
        for warmup in (0, WARMUP)
    ]


def label_of(run: Training) -> str:
    norm = "Pre-LN" if run.norm == "pre" else "Post-LN"
    if not run.schedule.warmup:
        return norm
    return _("{norm}, warm-up {steps}").format(norm=norm, steps=run.schedule.warmup)


@panel
def four_runs(page: Page) -> None:
    asked = trainings(page)
    held = run_controls(page, "depth", tuple(asked), lambda: side_by_side(asked), STEPS)
    seen = held.seen[-1] if held is not None and held.seen else preview(tuple(asked))
    live_figure(
        runs_figure(asked, seen),
        f"{page.name}_four",
        _("Loss of four runs: Pre-LN and Post-LN, with warm-up and without"),
    )
    keep_going(page, "depth", held)


@st.cache_resource(max_entries=16, show_spinner=False)
def preview(asked: tuple[Training, ...]) -> list[list[Progress]]:
    """The first steps of runs that nobody has started yet."""
    *_earlier, last = islice(side_by_side(list(asked)), PREVIEW)
    return last


def runs_figure(asked: list[Training], seen: list[list[Progress]]) -> go.Figure:
    places = {("pre", 0): 0, ("pre", WARMUP): 6, ("post", 0): 1, ("post", WARMUP): 7}
    lines = [
        Curve(
            label_of(run),
            places[run.norm, run.schedule.warmup],
            np.arange(len(progress)),
            np.array([one.loss for one in progress], dtype=np.float32),
        )
        for run, progress in zip(asked, seen, strict=True)
    ]
    return curves(
        lines, _("Step"), _("Loss (nats a character)"), x_range=(0, STEPS), y_range=(1.5, 6), height=400
    )


def ratio_at(layers: int, seed: int) -> float:
    """The last layer's gradient norm under Post-LN over that under Pre-LN."""
    return float(norms_of("post", layers, seed)[-1] / norms_of("pre", layers, seed)[-1])


@panel
def at_start_table(page: Page) -> None:
    layers, seed = depth_now(page)
    rows = pd.DataFrame(
        [
            {
                _("Layers"): depth,
                _("Pre-LN: last layer"): f"{norms_of('pre', depth, seed)[-1]:.3f}",
                _("Post-LN: last layer"): f"{norms_of('post', depth, seed)[-1]:.3f}",
                "Post-LN ÷ Pre-LN": f"{ratio_at(depth, seed):.2f}",
            }
            for depth in (2, 6, 12, 24)
        ]
    )
    st.dataframe(rows, hide_index=True)
    checked_against(checks(Training(norm="post", layers=layers, seed=seed)))
    asked = trainings(page)

    def python() -> Script:
        before, after = (torch.from_numpy(norms_of(norm, layers, seed)) for norm in ("pre", "post"))
        return depth_script(asked, (before, after), preview(tuple(asked)))

    take_with_you(f"{page.name}_depth", lambda: rows, lambda: start_figure(layers, seed), python)
