"""L2 in the loss against decoupled weight decay, on parameters with large and small gradients."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.optimizer_curves import Curve, curves
from components.figures.optimizers import place_of
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.optimizers.settings import Seeded
from components.settings import slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.errors import InputError
from models.optimizers.weight_decay import WAYS, Decayed, DecayTrial, decay_only, decay_run

EVERY = 10  # steps between points that are drawn
PLACES = {"sgd_l2": place_of("sgd"), "adam_l2": place_of("adam"), "adamw": place_of("adamw"), "alone": 23}


def way_label(way: str) -> str:
    return {"sgd_l2": _("SGD, L2"), "adam_l2": _("Adam, L2 in the loss"), "adamw": "AdamW"}[way]


@lru_cache(maxsize=48)
def run_of(trial: DecayTrial, way: str) -> Decayed:
    return decay_run(trial, way)


@dataclass(frozen=True)
class WeightDecay(Seeded):
    """A parameter with large and one with small gradients, under three ways of decay."""

    page, name = "optimizers", "decay"
    strength: float = slider(0.0, 1.0, 0.1, 0.01, key="lambda", label=mark("Weight decay λ"), live=False)
    decay_rate: float = slider(1e-5, 0.01, 1e-3, 1e-5, log=True, label=mark("Learning rate η"), live=False)
    large: float = slider(
        0.01, 100.0, 10.0, log=True, label=mark("Large gradients (deviation)"), live=False
    )
    small: float = slider(0.001, 10.0, 0.1, log=True, label=mark("Small gradients (deviation)"), live=False)

    @property
    def trial(self) -> DecayTrial:
        return DecayTrial((self.large, self.small), self.decay_rate, self.strength, seed=self.seed)

    def runs(self) -> dict[str, Decayed]:
        return {way: run_of(self.trial, way) for way in WAYS}

    def stage(self) -> Stage:
        trial, runs = self.trial, self.runs()
        alt = _("A parameter's value against the step, under three ways of decay")
        return Stage(
            [
                Plot(
                    f"decay_{number}",
                    decay_figure(runs, trial, number),
                    f"{alt}: {title_of(trial, number)}",
                )
                for number in range(len(trial.deviations))
            ]
        )

    def below(self) -> None:
        trial, runs = self.trial, self.runs()
        note(self, "decay")
        rows = table(runs, trial)
        st.dataframe(rows, hide_index=True)
        show_formula(formulas(trial))
        checked_against([decay_check(trial)])
        take_with_you(self, lambda: rows, lambda: decay_figure(runs, trial, 0), snippet(trial))


def title_of(trial: DecayTrial, number: int) -> str:
    return _("Gradients of deviation {deviation}").format(deviation=f"{trial.deviations[number]:g}")


def decay_figure(runs: dict[str, Decayed], trial: DecayTrial, number: int) -> go.Figure:
    times = np.arange(0, trial.steps + 1, EVERY)
    lines = [
        Curve(way_label(way), PLACES[way], times, run.mean[::EVERY, number].numpy())
        for way, run in runs.items()
    ]
    alone = Curve(_("decay alone, (1−ηλ)ᵗ"), PLACES["alone"], times, decay_only(trial)[::EVERY].numpy())
    return curves(
        [*lines, alone],
        _("Step"),
        _("θ, mean of {copies} copies").format(copies=trial.copies),
        y_range=(-0.1, 1.15),
        x_range=(0, trial.steps),
        title=title_of(trial, number),
    )


def table(runs: dict[str, Decayed], trial: DecayTrial) -> pd.DataFrame:
    """The last values, mean ± deviation of single runs."""
    rows = []
    for way, run in runs.items():
        row = {_("Method"): way_label(way)}
        for number, deviation in enumerate(trial.deviations):
            value = f"{run.mean[-1, number]:.3f} ± {run.deviation[-1, number]:.3f}"
            name = _("deviation {deviation}").format(deviation=f"{deviation:g}")
            row[f"{name} ({number + 1})" if name in row else name] = value
        rows.append(row)
    alone = f"{decay_only(trial)[-1]:.3f}"
    rows.append(dict.fromkeys(rows[0], alone) | {_("Method"): _("decay alone")})
    return pd.DataFrame(rows)


def formulas(trial: DecayTrial) -> str:
    """Both rules, with the present learning rate and decay."""
    eta, decay, step = (
        f"{trial.rate:g}",
        f"{trial.weight_decay:g}",
        r"\frac{\hat m}{\sqrt{\hat v}+\varepsilon}",
    )
    return (
        r"\begin{aligned}"
        rf"\text{{L2:}}&\quad g\leftarrow g+{decay}\,\theta,"
        rf"\quad\theta\leftarrow\theta-{eta}\,{step}\\"
        rf"\text{{AdamW:}}&\quad\theta\leftarrow(1-{eta}\cdot{decay})\,\theta-{eta}\,{step}"
        r"\end{aligned}"
    )


def decay_check(trial: DecayTrial) -> Check:
    """Without gradients, SGD with L2 and AdamW both are (1 − ηλ)ᵗ."""
    quiet = DecayTrial((0.0,), trial.rate, trial.weight_decay, trial.steps, 1, trial.seed)
    alone = decay_only(quiet)
    gaps = [(run_of(quiet, way).mean[:, 0] - alone).abs().max().item() for way in ("sgd_l2", "adamw")]
    if not all(gap == gap for gap in gaps):
        raise InputError("This decay has no finite result.")
    return Check(_("torch.optim.SGD and AdamW without gradients, against (1−ηλ)ᵗ"), max(gaps), 1e-9)


def snippet(trial: DecayTrial) -> str:
    """Python that repeats the table."""
    return f"""from models.optimizers.weight_decay import DecayTrial, decay_only, decay_run

trial = {trial!r}
for way in {WAYS!r}:
    found = decay_run(trial, way)
    print(way, found.mean[-1].tolist(), found.deviation[-1].tolist())
print(decay_only(trial)[-1].item())
"""
