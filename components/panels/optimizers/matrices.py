"""A matrix to learn: SGD, Adam and Muon, and what Newton–Schulz does to an update's singular values."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, whole_number
from components.figures.optimizer_curves import Curve, curves, matrix_heatmaps
from components.figures.optimizers import place_of
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.take.optimizers import matrices as matrices_script
from components.words import _
from models.optimizers.learning_rates import rates_between
from models.optimizers.matrix_problem import (
    OPTIMIZERS,
    MatrixProblem,
    MatrixRun,
    best_rate,
    build,
    matrix_run,
    momentum_matrix,
)
from models.optimizers.newton_schulz import newton_schulz
from models.optimizers.schedules import Schedule

STEPS, NEWTON_SCHULZ = 150, 5
SIZES = (2, 4, 8, 16, 32)
COSINE = Schedule("cosine")
LABELS = {"sgd": "SGD", "momentum": "Nesterov", "adam": "Adam", "muon": "Muon"}
LIVE = ("matrix_step",)


@dataclass(frozen=True, eq=False)
class Tuned:
    """A run at the rate that ended lowest."""

    rate: float
    run: MatrixRun


@st.cache_resource(max_entries=64, show_spinner=False)
def tuned(problem: MatrixProblem, kind: str) -> Tuned:
    rate = best_rate(problem, kind, rates_between(1e-3, 10.0, 9), STEPS, COSINE)
    return Tuned(rate, matrix_run(problem, kind, rate, STEPS, COSINE))


@panel
def matrices(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        rows, columns = (
            choose(label, SIZES, f"{name}_{key}", str, default=8, width=110)
            for label, key in ((_("Rows"), "rows"), (_("Columns"), "columns"))
        )
        spread = choose(
            _("Strongest ÷ weakest input"),
            (1.0, 3.0, 10.0, 30.0, 100.0),
            f"{name}_spread",
            lambda value: f"{value:g}",
            default=30.0,
            style="segments",
        )
        turned = choose(
            _("Inputs lie"),
            ("turned", "along"),
            f"{name}_inputs",
            lambda way: _("turned") if way == "turned" else _("along the axes"),
            default="turned",
            style="segments",
        )
        seed = whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    problem = MatrixProblem(rows, columns, spread, turned == "turned", seed)
    live_slider(
        _("Step"), f"{name}_matrix_step", 1, STEPS, 20, 1, live=LIVE, settled=(*LIVE, "matrix_numbers")
    )
    found = {kind: tuned(problem, kind) for kind in OPTIMIZERS}
    matrix_step(page, found)
    page.note("matrices")
    matrix_numbers(page, problem, found)


def step_now(page: Page) -> int:
    return round(slider_value(f"{page.name}_matrix_step", 1, STEPS, 20))


@live_panel
def matrix_step(page: Page, found: dict[str, Tuned]) -> None:
    step = step_now(page)
    first, second, third = st.columns(3, gap="small")
    with first:
        live_figure(loss_figure(found, step), f"{page.name}_matrix_loss", _("Loss against the step"))
    with second:
        live_figure(
            values_figure(found, step),
            f"{page.name}_values",
            _("Singular values of the update of each optimizer"),
        )
    with third:
        live_figure(
            schulz_figure(found["muon"].run, step),
            f"{page.name}_schulz",
            _("Singular values of Muon's momentum through the Newton–Schulz steps"),
        )
    iteration = newton_schulz(momentum_matrix(found["muon"].run, step), NEWTON_SCHULZ)
    points = (0, 1, 2, NEWTON_SCHULZ)
    pictures = {_("after {steps} steps").format(steps=k): iteration.matrices[k].numpy() for k in points}
    live_figure(
        matrix_heatmaps(pictures, 1.0),
        f"{page.name}_pictures",
        _("Muon's momentum matrix before and after Newton–Schulz steps"),
        rest=150,
    )


def loss_figure(found: dict[str, Tuned], step: int) -> go.Figure:
    lines = [
        Curve(
            f"{LABELS[kind]} η={one.rate:.2g}",
            place_of(kind),
            np.arange(STEPS + 1),
            one.run.losses.clamp(min=1e-12).numpy(),
        )
        for kind, one in found.items()
    ]
    return curves(lines, _("Step"), _("Loss"), y_log=True, y_range=(-8, 3), x_now=step, height=400)


def values_figure(found: dict[str, Tuned], step: int) -> go.Figure:
    """Each optimizer's singular values as shares of its largest: how many directions move at all."""
    lines = []
    for kind, one in found.items():
        values = torch.linalg.svdvals(one.run.updates[step - 1])
        shares = (values / values[0].clamp(min=1e-30)).clamp(min=1e-8)
        lines.append(Curve(LABELS[kind], place_of(kind), np.arange(1, len(shares) + 1), shares.numpy()))
    return curves(
        lines,
        _("Singular value number"),
        _("Share of the largest"),
        y_log=True,
        y_range=(-6, 0.2),
        height=400,
    )


