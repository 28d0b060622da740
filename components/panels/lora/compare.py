"""Rank × initialisation × learning rate on a task that can be turned, with seeds for the noise."""

from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, choose_several, whole_number
from components.figures.curves import Curve, curves
from components.figures.lora import directions, table_heatmap
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.lora.setup import (
    RATES,
    WIDTHS,
    choose_scaling,
    initialisation_label,
    place_of,
    task_now,
    task_sliders,
)
from components.words import _
from components.work.running import keep_going, run_of, show_progress, timer_for
from models.lora.comparison import (
    Grid,
    Trained,
    compare,
    floor_of,
    grid,
    summarise,
    train_grid,
    trained_by_torch,
)
from models.lora.initialisations import INITIALISATIONS, Initialisation
from models.lora.lab import Recipe, Run, problem, train
from models.numerics.comparison import largest_difference

RANKS = ("1", "2", "4", "8", "16", "32")
ALPHA, RATIO = (0.5, 128.0, 8.0), (1.0, 32.0, 1.0)
FLOOR = 1e-6  # of the loss axis
QUICK: tuple[Initialisation, ...] = ("kaiming", "pissa", "milora")  # trained anew at every move of a dial
QUICK_WIDTH, QUICK_STEPS, CHECKED_STEPS = 32, 60, 30
AXES = ("rank", "rate")


@panel
def comparison(page: Page) -> None:
    """The dials with what they do at once; then the grid's settings, and the grid as it grows."""
    task_sliders(page, live=("task_picture",), settled=("task_picture", "grid_run"))
    task_picture(page)
    page.note("task")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose_several(
            _("Initialisations"), INITIALISATIONS, f"{page.name}_names", initialisation_label,
            default=page.default("names"), most=9, width=520,
        )  # fmt: skip
        choose_several(
            _("Ranks"), RANKS, f"{page.name}_ranks", str, default=page.default("ranks"), most=6, width=220
        )
        choose_scaling(page)
        live_slider("α", f"{page.name}_alpha", *ALPHA, log=True, settled=("grid_run",))
        live_slider(
            _("LoRA+: learning rate of B / of A"), f"{page.name}_ratio", *RATIO, log=True,
            settled=("grid_run",),
        )  # fmt: skip
        st.toggle("DoRA", key=f"{page.name}_dora", bind="query-params")
        choose(_("Width"), WIDTHS, f"{page.name}_width", str, default=page.default("width"), width=90)
        whole_number(_("Steps"), 10, 500, f"{page.name}_steps", page.default("steps"), width=110)
        whole_number(_("Seeds"), 2, 6, f"{page.name}_seeds", 3, width=100)
        whole_number(_("First seed"), 0, 9_999, f"{page.name}_seed", 0, width=110)
    settings = grid_now(page)
    panel(grid_run, timer_for(page, "grid", settings))(page)


@live_panel
def task_picture(page: Page) -> None:
    """Where the task lies in W₀'s directions, and three short runs of it."""
    task = task_now(page, QUICK_WIDTH)
    drawn = problem(task, _seed(page))
    left, values, _right = torch.linalg.svd(drawn.weight)
    energy = (left.T @ drawn.change).square().sum(1) / drawn.change.square().sum()
    targets = torch.linalg.svdvals(drawn.change)
    one, two = st.columns(2, gap="medium")
    with one:
        live_figure(
            directions(energy.numpy(), values.numpy(), targets[: task.target_rank].numpy()),
            f"{page.name}_directions",
            _("Where the task lies in the directions of W₀"),
        )
    with two:
        runs = grid(QUICK, (8,), (1e-2,), (_seed(page),))
        *_steps, last = train(task, runs, Recipe(steps=QUICK_STEPS), QUICK_STEPS)
        shown = [
            Curve(initialisation_label(name), place_of(name), np.arange(QUICK_STEPS + 1), loss)
            for name, loss in zip(QUICK, last.losses.clamp_min(FLOOR).numpy(), strict=True)
        ]
        live_figure(
            curves(
                shown, _("Step"), _("Loss relative to ‖ΔW*‖²"),
                x_range=(0, QUICK_STEPS), y_range=(1e-4, 2), y_log=True, height=300,
            ),
            f"{page.name}_quick",
            _("Loss of three initialisations at rank 8, learning rate 0.01"),
            rest=60,
        )  # fmt: skip


def _seed(page: Page) -> int:
    return st.session_state.get(f"{page.name}_seed", 0)


def grid_now(page: Page) -> Grid:
    """The grid that the controls describe."""
    state, name = st.session_state, page.name
    recipe = Recipe(
        slider_value(f"{name}_alpha", *ALPHA),
        state[f"{name}_scaling"],
        state[f"{name}_steps"],
        "adam",
        slider_value(f"{name}_ratio", *RATIO),
        bool(state[f"{name}_dora"]),
    )
    first = state[f"{name}_seed"]
    names = tuple(known for known in INITIALISATIONS if known in state[f"{name}_names"])
    ranks = tuple(sorted(int(rank) for rank in state[f"{name}_ranks"]))
    seeds = tuple(range(first, first + state[f"{name}_seeds"]))
    return Grid(task_now(page, state[f"{name}_width"]), names, ranks, RATES, seeds, recipe)


