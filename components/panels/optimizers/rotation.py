"""The same ravine, turned: which optimizers notice that its axes are not those of the parameters?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose
from components.figures import optimizers as figures
from components.figures.optimizer_curves import Curve, curves
from components.figures.optimizers import Path, place_of
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.optimizers.paths import grid_of
from components.panels.optimizers.setup import choose_kinds, path_of
from components.take.optimizers import rotation as rotation_script
from components.words import _
from models.optimizers.conditioning import NEVER, Rotations, rotations, turned_start
from models.optimizers.learning_rates import rates_between
from models.optimizers.surfaces import SurfaceChoice
from models.optimizers.trajectories import KINDS, Choice, Run, default

CONDITIONS = (1.0, 3.0, 10.0, 30.0, 100.0)
ANGLES = tuple(range(0, 91, 5))
STEPS, TOLERANCE, RATES = 500, 1e-6, 30
LOW, HIGH = 1e-4, 10.0  # learning rates
CHECKED = 60  # steps: near the minimum, optimizers that see signs turn rounding into different steps


@dataclass(frozen=True, eq=False)
class Turned:
    """What every optimizer needs at each angle."""

    condition: float
    found: dict[str, Rotations]


@st.cache_resource(max_entries=64, show_spinner=False)
def turned(choice: Choice, condition: float) -> Rotations:
    angles = torch.tensor(ANGLES, dtype=torch.float64)
    return rotations(choice, condition, angles, rates_between(LOW, HIGH, RATES), TOLERANCE, STEPS)


@panel
def rotation(page: Page) -> None:
    kinds = [kind for kind in choose_kinds(page) if KINDS[kind].is_elementwise]
    kinds = kinds or ["sgd", "adam"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        condition = choose(
            _("Condition number κ"),
            CONDITIONS,
            f"{page.name}_kappa",
            lambda value: f"{value:g}",
            default=30.0,
            style="segments",
        )
        live_slider(
            _("Rotation"),
            f"{page.name}_angle",
            0.0,
            90.0,
            45.0,
            5.0,
            unit="°",
            live=("turned_ravine",),
            settled=("turned_ravine", "rotation_table"),
        )
    everything = Turned(condition, {kind: turned(default(kind), condition) for kind in kinds})
    turned_ravine(page, everything)
    page.note("rotation")
    rotation_table(page, everything)


def angle_now(page: Page) -> int:
    """The index of the angle on the slider."""
    return round(st.session_state[f"{page.name}_angle"] / 5)


@live_panel
def turned_ravine(page: Page, everything: Turned) -> None:
    number = angle_now(page)
    left, right = st.columns(2, gap="medium")
    with left:
        live_figure(
            needed_figure(everything, number),
            f"{page.name}_needed",
            _("Steps to the tolerance against the angle of the ravine"),
        )
    with right:
        shown = [
            Path(
                KINDS[kind].label,
                place_of(kind),
                found.paths[:, number].numpy(),
                np.zeros(1),
                None,
                None,
            )
            for kind, found in everything.found.items()
        ]
        values, axes = grid_of(SurfaceChoice("ravine", everything.condition, float(ANGLES[number])))
        figure = figures.contour_paths(values, axes, ((0.0, 0.0),), shown, STEPS, True, height=480)
        live_figure(figure, f"{page.name}_turned", _("Paths on the turned ravine"))


def needed_figure(everything: Turned, number: int) -> go.Figure:
    lines = []
    for kind, found in everything.found.items():
        needed = found.steps_needed.numpy().astype(float)
        needed[needed == NEVER] = np.nan
        mark = number if np.isfinite(needed[number]) else None
        lines.append(Curve(KINDS[kind].label, place_of(kind), np.array(ANGLES), needed, mark))
    return curves(
        lines,
        _("Angle of the ravine (degrees)"),
        _("Steps until f ≤ {tolerance}").format(tolerance="10⁻⁶"),
        x_range=(-2, 92),
        y_range=(0, STEPS),
        x_now=ANGLES[number],
        height=480,
    )


@panel
def rotation_table(page: Page, everything: Turned) -> None:
    number = angle_now(page)
    rows = table(everything, number)
    st.dataframe(rows, hide_index=True)
    checked_against([bare_check(everything, number)])
    take_with_you(
        f"{page.name}_rotation",
        lambda: rows,
        lambda: needed_figure(everything, number),
        lambda: rotation_script(
            everything.condition, ANGLES, (LOW, HIGH, RATES), TOLERANCE, STEPS, everything.found
        ),
    )


def table(everything: Turned, number: int) -> pd.DataFrame:
    never = _("not within {steps}").format(steps=STEPS)

    def shown(count: int) -> str:
        return never if count == NEVER else str(count)

    rows = []
    for kind, found in everything.found.items():
        counts = found.steps_needed.tolist()
        rows.append(
            {
                _("Optimizer"): KINDS[kind].label,
                _("Rate, tuned at 0°"): f"{found.rate:.3g}",
                _("Steps at 0°"): shown(counts[0]),
                _("Steps at {angle}°").format(angle=ANGLES[number]): shown(counts[number]),
                _("Notices"): _("no") if len(set(counts)) == 1 else _("yes"),
            }
        )
    return pd.DataFrame(rows)


def bare_check(everything: Turned, number: int) -> Check:
    """Each path at this angle, run again by torch's own optimizer without a batch."""
    angle = float(ANGLES[number])
    choice = SurfaceChoice("ravine", everything.condition, angle)
    x, y = turned_start(torch.tensor([angle]))[0].tolist()
    differences = []
    for kind, found in everything.found.items():
        alone = path_of(choice, (x, y), Choice(kind, found.rate), Run(CHECKED))
        gap = (alone.positions - found.paths[: CHECKED + 1, number]).nan_to_num().abs().max()
        differences.append(gap.item())
    return Check(
        _("the library's optimizers one at a time, first {steps} steps").format(steps=CHECKED),
        max(differences),
        1e-6,
    )
