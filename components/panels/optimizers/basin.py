"""The learning-rate basin: what each optimizer reaches at forty learning rates, default or tuned."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.optimizer_curves import Curve, curves
from components.figures.optimizers import SMALLEST, place_of
from components.lesson_parts import note
from components.panels.optimizers.settings import Setup, WalksOnSurface
from components.panels.optimizers.walks import COUNT, HIGH, LOW, basin_of, path_of, swept, with_rate
from components.settings import one_of
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.optimizers.learning_rates import Basin, is_chaotic
from models.optimizers.trajectories import KINDS, Choice

WITHIN = 10.0


def compared_label(compared: str) -> str:
    return _("at the library's default rate") if compared == "torch" else _("each at its best rate")


@dataclass(frozen=True)
class LearningRateBasin(WalksOnSurface):
    """The last loss against the learning rate, and the runs at the rates that are marked."""

    page, name = "optimizers", "basin"
    sweeps_rates: ClassVar[bool] = True
    compare: str = one_of(("torch", "tuned"), label=mark("Compare"), label_of=compared_label, style="radio")

    @property
    def choices(self) -> list[Choice]:
        """The chosen optimizers, as a sweep takes them."""
        return [swept(self.choice_of(kind)) for kind in self.chosen]

    def basins(self, setup: Setup) -> dict[str, Basin]:
        return {
            choice.kind: basin_of(setup.surface, setup.start, choice, setup.run) for choice in self.choices
        }

    def stage(self) -> Stage:
        setup = self.setup
        basins = self.basins(setup)
        runs = run_figure(setup, self.choices, basins, self.compare)
        return Stage(
            [
                Plot(
                    "basin",
                    basin_figure(basins, self.compare),
                    _("Last loss against learning rate for each optimizer"),
                    width=1.2,
                ),
                Plot("runs", runs, _("Loss against the step at the marked learning rates")),
            ]
        )

    def below(self) -> None:
        setup = self.setup
        basins = self.basins(setup)
        note(self, "basin")
        st.dataframe(basin_table(basins), hide_index=True)
        checked_against(basin_checks(setup, self.choices, basins))
        take_with_you(
            self,
            lambda: losses_table(basins),
            lambda: basin_figure(basins, self.compare),
            snippet(setup, self.choices),
        )


def rate_of(kind: str, sweep: Basin, which: str) -> float:
    return KINDS[kind].rate if which == "torch" else sweep.best_rate


def basin_figure(basins: dict[str, Basin], which: str) -> go.Figure:
    lines = []
    for kind, sweep in basins.items():
        losses = sweep.losses.clamp(min=SMALLEST).numpy()
        mark = int((sweep.rates / rate_of(kind, sweep, which)).log().abs().argmin())
        losses = np.where(np.isfinite(losses), losses, np.nan)
        lines.append(
            Curve(
                KINDS[kind].label,
                place_of(kind),
                sweep.rates.numpy(),
                losses,
                mark if np.isfinite(losses[mark]) else None,
            )
        )
    return curves(
        lines,
        _("Learning rate η"),
        _("Last loss"),
        x_log=True,
        y_log=True,
        x_range=(np.log10(LOW) - 0.1, np.log10(HIGH) + 0.1),
        y_range=y_range_of(basins),
    )


def y_range_of(basins: dict[str, Basin]) -> tuple[float, float]:
    """Decades that hold every basin and the runs: from below the lowest point to 10⁴."""
    lowest = min(sweep.losses.clamp(min=SMALLEST).min().item() for sweep in basins.values())
    return (max(-12.3, float(np.log10(lowest)) - 0.7), 4.0)


def run_figure(setup: Setup, choices: list[Choice], basins: dict[str, Basin], which: str) -> go.Figure:
    """The loss of one run each, at the learning rates that are marked in the basins."""
    lines = []
    made = setup.made
    for swept_choice in choices:
        kind = swept_choice.kind
        choice = with_rate(swept_choice, rate_of(kind, basins[kind], which))
        path = path_of(setup.surface, setup.start, choice, setup.run)
        losses = (path.losses - (made.lowest or 0.0)).clamp(min=SMALLEST).numpy()
        name = f"{KINDS[kind].label} η={choice.rate:.2g}"
        if path.diverged_at is not None:
            name += " " + _("(diverged at step {step})").format(step=path.diverged_at)
        lines.append(Curve(name, place_of(kind), np.arange(len(losses)), losses))
    return curves(lines, _("Step"), _("Loss"), y_log=True, y_range=y_range_of(basins))


def basin_table(basins: dict[str, Basin]) -> pd.DataFrame:
    rows = []
    for kind, sweep in basins.items():
        at_default = int((sweep.rates / KINDS[kind].rate).log().abs().argmin())
        rows.append(
            {
                _("Optimizer"): KINDS[kind].label,
                _("Default rate"): f"{KINDS[kind].rate:g}",
                _("Loss near it"): f"{sweep.losses[at_default].item():.3g}",
                _("Best rate"): f"{sweep.best_rate:.2g}",
                _("Loss there"): f"{sweep.losses[sweep.best].item():.3g}",
                _("Decades within 10 × the best"): f"{sweep.width(WITHIN):.1f}",
                _("Diverged"): f"{sweep.diverged.double().mean().item():.0%}",
            }
        )
    return pd.DataFrame(rows)


def losses_table(basins: dict[str, Basin]) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame({"optimizer": kind, "rate": sweep.rates.numpy(), "loss": sweep.losses.numpy()})
        for kind, sweep in basins.items()
    )


def basin_checks(setup: Setup, choices: list[Choice], basins: dict[str, Basin]) -> list[Check]:
    """The best run of each batch, run again by itself; not where rounding decides how it ends."""
    differences, chaotic = [], []
    for swept_choice in choices:
        sweep = basins[swept_choice.kind]
        choice = with_rate(swept_choice, sweep.best_rate)
        if is_chaotic(setup.made, setup.start, choice, setup.run):
            chaotic.append(KINDS[choice.kind].label)
            continue
        path = path_of(setup.surface, setup.start, choice, setup.run)
        gone = path.diverged_at is not None  # its losses are NaN then, and ∞ in a sweep
        alone = math.inf if gone else path.losses[-1].item() - (setup.made.lowest or 0.0)
        best = sweep.losses[sweep.best].item()
        differences.append(0.0 if alone == best else abs(alone - best))  # ∞ − ∞ is no number
    if chaotic:
        st.caption(
            _("Not run again: {names}. At the best rate, rounding decides where the run ends.").format(
                names=", ".join(chaotic)
            )
        )
    words = _("each optimizer's best run, run again one at a time")
    return [Check(words, max(differences), 1e-6)] if differences else []


def snippet(setup: Setup, swept_choices: list[Choice]) -> str:
    """Python that repeats the curves."""
    choices = ",\n    ".join(map(repr, swept_choices))
    run = repr(setup.run).replace("inf", 'float("inf")')
    return f"""from models.optimizers.learning_rates import basin, rates_between
from models.optimizers.trajectories import Choice, Run
from models.optimizers.schedules import Schedule
from models.optimizers.surfaces import SurfaceChoice, surface

made = surface({setup.surface!r})
run = {run}
for choice in (
    {choices},
):
    found = basin(made, {setup.start!r}, choice, rates_between({LOW}, {HIGH}, {COUNT}), run)
    print(choice.kind, found.best_rate, found.losses.tolist())
"""