def grid_run(page: Page) -> None:
    """Heat map, curves and basins of the grid, while it trains and afterwards."""
    settings = grid_now(page)
    held = run_of(page, "grid", settings, lambda: train_grid(settings), by_itself=True)
    seen: Trained | None = held.seen[-1] if held is not None and held.seen else None
    if seen is None:
        seen = next(train_grid(settings))
    if seen.done < seen.steps:
        show_progress(seen.done, seen.steps)
    left, right = st.columns(2, gap="medium")
    with right:
        rank = choose(
            _("Rank in the curves"),
            settings.ranks,
            f"{page.name}_rank",
            lambda rank: _("rank {rank}").format(rank=rank),
            default=page.default("rank"),
            style="segments",
            label_visibility="collapsed",
        )
    with left:
        heat_map(page, settings, seen, rank)
    with right:
        live_figure(curve_figure(settings, seen, rank), f"{page.name}_curves", _("Loss against the step"))
    page.note("grid")
    if seen.done == seen.steps:
        verdicts(page, settings, seen, rank)
    else:
        live_figure(basin_figure(settings, seen, rank), f"{page.name}_basins", _("Loss by learning rate"))
    keep_going(page, "grid", held)


def final(losses: torch.Tensor, done: int) -> torch.Tensor:
    return losses[:, done]


def heat_map(page: Page, settings: Grid, seen: Trained, rank: int) -> None:
    """Initialisations down; ranks (at their best learning rate) or learning rates across."""
    axis = choose(
        _("Across"),
        AXES,
        f"{page.name}_axis",
        lambda axis: _("ranks, each at its best learning rate") if axis == "rank" else _("learning rates"),
        default="rank",
        style="segments",
        label_visibility="collapsed",
    )
    table = summarise(final(seen.losses, seen.done), settings.runs)
    values = heat_values(settings, table, axis, rank)
    columns = [str(r) for r in settings.ranks] if axis == "rank" else [f"{rate:g}" for rate in RATES]

    def open_rank(click: dict) -> None:
        if axis == "rank" and str(click["x"]) in columns:
            st.session_state[f"{page.name}_rank"] = int(click["x"])

    figure = table_heatmap(
        values,
        [initialisation_label(name) for name in settings.initialisations],
        columns,
        row_title="",
        column_title=_("Rank") if axis == "rank" else _("Learning rate at rank {rank}").format(rank=rank),
        value_title=_("Mean loss over seeds"),
        limits=(1e-5, 1.0),
        height=60 + 36 * max(6, len(settings.initialisations)),
    )
    live_figure(figure, f"{page.name}_heatmap", _("Loss by initialisation and rank"), open_rank)


def heat_values(settings: Grid, table: dict, axis: str, rank: int) -> np.ndarray:
    """Mean losses; NaN where a combination cannot be (an odd rank and the orthogonal start)."""
    rows = []
    for name in settings.initialisations:
        if axis == "rank":
            cells = [table.get((name, r)) for r in settings.ranks]
            rows.append([min(mean for _rate, mean, _sd in cell) if cell else np.nan for cell in cells])
        else:
            cell = table.get((name, rank))
            rows.append([mean for _rate, mean, _sd in cell] if cell else [np.nan] * len(RATES))
    return np.array(rows)


def best_runs(settings: Grid, seen: Trained, name: str, rank: int) -> tuple[float, torch.Tensor] | None:
    """The best learning rate of an initialisation at a rank, and its curves [seed, step]."""
    runs, losses = settings.runs, seen.losses
    if name == "full":
        runs, losses, rank = settings.full_runs, seen.full[:, : seen.done + 1], settings.task.width
    cell = summarise(final(losses, min(seen.done, losses.shape[1] - 1)), runs).get((name, rank))
    if cell is None:
        return None
    rate = min(cell, key=lambda entry: entry[1])[0]
    chosen = [
        index
        for index, run in enumerate(runs)
        if (run.initialisation, run.rank, run.learning_rate) == (name, rank, rate)
    ]
    return rate, losses[chosen]


def curve_figure(settings: Grid, seen: Trained, rank: int) -> go.Figure:
    """Each initialisation at its best learning rate: mean over seeds, with least and largest."""
    shown = []
    for name in (*settings.initialisations, "full"):
        best = best_runs(settings, seen, name, rank)
        if best is None:
            continue
        rate, losses = best
        part = losses[:, : seen.done + 1].clamp_min(FLOOR).numpy()
        label = f"{initialisation_label(name)} · {rate:g}"
        steps = np.arange(part.shape[1])
        shown.append(Curve(label, place_of(name), steps, part.mean(0), part.min(0), part.max(0)))
    return curves(
        shown,
        _("Step"),
        _("Loss relative to ‖ΔW*‖²"),
        x_range=(0, seen.steps),
        y_range=(1e-6, 3),
        y_log=True,
        height=470,
    )


