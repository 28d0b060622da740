"""A matrix to learn: SGD, Adam and Muon, and what Newton–Schulz does to an update's singular values."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.optimizer_curves import Curve, curves, matrix_heatmaps
from components.figures.optimizers import place_of
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.optimizers.settings import Seeded
from components.settings import one_of, slider
from components.stage import Plot, Row, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
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
PLAIN = 11  # the look of singular values: grey, without dashes
PLACES = {kind: place_of("nesterov" if kind == "momentum" else kind) for kind in LABELS}


@dataclass(frozen=True, eq=False)
class Tuned:
    """A run at the rate that ended lowest."""

    rate: float
    run: MatrixRun


@lru_cache(maxsize=64)
def tuned(problem: MatrixProblem, kind: str) -> Tuned:
    rate = best_rate(problem, kind, rates_between(1e-3, 10.0, 9), STEPS, COSINE)
    return Tuned(rate, matrix_run(problem, kind, rate, STEPS, COSINE))


def inputs_label(inputs: str) -> str:
    return _("turned") if inputs == "turned" else _("along the axes")


@dataclass(frozen=True)
class Matrices(Seeded):
    """Four optimizers on a matrix to learn, and what Muon does to its momentum's singular values."""

    page, name = "optimizers", "matrices"
    matrix_step: int = slider(1, STEPS, 20, 1, label=mark("Step"))
    rows: int = one_of(SIZES, 8, label=mark("Rows"))
    columns: int = one_of(SIZES, 8, label=mark("Columns"), beside=True)
    spread: int = one_of((1, 3, 10, 30, 100), 30, label=mark("Strongest ÷ weakest input"))
    inputs: str = one_of(
        ("turned", "along"), label=mark("Inputs lie"), label_of=inputs_label, style="segments"
    )

    @property
    def problem(self) -> MatrixProblem:
        return MatrixProblem(
            self.rows, self.columns, float(self.spread), self.inputs == "turned", self.seed
        )

    def runs(self) -> dict[str, Tuned]:
        return {kind: tuned(self.problem, kind) for kind in OPTIMIZERS}

    def stage(self) -> Stage:
        runs, step = self.runs(), self.matrix_step
        iteration = newton_schulz(momentum_matrix(runs["muon"].run, step), NEWTON_SCHULZ)
        pictures = {
            _("after {steps} steps").format(steps=done): iteration.matrices[done].numpy()
            for done in (0, 1, 2, NEWTON_SCHULZ)
        }
        return Stage(
            Row(
                [
                    Plot(
                        "values",
                        values_figure(runs, step),
                        _("Singular values of the update of each optimizer"),
                    ),
                    Plot(
                        "schulz",
                        schulz_figure(iteration.singular_values),
                        _("Singular values of Muon's momentum through the Newton–Schulz steps"),
                    ),
                    Plot("matrix_loss", loss_figure(runs, step), _("Loss against the step")),
                ],
                height=3,
            ),
            Row(
                [
                    Plot(
                        "pictures",
                        matrix_heatmaps(pictures, 1.0),
                        _("Muon's momentum matrix before and after Newton–Schulz steps"),
                        rest=150,
                    )
                ],
                height=2,
            ),
        )

    def below(self) -> None:
        runs, step = self.runs(), self.matrix_step
        note(self, "matrices")
        show_formula(
            r"X\leftarrow 3.4445\,X-4.775\,(XX^\top)X+2.0315\,(XX^\top)^2X"
            r"\quad\Leftrightarrow\quad\sigma\leftarrow 3.4445\,\sigma-4.775\,\sigma^3+2.0315\,\sigma^5"
        )
        rows = table(runs, step)
        st.dataframe(rows, hide_index=True)
        checked_against(checks(self.problem, runs, step))
        take_with_you(
            self, lambda: rows, lambda: loss_figure(runs, step), snippet(self.problem, rates_of(runs))
        )


def rates_of(runs: dict[str, Tuned]) -> dict[str, float]:
    return {kind: tuned_run.rate for kind, tuned_run in runs.items()}


