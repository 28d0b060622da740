"""The displacement lab: a policy of five answers trained live, with DPO and with its remedies."""

import math
from functools import lru_cache

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import choose_several, whole_number
from components.figures.preference_labs import geometry, probabilities, training_curves
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.preference.settings import BETA, NAMES
from components.words import _
from models.numerics.comparison import largest_difference
from models.preference.displacement import CHOSEN, METHODS, REJECTED, Lab, Training, train, trained_by_torch
from models.preference.losses import LossSettings

LIVE, SETTLED = ("displacement_figures",), ("displacement_figures", "displacement_numbers")
ANGLE, RATE, SFT = (5.0, 175.0, 40.0), (0.1, 20.0, 5.0), (0.0, 0.5, 0.05)
LOWEST = -40.0  # of the log-probabilities' axis
CHECKED_STEPS = 40


def method_label(name: str) -> str:
    return "DPO + SFT" if name == "sigmoid+sft" else NAMES[name]


def answers() -> list[str]:
    return [_("chosen"), _("rejected"), _("third"), _("fourth"), _("fifth")]


@panel
def displacement_lab(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose_several(
            _("Trained with"), METHODS, f"{name}_methods", method_label,
            default=page.default("methods"), most=6, width=560,
        )  # fmt: skip
        steps = whole_number(_("Steps"), 1, 1_000, f"{name}_lab_steps", 300, width=110)
    key = f"{name}_step"
    st.session_state[key] = min(float(steps), st.session_state.get(key, slider_value(key, 0, steps, steps)))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for label, key, (low, high, default), step, is_log in (
            (_("Angle between chosen and rejected (degrees)"), "angle", ANGLE, 1.0, False),
            ("β", "beta", BETA, 0.01, True),
            (_("Learning rate"), "rate", RATE, 0.01, True),
            (_("Weight of SFT in DPO + SFT"), "sft", SFT, 0.005, False),
            (_("Look at step"), "step", (0.0, float(steps), float(steps)), 1.0, False),
        ):
            with st.container(width=220):
                live_slider(
                    label, f"{name}_{key}", low, high, default, step, log=is_log, live=LIVE, settled=SETTLED
                )
    displacement_figures(page)
    page.note("displacement")
    displacement_numbers(page)


def lab_now(page: Page) -> tuple[Lab, tuple[str, ...]]:
    state, name = st.session_state, page.name
    lab = Lab(
        angle=slider_value(f"{name}_angle", *ANGLE),
        learning_rate=slider_value(f"{name}_rate", *RATE),
        steps=state.get(f"{name}_lab_steps", 300),
        sft_weight=slider_value(f"{name}_sft", *SFT),
        settings=LossSettings(beta=slider_value(f"{name}_beta", *BETA)),
    )
    return lab, tuple(state.get(f"{name}_methods", page.default("methods")))


@lru_cache(maxsize=16)
def trained(lab: Lab, methods: tuple[str, ...]) -> dict[str, Training]:
    return train(lab, methods)


def step_now(page: Page, lab: Lab) -> int:
    return min(lab.steps, round(slider_value(f"{page.name}_step", 0, lab.steps, lab.steps)))


@live_panel
def displacement_figures(page: Page) -> None:
    lab, methods = lab_now(page)
    runs, step = trained(lab, methods), step_now(page, lab)
    left, right = st.columns(2, gap="small")
    start = math.log(1 / 5)
    with left:
        curves = {
            method_label(name): run.log_probabilities[:, CHOSEN].numpy() for name, run in runs.items()
        }
        live_figure(
            training_curves(curves, _("log π of the chosen answer"), (LOWEST, 1.0), start, step),
            f"{page.name}_chosen",
            _("Log-probability of the chosen answer against the step, by loss"),
        )
    with right:
        relative = {method_label(name): (run.loss / run.loss[0]).numpy() for name, run in runs.items()}
        live_figure(
            training_curves(relative, _("Loss, relative to the first"), (-0.05, 1.1), 1.0, step),
            f"{page.name}_relative",
            _("Loss against the step, as part of the first"),
            rest=60,
        )
    left, right = st.columns(2, gap="small")
    with left:
        paths = {method_label(name): run.parameters.numpy() for name, run in runs.items()}
        live_figure(
            geometry(lab.directions.numpy(), answers(), paths, 40.0, step),
            f"{page.name}_geometry",
            _("Directions of the answers, and the way of the parameters"),
            rest=60,
        )
    with right:
        series = {_("reference"): np.full(5, 0.2)} | {
            method_label(name): run.log_probabilities[step].exp().numpy() for name, run in runs.items()
        }
        live_figure(
            probabilities(answers(), series, _("Probability at this step"), 380),
            f"{page.name}_answers",
            _("Probability of each answer at this step"),
            rest=60,
        )


@panel
def displacement_numbers(page: Page) -> None:
    """Every method at this step in numbers, and torch.optim.SGD's way beside it."""
    lab, methods = lab_now(page)
    runs, step = trained(lab, methods), step_now(page, lab)
    frame = table(runs, step)
    st.dataframe(frame, hide_index=True, width="stretch")
    left, right = st.columns(2)
    left.latex(r"\log\pi_\theta(y)=e_y\cdot\theta-\log\sum_{y'}e^{e_{y'}\cdot\theta}")
    right.latex(r"\nabla_\theta L_{\mathrm{DPO}}=-\beta\,\sigma(-z)\,(e_w-e_l)")
    if not all(bool(run.log_probabilities[-1].isfinite().all()) for run in runs.values()):
        st.info(_("A run has diverged: its learning rate is too high for this β."))
    short = Lab(**(vars(lab) | {"steps": min(lab.steps, CHECKED_STEPS)}))
    checked_against(
        [
            Check(
                _("torch.optim.SGD with autograd, {loss}, {steps} steps").format(
                    loss=method_label(name), steps=short.steps
                ),
                _gap(short, name, run),
                1e-6,
            )
            for name, run in list(runs.items())[:3]
        ]
    )
    take_with_you(
        f"{page.name}_displacement",
        lambda: points(runs),
        None,
        f"""from models.preference.displacement import Lab, train
from models.preference.losses import LossSettings

for name, run in train({lab!r}, {methods!r}).items():
    print(name, run.loss[-1].item(), run.log_probabilities[-1].exp())
""",
    )


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
