"""Rank × initialisation × learning rate on a task that can be turned, with seeds for the noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components import work
from components.figures.curves import Curve, curves
from components.figures.lora import directions, table_heatmap
from components.lesson_parts import note
from components.live.figure import live_figure
from components.panels.lora.settings import (
    RATES,
    WIDTHS,
    OnTask,
    Scaled,
    initialisation_label,
    place_of,
    rank_label,
)
from components.settings import flag, number, one_of, several, slider
from components.stage import Block, Click, Plot, Row, Stage, show
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
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
FLOOR = 1e-6  # of the loss axis
QUICK: tuple[Initialisation, ...] = ("kaiming", "pissa", "milora")  # trained anew at every move of a dial
QUICK_WIDTH, QUICK_STEPS, CHECKED_STEPS = 32, 60, 30
AXES = ("rank", "rate")


def axis_label(axis: str) -> str:
    return _("ranks, each at its best learning rate") if axis == "rank" else _("learning rates")


def ranks_of(view: "Comparison") -> tuple[int, ...]:
    return tuple(sorted(int(rank) for rank in view.ranks))


@dataclass(frozen=True)
class Comparison(OnTask, Scaled):
    """Rank × initialisation × learning rate on a task that can be turned, with seeds for the noise."""

    page, name = "lora", "compare"
    alpha: float = slider(0.5, 128.0, 8.0, log=True, label="α", live=False)
    ratio: float = slider(
        1.0, 32.0, 1.0, log=True, label=mark("LoRA+: learning rate of B / of A"), live=False
    )
    ranks: tuple[str, ...] = several(RANKS, ("2", "8"), label=mark("Ranks"), least=1, most=6)
    rank: int = one_of(ranks_of, 8, label=mark("Rank in the curves"), label_of=rank_label, style="segments")
    axis: str = one_of(AXES, label=mark("Across the map"), label_of=axis_label)
    names: tuple[str, ...] = several(
        INITIALISATIONS,
        INITIALISATIONS,
        label=mark("Initialisations"),
        label_of=initialisation_label,
        least=1,
        most=9,
        place="more",
    )
    dora: bool = flag(label="DoRA", place="more")
    width: int = one_of(WIDTHS, 64, label=mark("Width"), place="more")
    steps: int = number(10, 500, 100, label=mark("Steps"), place="more")
    seeds: int = number(2, 6, 3, label=mark("Seeds"), place="more")

    @property
    def grid(self) -> Grid:
        """The grid that the controls describe."""
        recipe = Recipe(self.alpha, self.scaling, self.steps, "adam", self.ratio, self.dora)
        names = tuple(known for known in INITIALISATIONS if known in self.names)
        seeds = tuple(range(self.seed, self.seed + self.seeds))
        return Grid(self.task(self.width), names, ranks_of(self), RATES, seeds, recipe)

    def run(self) -> work.Run[Trained]:
        settings = self.grid
        return work.run(
            "lora_grid",
            settings,
            lambda: train_grid(settings),
            settings.recipe.steps,
            cumulative=True,
            done=lambda trained: trained.done,
        )

    def stage(self) -> Stage:
        return Stage(
            Row(
                [
                    Plot("quick", quick_figure(self), quick_said(), rest=60),
                    Plot("directions", direction_figure(self), directions_said()),
                ],
                height=1.0,
            ),
            Row([Block(self.draw_grid)], pixels=330),
        )

    def draw_grid(self) -> None:
        """The grid, which trains by itself."""
        work.stage(self.run(), partial(draw, self), autostart=True)

    def below(self) -> None:
        note(self, "task")
        note(self, "grid")
        run, settings = self.run(), self.grid
        results = run.results
        if not results or results[-1].done < results[-1].steps:
            take_with_you(self, None, None, snippet(settings))
            return
        seen = results[-1]
        left, right = st.columns(2, gap="medium")
        with left:
            basins = basin_figure(settings, seen, self.rank)
            live_figure(basins, "lora_basins", _("Loss by learning rate"))
        with right:
            st.markdown("##### " + _("Within the noise of the seeds?"))
            st.dataframe(verdict_table(settings, seen, self.rank), hide_index=True, width="stretch")
            note(self, "noise")
        checked_against(checks(settings))
        take_with_you(
            self,
            lambda: flat_table(settings, seen).set_index("initialisation"),
            lambda: curve_figure(settings, seen, self.rank),
            snippet(settings),
        )


def quick_said() -> str:
    return _("Loss of three initialisations at rank 8, learning rate 0.01")


def directions_said() -> str:
    return _("Where the task lies in the directions of W₀")


def direction_figure(view: Comparison) -> go.Figure:
    """Where the task lies in W₀'s directions."""
    task = view.task(QUICK_WIDTH)
    drawn = problem(task, view.seed)
    left, values, _right = torch.linalg.svd(drawn.weight)
    energy = (left.T @ drawn.change).square().sum(1) / drawn.change.square().sum()
    targets = torch.linalg.svdvals(drawn.change)
    return directions(energy.numpy(), values.numpy(), targets[: task.target_rank].numpy())