def basin_figure(settings: Grid, seen: Trained, rank: int) -> go.Figure:
    """Final loss by learning rate for each initialisation, with the seeds' spread."""
    shown = []
    for name in settings.initialisations:
        values = np.array(
            [
                [
                    float(seen.losses[index, seen.done])
                    for index, run in enumerate(settings.runs)
                    if (run.initialisation, run.rank, run.learning_rate) == (name, rank, rate)
                ]
                for rate in RATES
            ]
        )
        if values.size:
            values = np.nan_to_num(values, nan=1e6, posinf=1e6).clip(FLOOR, 1e6)
            bands = values.min(1), values.max(1)
            shown.append(
                Curve(
                    initialisation_label(name),
                    place_of(name),
                    np.array(RATES),
                    values.mean(1),
                    *bands,
                    True,
                )
            )
    return curves(
        shown,
        _("Learning rate"),
        _("Final loss"),
        x_range=(RATES[0] / 1.3, RATES[-1] * 1.3),
        y_range=(1e-6, 10),
        x_log=True,
        y_log=True,
        height=400,
    )


def verdicts(page: Page, settings: Grid, seen: Trained, rank: int) -> None:
    """Basins beside the table of verdicts, then the check and what to take along."""
    left, right = st.columns(2, gap="medium")
    with left:
        live_figure(basin_figure(settings, seen, rank), f"{page.name}_basins", _("Loss by learning rate"))
    with right:
        st.markdown("##### " + _("Within the noise of the seeds?"))
        st.dataframe(verdict_table(settings, seen, rank), hide_index=True, width="stretch")
        page.note("noise")
    checked_against(checks(settings))
    take_with_you(
        page.name,
        lambda: flat_table(settings, seen),
        lambda: curve_figure(settings, seen, rank),
        snippet(settings),
    )


def verdict_table(settings: Grid, seen: Trained, rank: int) -> pd.DataFrame:
    """Each initialisation at its best learning rate against the first in the list, on the same seeds."""
    first = best_runs(settings, seen, settings.initialisations[0], rank)
    rows = []
    names: tuple[Initialisation | Literal["full"], ...] = (*settings.initialisations, "full")
    for name in names:
        best = best_runs(settings, seen, name, rank)
        if best is None or first is None:
            continue
        found = compare(best[1][:, -1].clamp_min(FLOOR), first[1][:, -1].clamp_min(FLOOR))
        floor = (
            0.0
            if name == "full"
            else floor_of(settings.task, Run(name, rank, best[0], settings.seeds[0]), settings.recipe)
        )
        rows.append(
            {
                _("Initialisation"): initialisation_label(name),
                _("Best rate"): f"{best[0]:g}",
                _("Mean loss"): f"{best[1][:, -1].mean():.2g}",
                _("Least possible"): f"{floor if floor > FLOOR else 0:.2g}",
                _("Against “{first}”").format(first=initialisation_label(settings.initialisations[0])): (
                    f"× {found.ratio:.2g} · "
                    + (_("within noise") if found.within_noise else _("a difference"))
                ),
            }
        )
    return pd.DataFrame(rows)


def checks(settings: Grid) -> list[Check]:
    """One run of the grid again, by torch's autograd and Adam."""
    run = settings.runs[-1]
    recipe = Recipe(
        settings.recipe.alpha, settings.recipe.scaling, CHECKED_STEPS, ratio=settings.recipe.ratio
    )
    *_steps, ours = train(settings.task, (run,), recipe, CHECKED_STEPS)
    theirs = trained_by_torch(settings.task, run, recipe)
    scale = float(theirs.max())
    what = _("torch's autograd and torch.optim.Adam, {steps} steps of one run").format(steps=CHECKED_STEPS)
    return [Check(what, largest_difference(ours.losses[0], theirs) / scale, 1e-4)]


def flat_table(settings: Grid, seen: Trained) -> pd.DataFrame:
    rows = [
        {
            "initialisation": run.initialisation,
            "rank": run.rank,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            "final_loss": float(loss[-1]),
        }
        for runs, losses in ((settings.runs, seen.losses), (settings.full_runs, seen.full))
        for run, loss in zip(runs, losses, strict=True)
    ]
    return pd.DataFrame(rows)


def snippet(settings: Grid) -> str:
    """Python that repeats the grid."""
    return f"""from models.lora.comparison import Grid, summarise, train_grid
from models.lora.lab import Recipe, Task

settings = {settings!r}
*_, trained = train_grid(settings)
for key, cells in summarise(trained.losses[:, -1], settings.runs).items():
    print(key, cells)
"""
