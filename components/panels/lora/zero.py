"""Why B is zero and A is not: the gradients of both at the first steps, and what follows."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.curves import Curve, curves
from components.figures.lora import table_heatmap
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.lora.setup import choose_initialisation, initialisation_label, place_of
from components.words import _
from models.lora.adapter import scale
from models.lora.comparison import FirstSteps, first_steps, grid, trained_by_torch
from models.lora.initialisations import Initialisation, initialise
from models.lora.lab import Recipe, Run, Task, problem, train
from models.numerics.comparison import largest_difference

STARTS: tuple[Initialisation, ...] = ("kaiming", "b_random", "zero", "random", "orthogonal")
TASK = Task(width=32, target_rank=8)
RANK, STEPS, SHOWN = 8, 100, 3
ALPHA, RATE = (1.0, 64.0, 8.0), (1e-3, 1e-1, 1e-2)


def recipe_now(page: Page, steps: int = STEPS) -> Recipe:
    return Recipe(alpha=slider_value(f"{page.name}_zero_alpha", *ALPHA), steps=steps)


def runs_now(page: Page) -> tuple[Run, ...]:
    rate = slider_value(f"{page.name}_zero_rate", *RATE)
    return grid(STARTS, (RANK,), (rate,), (st.session_state.get(f"{page.name}_seed", 0),))


@panel
def zeros(page: Page) -> None:
    live, settled = ("zero_figures",), ("zero_figures", "zero_words")
    with st.container(horizontal=True):
        live_slider("α", f"{page.name}_zero_alpha", *ALPHA, log=True, live=live, settled=settled)
        live_slider(
            _("Learning rate"), f"{page.name}_zero_rate", *RATE, log=True, live=live, settled=settled
        )
    zero_figures(page)
    page.note("zero")
    zero_words(page)


@live_panel
def zero_figures(page: Page) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        found = first_steps(TASK, runs_now(page), recipe_now(page), SHOWN)
        live_figure(
            gradient_figure(found), f"{page.name}_gradients", _("Gradients of A and B at steps 0, 1, 2")
        )
    with right:
        live_figure(loss_figure(page), f"{page.name}_zero_loss", _("Loss against the step"), rest=60)


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


def loss_figure(page: Page) -> go.Figure:
    *_steps, last = train(TASK, runs_now(page), recipe_now(page), STEPS)
    shown = [
        Curve(initialisation_label(name), place_of(name), np.arange(STEPS + 1), loss)
        for name, loss in zip(STARTS, last.losses.clamp_min(1e-5).numpy(), strict=True)
    ]
    return curves(
        shown, _("Step"), _("Loss relative to ‖ΔW*‖²"),
        x_range=(0, STEPS), y_range=(1e-4, 10), y_log=True, height=400,
    )  # fmt: skip


@panel
def zero_words(page: Page) -> None:
    """The arithmetic of one start, and the comparison with torch."""
    name = choose_initialisation(page, "start")
    runs = runs_now(page)
    run = Run(name, RANK, runs[0].learning_rate, runs[0].seed)
    recipe = recipe_now(page)
    found = first_steps(TASK, (run,), recipe, SHOWN)
    drawn, s = problem(TASK, run.seed), scale(recipe.alpha, RANK)
    start = initialise(name, drawn.weight, RANK, s, torch.Generator().manual_seed(1_000 + run.seed))
    gradient = 2 * (start.base + s * start.b @ start.a - drawn.weight - drawn.change)
    gradient = gradient / drawn.change.square().sum()
    left, right = st.columns(2, gap="medium")
    with left:
        st.latex(
            r"\begin{aligned}"
            rf"s&=\alpha/r={recipe.alpha:.3g}/{RANK}={s:.3g}\\[6pt]"
            rf"G&=\partial L/\partial W,\quad\lVert G\rVert={gradient.norm():.4f}\\[6pt]"
            rf"\nabla A&=s\,B^\top G,\quad\lVert B\rVert={start.b.norm():.3f}"
            rf"\;\Rightarrow\;\lVert\nabla A\rVert={found.gradient_a[0, 0]:.4f}\\[6pt]"
            rf"\nabla B&=s\,G A^\top,\quad\lVert A\rVert={start.a.norm():.3f}"
            rf"\;\Rightarrow\;\lVert\nabla B\rVert={found.gradient_b[0, 0]:.4f}"
            r"\end{aligned}"
        )
    with right:
        st.dataframe(step_table(found), hide_index=True, width="stretch")
    checked_against(checks(run, recipe, start.a, start.b, start.base, found))
    take_with_you(
        f"{page.name}_zero",
        lambda: _all_steps(page),
        lambda: loss_figure(page),
        snippet(page),
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


def _all_steps(page: Page) -> pd.DataFrame:
    found = first_steps(TASK, runs_now(page), recipe_now(page), SHOWN)
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
    )


def snippet(page: Page) -> str:
    """Python that repeats the gradients."""
    return f"""from models.lora.comparison import first_steps
from models.lora.lab import Recipe, Run, Task

runs = {runs_now(page)!r}
found = first_steps({TASK!r}, runs, {recipe_now(page)!r}, {SHOWN})
print(found.gradient_a, found.gradient_b, found.loss)
"""
