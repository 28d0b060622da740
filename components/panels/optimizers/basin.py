"""The learning-rate basin: what each optimizer reaches at forty learning rates, default or tuned."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import choose
from components.figures.optimizer_curves import Curve, curves
from components.figures.optimizers import SMALLEST, place_of
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.optimizers.setup import Setup, choice_now, choose_setup, path_of, with_rate
from components.take.optimizers import basin as basin_script
from components.words import _
from models.optimizers.learning_rates import Basin, basin, rates_between
from models.optimizers.surfaces import SurfaceChoice, surface
from models.optimizers.trajectories import KINDS, Choice, Run

LOW, HIGH, COUNT = 1e-5, 10.0, 40
SLOW_COUNT = 13  # learning rates of optimizers that cannot run as one batch
WITHIN = 10.0


@st.cache_resource(max_entries=128, show_spinner=False)
def basin_of(choice: SurfaceChoice, start: tuple[float, float], optimizer: Choice, run: Run) -> Basin:
    count = COUNT if KINDS[optimizer.kind].is_elementwise else SLOW_COUNT
    return basin(surface(choice), start, optimizer, rates_between(LOW, HIGH, count), run)


def tuned_rate(choice: SurfaceChoice, start: tuple[float, float], optimizer: Choice, run: Run) -> float:
    """The learning rate of the basin's lowest point. The optimizer's own rate plays no part in it."""
    return basin_of(choice, start, with_rate(optimizer, KINDS[optimizer.kind].rate), run).best_rate


@panel
def learning_rate_basin(page: Page) -> None:
    setup = choose_setup(page, ())
    which = choose(
        _("Compare"),
        ("torch", "tuned"),
        f"{page.name}_compare",
        lambda name: _("at the library's default rate") if name == "torch" else _("each at its best rate"),
        default="torch",
        style="segments",
    )
    basins = {
        kind: basin_of(
            setup.surface, setup.start, with_rate(choice_now(page, kind), KINDS[kind].rate), setup.run
        )
        for kind in setup.kinds
    }
    left, right = st.columns([3, 2], gap="medium")
    with left:
        figure = basin_figure(basins, which)
        live_figure(figure, f"{page.name}_basin", _("Last loss against learning rate for each optimizer"))
    with right:
        live_figure(
            run_figure(page, setup, basins, which),
            f"{page.name}_runs",
            _("Loss against the step at the marked learning rates"),
        )
    page.note("basin")
    rows = basin_table(basins)
    st.dataframe(rows, hide_index=True)
    checked_against([basin_check(page, setup, basins)])
    found = [(with_rate(choice_now(page, kind), KINDS[kind].rate), one) for kind, one in basins.items()]
    take_with_you(
        f"{page.name}_basin",
        lambda: losses_table(basins),
        lambda: figure,
        lambda: basin_script(setup.surface, setup.start, setup.run, (LOW, HIGH), found),
    )


def rate_of(kind: str, found: Basin, which: str) -> float:
    return KINDS[kind].rate if which == "torch" else found.best_rate


def basin_figure(basins: dict[str, Basin], which: str) -> go.Figure:
    lines = []
    for kind, found in basins.items():
        losses = found.losses.clamp(min=SMALLEST).numpy()
        mark = int((found.rates / rate_of(kind, found, which)).log().abs().argmin())
        losses = np.where(np.isfinite(losses), losses, np.nan)
        lines.append(
            Curve(
                KINDS[kind].label,
                place_of(kind),
                found.rates.numpy(),
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
        y_range=(-12.3, 4),
        height=480,
    )


def run_figure(page: Page, setup: Setup, basins: dict[str, Basin], which: str) -> go.Figure:
    lines = []
    made = setup.made
    for kind, found in basins.items():
        choice = with_rate(choice_now(page, kind), rate_of(kind, found, which))
        path = path_of(setup.surface, setup.start, choice, setup.run)
        losses = (path.losses - (made.lowest or 0.0)).clamp(min=SMALLEST).numpy()
        name = f"{KINDS[kind].label} {choice.rate:.2g}"
        if path.diverged_at is not None:
            name += " " + _("(diverged at step {step})").format(step=path.diverged_at)
        lines.append(Curve(name, place_of(kind), np.arange(len(losses)), losses))
    return curves(lines, _("Step"), _("Loss"), y_log=True, y_range=(-12.3, 4), height=480)


def basin_table(basins: dict[str, Basin]) -> pd.DataFrame:
    rows = []
    for kind, found in basins.items():
        at_default = int((found.rates / KINDS[kind].rate).log().abs().argmin())
        rows.append(
            {
                _("Optimizer"): KINDS[kind].label,
                _("Default rate"): f"{KINDS[kind].rate:g}",
                _("Loss near it"): f"{found.losses[at_default].item():.3g}",
                _("Best rate"): f"{found.best_rate:.2g}",
                _("Loss there"): f"{found.losses[found.best].item():.3g}",
                _("Decades within ten times the best"): f"{found.width(WITHIN):.1f}",
                _("Diverged"): f"{found.diverged.double().mean().item():.0%}",
            }
        )
    return pd.DataFrame(rows)


def losses_table(basins: dict[str, Basin]) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame({"optimizer": kind, "rate": found.rates.numpy(), "loss": found.losses.numpy()})
        for kind, found in basins.items()
    )


def basin_check(page: Page, setup: Setup, basins: dict[str, Basin]) -> Check:
    """The best run of each batch, run again by itself."""
    differences = []
    for kind, found in basins.items():
        choice = with_rate(choice_now(page, kind), found.best_rate)
        path = path_of(setup.surface, setup.start, choice, setup.run)
        alone = path.losses[-1].item() - (setup.made.lowest or 0.0)
        differences.append(abs(alone - found.losses[found.best].item()))
    return Check(_("each optimizer's best run, run again one at a time"), max(differences), 1e-6)