def loss_figure(runs: dict[str, Tuned], step: int) -> go.Figure:
    lines = [
        Curve(
            f"{LABELS[kind]} η={tuned_run.rate:.2g}",
            PLACES[kind],
            np.arange(STEPS + 1),
            tuned_run.run.losses.clamp(min=1e-12).numpy(),
        )
        for kind, tuned_run in runs.items()
    ]
    return curves(lines, _("Step"), _("Loss"), y_log=True, y_range=(-8, 3), x_now=step)


def values_figure(runs: dict[str, Tuned], step: int) -> go.Figure:
    """Each optimizer's singular values as shares of its largest: how many directions move at all."""
    lines = []
    for kind, tuned_run in runs.items():
        values = torch.linalg.svdvals(tuned_run.run.updates[step - 1])
        shares = (values / values[0].clamp(min=1e-30)).clamp(min=1e-8)
        lines.append(Curve(LABELS[kind], PLACES[kind], np.arange(1, len(shares) + 1), shares.numpy()))
    return curves(
        lines,
        _("Singular value i"),
        _("Share of the largest"),
        y_log=True,
        y_range=(-6, 0.2),
    )


def schulz_figure(singular_values: torch.Tensor) -> go.Figure:
    """Each singular value [steps + 1, values] through the iteration; one look, as they are one matrix's."""
    done = np.arange(len(singular_values))
    lines = [Curve("", PLAIN, done, values.abs().clamp(min=1e-6).numpy()) for values in singular_values.T]
    return curves(
        lines,
        _("Newton–Schulz steps done"),
        _("Singular values of Muon's momentum"),
        y_log=True,
        y_range=(-5, 0.4),
        y_line=(1.0, ""),
    )


def table(runs: dict[str, Tuned], step: int) -> pd.DataFrame:
    rows = []
    for kind, tuned_run in runs.items():
        values = torch.linalg.svdvals(tuned_run.run.updates[step - 1])
        share = float((values > 0.1 * values[0]).double().mean())
        rows.append(
            {
                _("Optimizer"): LABELS[kind],
                _("Best rate"): f"{tuned_run.rate:.2g}",
                _("Loss after step {step}").format(step=step): f"{tuned_run.run.losses[step]:.3g}",
                _("Last loss"): f"{tuned_run.run.losses[-1]:.3g}",
                _("Largest singular value of the update ÷ η"): f"{values[0]:.3g}",
                _("smallest"): f"{values[-1]:.3g}",
                _("above a tenth of the largest"): f"{share:.0%}",
            }
        )
    return pd.DataFrame(rows)


def checks(problem: MatrixProblem, runs: dict[str, Tuned], step: int) -> list[Check]:
    """Muon's step with ours, and a bare loop of torch's Adam with the run that is shown."""
    muon = runs["muon"].run
    ours = newton_schulz(momentum_matrix(muon, step), NEWTON_SCHULZ, torch.bfloat16).matrices[-1]
    wide = max(1.0, problem.rows / problem.columns) ** 0.5
    weights = torch.zeros(problem.rows, problem.columns, dtype=torch.float64, requires_grad=True)
    optimizer = build("adam", [weights], runs["adam"].rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _step in range(STEPS):
        optimizer.zero_grad()
        problem.loss(weights).backward()
        optimizer.step()
        scheduler.step()
    last = problem.loss(weights.detach())
    gap = abs(last - runs["adam"].run.losses[-1]).item()
    return [
        Check(
            _("torch.optim.Muon's update ÷ η, in bfloat16"),
            (muon.updates[step - 1] + wide * ours).abs().max().item(),
            2e-2,  # of bfloat16: 3 digits, and this number comes from a difference of weights
        ),
        Check(_("torch.optim.Adam under CosineAnnealingLR, last loss"), gap, 1e-6),
    ]


def snippet(problem: MatrixProblem, rates: dict[str, float]) -> str:
    """Python that repeats the loss curves."""
    return f"""from models.optimizers.matrix_problem import MatrixProblem, matrix_run
from models.optimizers.schedules import Schedule

problem = {problem!r}
for kind, rate in {rates!r}.items():
    print(kind, matrix_run(problem, kind, rate, {STEPS}, Schedule("cosine")).losses.tolist())
"""
