"""Paths on a surface: chosen optimizers side by side, scrubbed in the browser."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures import optimizers as figures
from components.figures.optimizers import Path
from components.live.figure import Drawn, live_figure
from components.page import Page, take_with_you
from components.panels import live_panel, panel
from components.panels.optimizers.anatomy import step_anatomy
from components.panels.optimizers.setup import Setup, choose_setup, tune
from components.panels.optimizers.walks import Walk, step_now, walks, with_sliders
from components.take.optimizers import paths as paths_script
from components.take.script import Script
from components.words import _
from models.optimizers.surfaces import SurfaceChoice, distance_to_minimum, grid_axes, on_grid, surface
from models.optimizers.trajectories import KINDS

CELLS = 161
LIVE = ("optimizer_paths",)
SETTLED = ("optimizer_paths", "step_anatomy", "take_paths")


@panel
def paths(page: Page) -> None:
    setup = choose_setup(page, LIVE)
    tune(page, setup.kinds, LIVE, SETTLED)
    optimizer_paths(page, setup)
    page.note("paths")
    step_anatomy(page, setup)
    take_paths(page, setup)


@live_panel
def optimizer_paths(page: Page, setup: Setup) -> None:
    """Contour and curves; the slider inside the first moves both without the server."""
    setup = with_sliders(page, setup)
    shown = drawn_paths(setup, walks(page, setup))
    step = step_now(page, setup)
    left, right = st.columns([3, 2], gap="small")

    def begin_here(click: dict) -> None:
        st.session_state[f"{page.name}_start"] = f"{click['x']:.3g}, {click['y']:.3g}"
        st.rerun()

    def come_to_rest(name: str) -> None:
        st.session_state[f"{page.name}_step"] = int(name)
        st.rerun(("step_anatomy",))

    with left:
        contour = contour_figure(setup, shown, step)
        scrubbing = figures.contour_scrubbing(contour, shown, setup.run.steps, step)
        alt = _("Paths of {names} on the surface {surface}").format(
            names=", ".join(path.label for path in shown), surface=setup.surface.name
        )
        live_figure(Drawn.of(contour, scrubbing), f"{page.name}_contour", alt, begin_here, come_to_rest)
    with right:
        _curve(page, setup, shown, step, "loss", _("Loss against the step"))
        if shown[0].distances is not None:
            _curve(page, setup, shown, step, "distance", _("Distance to the minimum against the step"))


def _curve(page: Page, setup: Setup, shown: list[Path], step: int, of: str, alt: str) -> None:
    limits = None
    if setup.made.lowest is None:
        values, _axes = grid_of(setup.surface)
        limits = (float(values.min()), float(values.max()))
    figure = figures.loss_curves(shown, step, of, limits)
    drawn = Drawn.of(figure, figures.loss_scrubbing(figure, setup.run.steps))
    live_figure(drawn, f"{page.name}_{of}", alt)


def drawn_paths(setup: Setup, found: list[Walk]) -> list[Path]:
    made = setup.made
    lowest = made.lowest or 0.0
    result = []
    for walk in found:
        positions = walk.path.positions
        distances = distance_to_minimum(made, positions)
        result.append(
            Path(
                f"{KINDS[walk.choice.kind].label} η={walk.choice.rate:.2g}",
                figures.place_of(walk.choice.kind),
                positions.numpy(),
                (walk.path.losses - lowest).numpy(),
                None if distances is None else distances.numpy(),
                walk.path.diverged_at,
            )
        )
    return result


@st.cache_data(max_entries=64, show_spinner=False)
def grid_of(choice: SurfaceChoice) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    made = surface(choice)
    x, y = grid_axes(made.window, CELLS)
    return on_grid(made, CELLS).numpy(), (x.numpy(), y.numpy())


def contour_figure(setup: Setup, shown: list[Path], step: int) -> go.Figure:
    values, axes = grid_of(setup.surface)
    made = setup.made
    return figures.contour_paths(values, axes, made.minima, shown, step, made.is_log)


@panel
def take_paths(page: Page, setup: Setup) -> None:
    setup = with_sliders(page, setup)
    found = walks(page, setup)

    def table() -> pd.DataFrame:
        frames = [
            pd.DataFrame(walk.path.positions.numpy(), columns=["x", "y"]).assign(
                optimizer=walk.choice.kind, step=range(len(walk.path.positions)), f=walk.path.losses.numpy()
            )
            for walk in found
        ]
        return pd.concat(frames)

    def figure() -> go.Figure:
        shown, step = drawn_paths(setup, found), step_now(page, setup)
        contour = contour_figure(setup, shown, step)
        scrubbing = figures.contour_scrubbing(contour, shown, setup.run.steps, step)
        return go.Figure(scrubbing.put_into(contour.to_dict()))

    def python() -> Script:
        done = [(walk.choice, walk.path) for walk in found]
        return paths_script(setup.surface, setup.start, setup.run, done)

    take_with_you(page.name, table, figure, python)
