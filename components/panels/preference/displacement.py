"""The displacement lab: a policy of five answers trained live, with DPO and with its remedies."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.figures.preference_labs import geometry, probabilities, training_curves
from components.lesson_parts import note
from components.panels.preference.settings import NAMES, HasBeta
from components.settings import number, several, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.numerics.comparison import largest_difference
from models.preference.displacement import CHOSEN, METHODS, REJECTED, Lab, Training, train, trained_by_torch
from models.preference.losses import LossSettings

LOWEST = -40.0  # of the log-probabilities' axis
CHECKED_STEPS = 40


def method_label(name: str) -> str:
    return "DPO + SFT" if name == "sigmoid+sft" else NAMES[name]


def answers() -> list[str]:
    return [_("chosen"), _("rejected"), _("third"), _("fourth"), _("fifth")]


@dataclass(frozen=True)
class Displacement(HasBeta):
    """A policy of five answers trained with DPO and its remedies: what becomes of the chosen one."""

    page, name = "preference", "displacement"
    angle: float = slider(5.0, 175.0, 40.0, 1.0, label=mark("Angle between chosen and rejected (degrees)"))
    rate: float = slider(0.1, 20.0, 5.0, log=True, label=mark("Learning rate"))
    sft: float = slider(
        0.0,
        0.5,
        0.05,
        0.005,
        label=mark("Weight of SFT in DPO + SFT"),
        off=lambda view: "" if "sigmoid+sft" in view.methods else mark("Acts on DPO + SFT only."),
    )
    lab_steps: int = number(1, 1_000, 300, label=mark("Steps"))
    step: int = slider(
        0,
        lambda view: view.lab_steps,
        lambda view: view.lab_steps,
        1,
        whole=True,
        label=mark("Look at step"),
    )
    methods: tuple[str, ...] = several(
        METHODS,
        ("sigmoid", "sigmoid+sft", "apo_zero", "bco_pair"),
        label=mark("Trained with"),
        label_of=method_label,
        least=1,
        most=6,
    )

    @property
    def lab(self) -> Lab:
        return Lab(
            angle=self.angle,
            learning_rate=self.rate,
            steps=self.lab_steps,
            sft_weight=self.sft,
            settings=LossSettings(beta=self.beta),
        )

    @property
    def runs(self) -> dict[str, Training]:
        return trained(self.lab, self.methods)

    def stage(self) -> Stage:
        runs, step, lab = self.runs, min(self.step, self.lab_steps), self.lab
        curves = {
            method_label(name): run.log_probabilities[:, CHOSEN].numpy() for name, run in runs.items()
        }
        relative = {method_label(name): (run.loss / run.loss[0]).numpy() for name, run in runs.items()}
        paths = {method_label(name): run.parameters.numpy() for name, run in runs.items()}
        series = {_("reference"): np.full(5, 0.2)} | {
            method_label(name): run.log_probabilities[step].exp().numpy() for name, run in runs.items()
        }
        chosen, loss = _("log π of the chosen answer"), _("Loss, relative to the first")
        return Stage(
            [
                Plot(
                    "chosen",
                    training_curves(curves, chosen, (LOWEST, 1.0), math.log(1 / 5), step),
                    _("Log-probability of the chosen answer against the step, by loss"),
                ),
                Plot(
                    "answers",
                    probabilities(answers(), series, _("Probability at this step"), 380),
                    _("Probability of each answer at this step"),
                    rest=60,
                ),
            ],
            [
                Plot(
                    "relative",
                    training_curves(relative, loss, (-0.05, 1.1), 1.0, step),
                    _("Loss against the step, as part of the first"),
                    rest=60,
                ),
                Plot(
                    "geometry",
                    geometry(lab.directions.numpy(), answers(), paths, 40.0, step),
                    _("Directions of the answers, and the way of the parameters"),
                    rest=60,
                ),
            ],
        )

    def below(self) -> None:
        """Every method at this step in numbers, and torch.optim.SGD's way beside it."""
        note(self, "displacement")
        lab, runs = self.lab, self.runs
        st.dataframe(table(runs, min(self.step, lab.steps)), hide_index=True, width="stretch")
        left, right = st.columns(2)
        left.latex(r"\log\pi_\theta(y)=e_y\cdot\theta-\log\sum_{y'}e^{e_{y'}\cdot\theta}")
        right.latex(r"\nabla_\theta L_{\mathrm{DPO}}=-\beta\,\sigma(-z)\,(e_w-e_l)")
        if not all(bool(run.log_probabilities[-1].isfinite().all()) for run in runs.values()):
            st.info(_("A run has diverged: its learning rate is too high for this β."))
        checked_against(checks(lab, runs))
        take_with_you(self, lambda: points(runs), None, snippet(lab, self.methods))


def checks(lab: Lab, runs: dict[str, Training]) -> list[Check]:
    """The first steps of three runs against torch's own optimizer and autograd."""
    short = replace(lab, steps=min(lab.steps, CHECKED_STEPS))
    said = _("torch.optim.SGD with autograd, {loss}, {steps} steps")
    return [
        Check(said.format(loss=method_label(name), steps=short.steps), _gap(short, name, run), 1e-6)
        for name, run in list(runs.items())[:3]
    ]


def snippet(lab: Lab, methods: tuple[str, ...]) -> str:
    """Python that repeats the runs."""
    return f"""from models.preference.displacement import Lab, train
from models.preference.losses import LossSettings

for name, run in train({lab!r}, {methods!r}).items():
    print(name, run.loss[-1].item(), run.log_probabilities[-1].exp())
"""


@lru_cache(maxsize=16)
def trained(lab: Lab, methods: tuple[str, ...]) -> dict[str, Training]:
    return train(lab, methods)


def _gap(lab: Lab, name: str, run: Training) -> float:
    theirs = trained_by_torch(lab, name, lab.steps)
    ours = run.log_probabilities[: lab.steps + 1]
    finite = theirs.isfinite().all(1) & ours.isfinite().all(1)
    return largest_difference(ours[finite], theirs[finite]) / max(1.0, float(theirs[finite].abs().max()))


def table(runs: dict[str, Training], step: int) -> pd.DataFrame:
    def cells(name: str, run: Training) -> dict[str, object]:
        now: torch.Tensor = run.log_probabilities[step]
        top = int(now.nan_to_num(-math.inf).argmax())
        return {
            _("Loss"): method_label(name),
            _("Value"): f"{float(run.loss[step]):.4g}",
            "log π(chosen)": f"{float(now[CHOSEN]):.3f}",
            "log π(rejected)": f"{float(now[REJECTED]):.3f}",
            _("Right order"): "✓" if now[CHOSEN] > now[REJECTED] else "✗",
            _("Likeliest answer"): f"{answers()[top]} ({float(now[top].exp()):.1%})",
        }

    return pd.DataFrame([cells(name, run) for name, run in runs.items()])


def points(runs: dict[str, Training]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"loss": name, "step": step, "value": value, **dict(zip("abcde", row, strict=True))}
            for name, run in runs.items()
            for step, (value, row) in enumerate(
                zip(run.loss.tolist(), run.log_probabilities.tolist(), strict=True)
            )
        ]
    )
