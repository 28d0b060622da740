"""Why B is zero and A is not: the gradients of both at the first steps, and what follows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.curves import Curve, curves
from components.figures.lora import table_heatmap
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.lora.settings import Seeded, initialisation_label, place_of
from components.settings import one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.lora.adapter import scale
from models.lora.comparison import FirstSteps, first_steps, grid, trained_by_torch
from models.lora.initialisations import INITIALISATIONS, Adapter, Initialisation, initialise
from models.lora.lab import Problem, Recipe, Run, Task, problem, train
from models.numerics.comparison import largest_difference

STARTS: tuple[Initialisation, ...] = ("kaiming", "b_random", "zero", "random", "orthogonal")
TASK = Task(width=32, target_rank=8)
RANK, STEPS, SHOWN = 8, 100, 3


@dataclass(frozen=True)
class WhyBIsZero(Seeded):
    """The gradients of A and B at the first steps, and what follows, for five starts."""

    page, name = "lora", "zero"
    zero_alpha: float = slider(1.0, 64.0, 8.0, log=True, label="α")
    zero_rate: float = slider(1e-3, 1e-1, 1e-2, log=True, label=mark("Learning rate"))
    start: Initialisation = one_of(
        INITIALISATIONS, "kaiming", label=mark("Explain the start"), label_of=initialisation_label
    )

    @property
    def recipe(self) -> Recipe:
        return Recipe(alpha=self.zero_alpha, steps=STEPS)

    @property
    def runs(self) -> tuple[Run, ...]:
        return grid(STARTS, (RANK,), (self.zero_rate,), (self.seed,))

    def first_steps(self) -> FirstSteps:
        return first_steps(TASK, self.runs, self.recipe, SHOWN)

    def stage(self) -> Stage:
        return Stage(
            [
                Plot(
                    "gradients",
                    gradient_figure(self.first_steps()),
                    _("Gradients of A and B at steps 0, 1, 2"),
                ),
                Plot("zero_loss", loss_figure(self.runs, self.recipe), _("Loss against the step"), rest=60),
            ]
        )

    def below(self) -> None:
        """The arithmetic of one start, and the comparison with torch."""
        note(self, "zero")
        first = self.runs[0]
        run, recipe = Run(self.start, RANK, first.learning_rate, first.seed), self.recipe
        steps = first_steps(TASK, (run,), recipe, SHOWN)
        drawn, s = problem(TASK, run.seed), scale(recipe.alpha, RANK)
        generator = torch.Generator().manual_seed(1_000 + run.seed)
        start = initialise(self.start, drawn.weight, RANK, s, generator)
        left, right = st.columns(2, gap="medium")
        with left:
            arithmetic(recipe, drawn, start, steps, s)
        with right:
            st.dataframe(step_table(steps), hide_index=True, width="stretch")
        checked_against(checks(run, recipe, start.a, start.b, start.base, steps))
        take_with_you(
            self,
            lambda: all_steps(self.first_steps()),
            lambda: loss_figure(self.runs, self.recipe),
            snippet(self.runs, self.recipe),
        )


def arithmetic(recipe: Recipe, drawn: Problem, start: Adapter, steps: FirstSteps, s: float) -> None:
    """Scale, gradient of the loss, and both factors' gradients, with their numbers."""
    gradient = 2 * (start.base + s * start.b @ start.a - drawn.weight - drawn.change)
    gradient = gradient / drawn.change.square().sum()
    show_formula(
        r"\begin{aligned}"
        rf"s&=\alpha/r={recipe.alpha:.3g}/{RANK}={s:.3g}\\[6pt]"
        rf"G&=\partial L/\partial W,\quad\lVert G\rVert={gradient.norm():.4f}\\[6pt]"
        rf"\nabla A&=s\,B^\top G,\quad\lVert B\rVert={start.b.norm():.3f}"
        rf"\;\Rightarrow\;\lVert\nabla A\rVert={steps.gradient_a[0, 0]:.4f}\\[6pt]"
        rf"\nabla B&=s\,G A^\top,\quad\lVert A\rVert={start.a.norm():.3f}"
        rf"\;\Rightarrow\;\lVert\nabla B\rVert={steps.gradient_b[0, 0]:.4f}"
        r"\end{aligned}"
    )


