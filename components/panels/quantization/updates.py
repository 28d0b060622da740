"""Why weights are not updated in 16 bits: a step below half the spacing is rounded away."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from components.figures.quantization import lost_steps, paths
from components.formulas import show_formula
from components.lesson_parts import note
from components.settings import View, number, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.quantization.number_formats import BFLOAT16, FLOAT16, FLOAT32, round_to, spacing
from models.quantization.weight_updates import UpdatePaths, update_paths

STEPS = 200
KEPT_IN = (FLOAT32, FLOAT16, BFLOAT16)
WEIGHTS = np.geomspace(1e-3, 8.0, 400)  # where the spacing is drawn


@dataclass(frozen=True)
class Updates(View):
    """A weight under equal steps in several precisions, and which steps are lost."""

    page, name, came_from = "quantization", "updates", "numbers"
    step: float = slider(1e-7, 1e-1, 1e-3, 0.01, log=True, label=mark("Learning rate × gradient"))
    weight: float = slider(1e-3, 8.0, 1.0, 0.01, log=True, label=mark("Weight at the start"))
    seed: int = number(
        0, 9_999, 0, label=mark("Seed"), help=mark("Of stochastic rounding, the only random one.")
    )

    @property
    def paths(self) -> UpdatePaths:
        return update_paths(self.weight, self.step, STEPS, self.seed)

    def figure(self) -> go.Figure:
        curves = curves_of(self.paths)
        changes = {name: path - path[0] for name, path in curves.items()}
        return paths(changes, _("Change of the weight"))

    def stage(self) -> Stage:
        half = {form.name: half_spacing(form.name) for form in KEPT_IN}
        return Stage(
            [
                Plot("updates", self.figure(), _("A weight under equal steps in several precisions")),
                Plot(
                    "lost",
                    lost_steps(WEIGHTS, half, (self.weight, self.step)),
                    _("Half the spacing of each format against the weight, and this step"),
                    rest=60,
                ),
            ]
        )

    def below(self) -> None:
        note(self, "updates")
        show_formula(formulas(self))
        checked_against(sums(self))
        table = pd.DataFrame(curves_of(self.paths)).rename_axis("step")
        take_with_you(self, lambda: table, self.figure, snippet(self))


def formulas(view: Updates) -> str:
    """Half the spacing of each format at the weight, beside the step."""
    halves = {form.name: spacing(view.weight, form) / 2 for form in KEPT_IN}
    rows = [
        rf"\text{{{name}}}:\quad \tfrac12\,\text{{ulp}}({view.weight:.4g})"
        rf"&={half:.3g}&{comparison(half, view.step)}&\ {view.step:.3g}"
        for name, half in halves.items()
    ]
    return r"\begin{aligned}" + r"\\".join(rows) + r"\end{aligned}"


def comparison(half: float, step: float) -> str:
    """How half the spacing compares with the step."""
    return "=" if half == step else (">" if half > step else "<")


def curves_of(found: UpdatePaths) -> dict[str, np.ndarray]:
    return {
        _("float32 (master weight)"): found.float32.numpy(),
        "float16": found.float16.numpy(),
        "bfloat16": found.bfloat16.numpy(),
        _("bfloat16, stochastic rounding"): found.stochastic.numpy(),
    }


@lru_cache(maxsize=4)
def half_spacing(name: str) -> np.ndarray:
    """Half the distance between neighbours of a format at each of WEIGHTS."""
    form = next(form for form in KEPT_IN if form.name == name)
    return np.array([spacing(weight, form) / 2 for weight in WEIGHTS])


def sums(view: Updates) -> list[Check]:
    """Every step of the paths rounded again bit by bit; the paths themselves use torch's casts."""
    checks = []
    for form in KEPT_IN:
        path = getattr(view.paths, form.name)
        again = round_to(path[:-1] + torch.tensor(view.step), form)
        what = _("each sum rounded to {format} from its bits").format(format=form.name)
        checks.append(Check(what, float((path[1:] - again).abs().max()), 0.0))
    return checks


def snippet(view: Updates) -> str:
    """Python that repeats the last weights of the curves."""
    return f"""from models.quantization.weight_updates import update_paths

paths = update_paths({view.weight!r}, {view.step!r}, {STEPS}, {view.seed})
for name in ("float32", "float16", "bfloat16", "stochastic"):
    print(name, float(getattr(paths, name)[-1]))
"""