def schulz_figure(run: MatrixRun, step: int) -> go.Figure:
    iteration = newton_schulz(momentum_matrix(run, step), NEWTON_SCHULZ)
    lines = [
        Curve(f"σ{number + 1}", 0, np.arange(NEWTON_SCHULZ + 1), values.abs().clamp(min=1e-6).numpy())
        for number, values in enumerate(iteration.singular_values.T)
    ]
    return curves(
        lines,
        _("Newton–Schulz steps done"),
        _("Singular value"),
        y_log=True,
        y_range=(-5, 0.4),
        y_line=(1.0, "1"),
        height=400,
    ).update_layout(showlegend=False)


@panel
def matrix_numbers(page: Page, problem: MatrixProblem, found: dict[str, Tuned]) -> None:
    step = step_now(page)
    st.latex(
        r"X\leftarrow 3.4445\,X-4.775\,(XX^\top)X+2.0315\,(XX^\top)^2X"
        r"\quad\Leftrightarrow\quad\sigma\leftarrow 3.4445\,\sigma-4.775\,\sigma^3+2.0315\,\sigma^5"
    )
    rows = table(found, step)
    st.dataframe(rows, hide_index=True)
    checked_against(checks(problem, found, step))
    take_with_you(
        f"{page.name}_matrices",
        lambda: rows,
        lambda: loss_figure(found, step),
        lambda: matrices_script(
            problem, STEPS, step, {kind: (one.rate, one.run) for kind, one in found.items()}
        ),
    )


def table(found: dict[str, Tuned], step: int) -> pd.DataFrame:
    rows = []
    for kind, one in found.items():
        values = torch.linalg.svdvals(one.run.updates[step - 1])
        share = float((values > 0.1 * values[0]).double().mean())
        rows.append(
            {
                _("Optimizer"): LABELS[kind],
                _("Best rate"): f"{one.rate:.2g}",
                _("Loss after step {step}").format(step=step): f"{one.run.losses[step]:.3g}",
                _("Last loss"): f"{one.run.losses[-1]:.3g}",
                _("Largest singular value of the update ÷ η"): f"{values[0]:.3g}",
                _("smallest"): f"{values[-1]:.3g}",
                _("above a tenth of the largest"): f"{share:.0%}",
            }
        )
    return pd.DataFrame(rows)


def checks(problem: MatrixProblem, found: dict[str, Tuned], step: int) -> list[Check]:
    """Muon's step with ours, and a bare loop of torch's Adam with the run that is shown."""
    muon = found["muon"].run
    ours = newton_schulz(momentum_matrix(muon, step), NEWTON_SCHULZ, torch.bfloat16).matrices[-1]
    wide = max(1.0, problem.rows / problem.columns) ** 0.5
    weights = torch.zeros(problem.rows, problem.columns, dtype=torch.float64, requires_grad=True)
    optimizer = build("adam", [weights], found["adam"].rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _step in range(STEPS):
        optimizer.zero_grad()
        problem.loss(weights).backward()
        optimizer.step()
        scheduler.step()
    last = problem.loss(weights.detach())
    gap = abs(last - found["adam"].run.losses[-1]).item()
    return [
        Check(
            _("torch.optim.Muon's update ÷ η, in bfloat16"),
            (muon.updates[step - 1] + wide * ours).abs().max().item(),
            2e-2,  # of bfloat16: 3 digits, and this number comes from a difference of weights
        ),
        Check(_("torch.optim.Adam under CosineAnnealingLR, last loss"), gap, 1e-6),
    ]