def gradient_figure(found: FirstSteps) -> go.Figure:
    """‖∇A‖ and ‖∇B‖, by start and step; an exact zero stays empty and says 0."""
    values = torch.cat([found.gradient_a, found.gradient_b], dim=1).numpy().astype(np.float64)
    texts = [["0" if value == 0 else f"{value:.2g}" for value in row] for row in values]
    values[values == 0] = np.nan
    return table_heatmap(
        values,
        [initialisation_label(name) for name in STARTS],
        [f"‖∇{matrix}‖ · {step}" for matrix in "AB" for step in range(SHOWN)],
        row_title="",
        column_title=_("Gradient · step"),
        value_title=_("Norm"),
        limits=(1e-3, 10.0),
        texts=texts,
        height=400,
    )


def loss_figure(runs: tuple[Run, ...], recipe: Recipe) -> go.Figure:
    *_steps, last = train(TASK, runs, recipe, STEPS)
    shown = [
        Curve(initialisation_label(name), place_of(name), np.arange(STEPS + 1), loss)
        for name, loss in zip(STARTS, last.losses.clamp_min(1e-5).numpy(), strict=True)
    ]
    return curves(
        shown,
        _("Step"),
        _("Loss relative to ‖ΔW*‖²"),
        x_range=(0, STEPS),
        y_range=(1e-4, 10),
        y_log=True,
        height=400,
    )


def step_table(found: FirstSteps) -> pd.DataFrame:
    return pd.DataFrame(
        {
            _("Step"): range(SHOWN),
            "‖∇A‖": [f"{value:.4g}" for value in found.gradient_a[0].tolist()],
            "‖∇B‖": [f"{value:.4g}" for value in found.gradient_b[0].tolist()],
            "‖W − W₀‖": [f"{value:.4g}" for value in found.change[0].tolist()],
            _("Loss"): [f"{value:.4g}" for value in found.loss[0].tolist()],
        }
    )


def checks(
    run: Run, recipe: Recipe, a: torch.Tensor, b: torch.Tensor, base: torch.Tensor, found: FirstSteps
) -> list[Check]:
    """The first gradients by torch's automatic differentiation, and the curve by torch.optim.Adam."""
    drawn, s = problem(TASK, run.seed), scale(recipe.alpha, RANK)
    leaves = [a.clone().requires_grad_(), b.clone().requires_grad_()]
    error = base + s * leaves[1] @ leaves[0] - drawn.weight - drawn.change
    (error.square().sum() / drawn.change.square().sum()).backward()
    norms = torch.stack([leaf.grad.norm() for leaf in leaves if leaf.grad is not None])
    ours = torch.stack([found.gradient_a[0, 0], found.gradient_b[0, 0]])
    short = Recipe(recipe.alpha, recipe.scaling, 20)
    *_steps, last = train(TASK, (run,), short, 20)
    theirs = trained_by_torch(TASK, run, short)
    return [
        Check(_("gradients by torch.autograd"), largest_difference(norms, ours), 1e-4),
        Check(
            _("20 steps of torch.optim.Adam"),
            largest_difference(last.losses[0], theirs) / float(theirs.max()),
            1e-3,
        ),
    ]


def all_steps(found: FirstSteps) -> pd.DataFrame:
    """A row a start and step."""
    return pd.DataFrame(
        [
            {
                "start": name,
                "step": step,
                "gradient_a": float(found.gradient_a[row, step]),
                "gradient_b": float(found.gradient_b[row, step]),
                "change": float(found.change[row, step]),
                "loss": float(found.loss[row, step]),
            }
            for row, name in enumerate(STARTS)
            for step in range(SHOWN)
        ]
    ).set_index("start")


def snippet(runs: tuple[Run, ...], recipe: Recipe) -> str:
    """Python that repeats the gradients."""
    return f"""from models.lora.comparison import first_steps
from models.lora.lab import Recipe, Run, Task

runs = {runs!r}
found = first_steps({TASK!r}, runs, {recipe!r}, {SHOWN})
print(found.gradient_a, found.gradient_b, found.loss)
"""