def quick_figure(view: Comparison) -> go.Figure:
    """Three short runs of the task."""
    runs = grid(QUICK, (8,), (1e-2,), (view.seed,))
    *_steps, last = train(view.task(QUICK_WIDTH), runs, Recipe(steps=QUICK_STEPS), QUICK_STEPS)
    shown = [
        Curve(initialisation_label(name), place_of(name), np.arange(QUICK_STEPS + 1), loss)
        for name, loss in zip(QUICK, last.losses.clamp_min(FLOOR).numpy(), strict=True)
    ]
    return curves(
        shown,
        _("Step"),
        _("Loss relative to ‖ΔW*‖²"),
        x_range=(0, QUICK_STEPS),
        y_range=(1e-4, 2),
        y_log=True,
        height=300,
    )


def draw(view: Comparison, results: Sequence[Trained], *, faint: bool = False) -> None:
    """Heat map and curves of the grid, while it trains and afterwards."""
    settings = view.grid
    seen = results[-1] if results else next(train_grid(settings))
    plots = [
        heat_plot(view, settings, seen),
        Plot("curves", curve_figure(settings, seen, view.rank), _("Loss against the step")),
    ]
    show(Stage(Row(plots, pixels=300)), view.page)


def final(losses: torch.Tensor, done: int) -> torch.Tensor:
    return losses[:, done]


def heat_plot(view: Comparison, settings: Grid, seen: Trained) -> Plot:
    """Initialisations down; ranks (at their best learning rate) or learning rates across."""
    axis, rank = view.axis, view.rank
    table = summarise(final(seen.losses, seen.done), settings.runs)
    columns = [str(r) for r in settings.ranks] if axis == "rank" else [f"{rate:g}" for rate in RATES]

    def open_rank(click: Click) -> Comparison | None:
        is_rank = axis == "rank" and str(click["x"]) in columns
        return replace(view, rank=int(click["x"])) if is_rank else None

    figure = table_heatmap(
        heat_values(settings, table, axis, rank),
        [initialisation_label(name) for name in settings.initialisations],
        columns,
        row_title="",
        column_title=_("Rank") if axis == "rank" else _("Learning rate at rank {rank}").format(rank=rank),
        value_title=_("Mean loss over seeds"),
        limits=(1e-5, 1.0),
    )
    return Plot("heatmap", figure, _("Loss by initialisation and rank"), open_rank)


def heat_values(settings: Grid, table: dict[Any, Any], axis: str, rank: int) -> np.ndarray:
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
        legend_beside=True,
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
        rows.append(
            {
                _("Initialisation"): initialisation_label(name),
                _("Best rate"): f"{best[0]:g}",
                _("Mean loss"): f"{best[1][:, -1].mean():.2g}",
                _("Least possible"): least_possible(settings, name, rank),
                _("Against “{first}”").format(first=initialisation_label(settings.initialisations[0])): (
                    f"× {found.ratio:.2g} · "
                    + (_("within noise") if found.within_noise else _("a difference"))
                ),
            }
        )
    return pd.DataFrame(rows)


def least_possible(settings: Grid, name: Initialisation | Literal["full"], rank: int) -> str:
    """The floor of the rank, mean over the seeds as the losses beside it are; none with DoRA."""
    if name == "full":
        return "0"
    floors = [
        floor_of(settings.task, Run(name, rank, RATES[0], seed), settings.recipe) for seed in settings.seeds
    ]
    known = [floor for floor in floors if floor is not None]
    if not known:
        return "–"
    mean = sum(known) / len(known)
    return f"{mean if mean > FLOOR else 0:.2g}"


def checks(settings: Grid) -> list[Check]:
    """One run of the grid again, by torch's autograd and Adam.

    In float64: where a gradient is nothing but rounding, Adam makes whole steps of it in float32.
    """
    run = settings.runs[-1]
    recipe = replace(settings.recipe, steps=CHECKED_STEPS)
    *_steps, ours = train(settings.task, (run,), recipe, CHECKED_STEPS, torch.float64)
    theirs = trained_by_torch(settings.task, run, recipe, torch.float64)
    scale = float(theirs.max())
    what = _("torch's autograd and torch.optim.Adam, {steps} steps of one run").format(steps=CHECKED_STEPS)
    return [Check(what, largest_difference(ours.losses[0], theirs) / scale, 1e-8)]


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
