"""Paths on a surface: chosen optimizers side by side, scrubbed in the browser."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from components.figures import optimizers as figures
from components.figures.optimizers import Path
from components.lesson_parts import note
from components.live.figure import Drawn
from components.panels.optimizers.anatomy import step_anatomy
from components.panels.optimizers.settings import Setup, WalksOnSurface, surface_label
from components.panels.optimizers.walks import Walk, walks
from components.settings import number
from components.stage import Click, Plot, Stage
from components.takeaway import take_with_you
from components.words import _, mark
from models.optimizers.surfaces import SurfaceChoice, distance_to_minimum, grid_axes, on_grid, surface
from models.optimizers.trajectories import KINDS

CELLS = 161


@dataclass(frozen=True)
class Paths(WalksOnSurface):
    """Contour and curves; the slider inside the first moves the markers of both without the server."""

    page, name = "optimizers", "paths"
    step: int = number(1, lambda view: view.steps, 20, label=mark("Step"), place="none")

    def stage(self) -> Stage:
        setup = self.setup
        shown = drawn_paths(setup, walks(self, setup))
        names = ", ".join(path.label for path in shown)
        alt = _("Paths of {names} on the surface {surface}").format(
            names=names, surface=surface_label(self.surface)
        )
        return Stage(
            [
                Plot(
                    "contour",
                    self.contour(setup, shown),
                    alt,
                    self.begin_here,
                    self.come_to_rest,
                    width=1.35,
                    least=320,
                ),
                Plot("loss", self.progress(setup, shown), _("Loss and distance against the step")),
            ]
        )

    def contour(self, setup: Setup, shown: list[Path]) -> Drawn:
        figure = contour_figure(setup, shown, self.step, has_scrubber=True)
        return Drawn.of(figure, figures.contour_scrubbing(figure, shown, setup.run.steps, self.step))

    def progress(self, setup: Setup, shown: list[Path]) -> Drawn:
        limits = None
        if setup.made.lowest is None:
            values, _axes = grid_of(setup.surface)
            limits = (float(values.min()), float(values.max()))
        figure = figures.progress_curves(shown, self.step, limits)
        return Drawn.of(figure, figures.progress_scrubbing(figure, setup.run.steps))

    def begin_here(self, click: Click) -> "Paths":
        return replace(self, start=f"{click['x']:.3g}, {click['y']:.3g}")

    def come_to_rest(self, frame: str) -> "Paths":
        return replace(self, step=max(1, int(frame)))

    def below(self) -> None:
        setup = self.setup
        walked = walks(self, setup)
        note(self, "paths")
        step_anatomy(self, next(walk for walk in walked if walk.choice.kind == self.tune))
        take_with_you(
            self,
            lambda: table(walked),
            lambda: figure_to_take(setup, walked, self.step),
            snippet(setup, walked),
        )


def drawn_paths(setup: Setup, walked: list[Walk]) -> list[Path]:
    made = setup.made
    lowest = made.lowest or 0.0
    shown = []
    for walk in walked:
        positions = walk.path.positions
        distances = distance_to_minimum(made, positions)
        shown.append(
            Path(
                f"{KINDS[walk.choice.kind].label} η={walk.choice.rate:.2g}",
                figures.place_of(walk.choice.kind),
                positions.numpy(),
                (walk.path.losses - lowest).numpy(),
                None if distances is None else distances.numpy(),
                walk.path.diverged_at,
                KINDS[walk.choice.kind].label,
            )
        )
    return shown


@lru_cache(maxsize=64)
def grid_of(choice: SurfaceChoice) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The surface's values [y, x] over its window, and both axes."""
    made = surface(choice)
    x, y = grid_axes(made.window, CELLS)
    return on_grid(made, CELLS).numpy(), (x.numpy(), y.numpy())


def contour_figure(setup: Setup, shown: list[Path], step: int, *, has_scrubber: bool = False) -> go.Figure:
    values, axes = grid_of(setup.surface)
    made = setup.made
    return figures.contour_paths(
        values, axes, made.minima, shown, step, made.is_log, has_scrubber=has_scrubber
    )


def table(walked: list[Walk]) -> pd.DataFrame:
    """Every step of every path."""
    frames = [
        pd.DataFrame(walk.path.positions.numpy(), columns=["x", "y"]).assign(
            optimizer=walk.choice.kind, step=range(len(walk.path.positions)), f=walk.path.losses.numpy()
        )
        for walk in walked
    ]
    return pd.concat(frames)


def figure_to_take(setup: Setup, walked: list[Walk], step: int) -> go.Figure:
    """The contour with its scrubber."""
    shown = drawn_paths(setup, walked)
    contour = contour_figure(setup, shown, step, has_scrubber=True)
    scrubbing = figures.contour_scrubbing(contour, shown, setup.run.steps, step)
    return go.Figure(scrubbing.put_into(contour.to_dict()))


def snippet(setup: Setup, shown: list[Walk]) -> str:
    """Python that repeats the last position of every path."""
    choices = ",\n    ".join(repr(walk.choice) for walk in shown)
    run = repr(setup.run).replace("inf", 'float("inf")')
    return f"""from models.optimizers.trajectories import Choice, Run, trajectory
from models.optimizers.schedules import Schedule
from models.optimizers.surfaces import SurfaceChoice, surface

made = surface({setup.surface!r})
run = {run}
for choice in (
    {choices},
):
    path = trajectory(made, {setup.start!r}, choice, run)
    print(choice.kind, path.positions[path.last].tolist(), path.diverged_at)
"""
