"""The same ravine, turned: which optimizers notice that its axes are not those of the parameters?"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures import optimizers as figures
from components.figures.optimizer_curves import NeededSteps, needed_steps
from components.figures.optimizers import Path, place_of
from components.lesson_parts import note
from components.panels.optimizers.paths import grid_of
from components.panels.optimizers.settings import ChoosesOptimizers
from components.panels.optimizers.walks import path_of
from components.settings import one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.optimizers.conditioning import NEVER, Rotations, rotations, turned_start
from models.optimizers.learning_rates import rates_between
from models.optimizers.surfaces import SurfaceChoice
from models.optimizers.trajectories import KINDS, Choice, Run, default

CONDITIONS = (1, 3, 10, 30, 100)
EVERY = 5  # degrees
ANGLES = tuple(range(0, 91, EVERY))
STEPS, TOLERANCE, RATES = 500, 1e-6, 30
CHECKED = 60  # steps: near the minimum, optimizers that see signs turn rounding into different steps
WITHOUT_BATCH = ("sgd", "adam")  # shown where none of the chosen can run as one batch


@lru_cache(maxsize=64)
def turned(choice: Choice, condition: float) -> Rotations:
    angles = torch.tensor(ANGLES, dtype=torch.float64)
    return rotations(choice, condition, angles, rates_between(1e-4, 10.0, RATES), TOLERANCE, STEPS)


@dataclass(frozen=True)
class Rotation(ChoosesOptimizers):
    """Paths on a ravine that is turned, and the steps that each optimizer needs at every angle."""

    page, name = "optimizers", "rotation"
    angle: float = slider(0.0, 90.0, 45.0, float(EVERY), unit="°", label=mark("Rotation"))
    kappa: int = one_of(CONDITIONS, 30, label=mark("Condition number κ"))

    @property
    def number(self) -> int:
        """The index of the angle."""
        return round(self.angle / EVERY)

    @property
    def by_kind(self) -> dict[str, Rotations]:
        """What each optimizer needs at each angle; those that cannot run as one batch are left out."""
        kinds = [kind for kind in self.chosen if KINDS[kind].is_elementwise] or WITHOUT_BATCH
        return {kind: turned(default(kind), float(self.kappa)) for kind in kinds}

    def stage(self) -> Stage:
        by_kind = self.by_kind
        return Stage(
            [
                Plot("turned", ravine_figure(self, by_kind), _("Paths on the turned ravine")),
                Plot(
                    "needed",
                    needed_figure(by_kind, self.number),
                    _("Steps to the tolerance against the angle of the ravine"),
                ),
            ]
        )

    def below(self) -> None:
        by_kind = self.by_kind
        note(self, "rotation")
        rows = table(by_kind, self.number)
        st.dataframe(rows, hide_index=True)
        checked_against([bare_check(self, by_kind)])
        take_with_you(
            self,
            lambda: rows,
            lambda: needed_figure(by_kind, self.number),
            snippet(list(by_kind), float(self.kappa)),
        )


def ravine_figure(view: Rotation, by_kind: dict[str, Rotations]) -> go.Figure:
    shown = [
        Path(
            KINDS[kind].label, place_of(kind), result.paths[:, view.number].numpy(), np.zeros(1), None, None
        )
        for kind, result in by_kind.items()
    ]
    values, axes = grid_of(SurfaceChoice("ravine", float(view.kappa), float(ANGLES[view.number])))
    return figures.contour_paths(values, axes, ((0.0, 0.0),), shown, STEPS, True)


def needed_figure(by_kind: dict[str, Rotations], number: int) -> go.Figure:
    lines = []
    for kind, result in by_kind.items():
        needed = result.steps_needed.numpy().astype(float)
        needed[needed == NEVER] = np.nan
        lines.append(NeededSteps(KINDS[kind].label, place_of(kind), needed))
    return needed_steps(lines, np.array(ANGLES, dtype=float), number, STEPS, "10⁻⁶")


def table(by_kind: dict[str, Rotations], number: int) -> pd.DataFrame:
    never = _("not within {steps}").format(steps=STEPS)

    def shown(count: int) -> str:
        return never if count == NEVER else str(count)

    rows = []
    for kind, result in by_kind.items():
        counts = result.steps_needed.tolist()
        rows.append(
            {
                _("Optimizer"): KINDS[kind].label,
                _("Rate, tuned at 0°"): f"{result.rate:.3g}",
                _("Steps at 0°"): shown(counts[0]),
                _("Steps at {angle}°").format(angle=ANGLES[number]): shown(counts[number]),
                _("Turns matter?"): _("no") if len(set(counts)) == 1 else _("yes"),
            }
        )
    return pd.DataFrame(rows)


def bare_check(view: Rotation, by_kind: dict[str, Rotations]) -> Check:
    """Each path at this angle, run again by torch's own optimizer without a batch."""
    number = view.number
    angle = float(ANGLES[number])
    choice = SurfaceChoice("ravine", float(view.kappa), angle)
    x, y = turned_start(torch.tensor([angle]))[0].tolist()
    differences = []
    for kind, result in by_kind.items():
        alone = path_of(choice, (x, y), Choice(kind, result.rate), Run(CHECKED))
        gap = (alone.positions - result.paths[: CHECKED + 1, number]).nan_to_num().abs().max()
        differences.append(gap.item())
    return Check(
        _("the library's optimizers one at a time, first {steps} steps").format(steps=CHECKED),
        max(differences),
        1e-6,
    )


def snippet(kinds: list[str], condition: float) -> str:
    """Python that repeats the curves."""
    return f"""import torch

from models.optimizers.conditioning import rotations
from models.optimizers.learning_rates import rates_between
from models.optimizers.trajectories import default

angles = torch.arange(0, 91, 5, dtype=torch.float64)
for kind in {kinds!r}:
    rates = rates_between(1e-4, 10.0, {RATES})
    found = rotations(default(kind), {condition!r}, angles, rates, {TOLERANCE!r}, {STEPS})
    print(kind, found.rate, found.steps_needed.tolist())
"""
