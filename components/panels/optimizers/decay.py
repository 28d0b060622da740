"""L2 in the loss against decoupled weight decay, on parameters with large and small gradients."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import whole_number
from components.figures.optimizer_curves import Curve, curves
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.take.optimizers import decay as decay_script
from components.words import _
from models.errors import InputError
from models.optimizers.weight_decay import WAYS, Decayed, DecayTrial, decay_only, decay_run

SETTLED = ("decayed",)
EVERY = 10  # steps between points that are drawn


def way_label(way: str) -> str:
    return {"sgd_l2": _("SGD, L2"), "adam_l2": _("Adam, L2 in the loss"), "adamw": "AdamW"}[way]


@panel
def weight_decay(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        live_slider(_("Weight decay λ"), f"{name}_lambda", 0.0, 1.0, 0.1, 0.01, settled=SETTLED)
        live_slider(
            _("Learning rate η"), f"{name}_decay_rate", 1e-5, 0.01, 1e-3, 1e-5, log=True, settled=SETTLED
        )
        live_slider(
            _("Large gradients (deviation)"), f"{name}_large", 0.01, 100.0, 10.0, log=True, settled=SETTLED
        )
        live_slider(
            _("Small gradients (deviation)"), f"{name}_small", 0.001, 10.0, 0.1, log=True, settled=SETTLED
        )
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    decayed(page)


def trial_now(page: Page) -> DecayTrial:
    name = page.name
    large, small = (
        slider_value(f"{name}_large", 0.01, 100.0, 10.0),
        slider_value(f"{name}_small", 0.001, 10.0, 0.1),
    )
    return DecayTrial(
        (large, small),
        slider_value(f"{name}_decay_rate", 1e-5, 0.01, 1e-3),
        slider_value(f"{name}_lambda", 0.0, 1.0, 0.1),
        seed=st.session_state.get(f"{name}_seed", 0),
    )


@st.cache_resource(max_entries=48, show_spinner=False)
def run_of(trial: DecayTrial, way: str) -> Decayed:
    return decay_run(trial, way)


@panel
def decayed(page: Page) -> None:
    trial = trial_now(page)
    found = {way: run_of(trial, way) for way in WAYS}
    columns = st.columns(2, gap="medium")
    for number, column in enumerate(columns):
        with column:
            title = _("Gradients of deviation {deviation}").format(
                deviation=f"{trial.deviations[number]:g}"
            )
            st.markdown(f"**{title}**")
            live_figure(
                decay_figure(found, trial, number),
                f"{page.name}_decay_{number}",
                _("A parameter's value against the step, under three ways of decay") + f": {title}",
            )
    page.note("decay")
    rows = table(found, trial)
    st.dataframe(rows, hide_index=True)
    st.latex(formulas(trial))
    checked_against([decay_check(trial)])
    take_with_you(
        f"{page.name}_decay",
        lambda: rows,
        lambda: decay_figure(found, trial, 0),
        lambda: decay_script(trial, found),
    )


def decay_figure(found: dict[str, Decayed], trial: DecayTrial, number: int) -> go.Figure:
    times = np.arange(0, trial.steps + 1, EVERY)
    places = {"sgd_l2": 0, "adam_l2": 3, "adamw": 4}
    lines = [
        Curve(way_label(way), places[way], times, run.mean[::EVERY, number].numpy())
        for way, run in found.items()
    ]
    alone = Curve(_("decay alone, (1−ηλ)ᵗ"), 11, times, decay_only(trial)[::EVERY].numpy())
    return curves(
        [*lines, alone],
        _("Step"),
        _("θ, mean of {copies} copies").format(copies=trial.copies),
        y_range=(-0.1, 1.15),
        x_range=(0, trial.steps),
        height=420,
    )


def table(found: dict[str, Decayed], trial: DecayTrial) -> pd.DataFrame:
    """The last values, mean ± deviation of single runs."""
    rows = []
    for way, run in found.items():
        row = {_("Way"): way_label(way)}
        for number, deviation in enumerate(trial.deviations):
            value = f"{run.mean[-1, number]:.3f} ± {run.deviation[-1, number]:.3f}"
            row[_("deviation {deviation}").format(deviation=f"{deviation:g}")] = value
        rows.append(row)
    alone = f"{decay_only(trial)[-1]:.3f}"
    rows.append(dict.fromkeys(rows[0], alone) | {_("Way"): _("decay alone")})
    return pd.DataFrame(rows)


def formulas(trial: DecayTrial) -> str:
    eta, decay = f"{trial.rate:g}", f"{trial.weight_decay:g}"
    return (
        r"\begin{aligned}\text{L2:}&\quad g\leftarrow g+" + decay + r"\,\theta,\quad\theta\leftarrow\theta-"
        + eta + r"\,\frac{\hat m}{\sqrt{\hat v}+\varepsilon}\\\text{AdamW:}&\quad\theta\leftarrow(1-"
        + eta + r"\cdot" + decay + r")\,\theta-" + eta
        + r"\,\frac{\hat m}{\sqrt{\hat v}+\varepsilon}\end{aligned}"
    )  # fmt: skip


def decay_check(trial: DecayTrial) -> Check:
    """Without gradients, SGD with L2 and AdamW both are (1 − ηλ)ᵗ."""
    quiet = DecayTrial((0.0,), trial.rate, trial.weight_decay, trial.steps, 1, trial.seed)
    alone = decay_only(quiet)
    gaps = [(run_of(quiet, way).mean[:, 0] - alone).abs().max().item() for way in ("sgd_l2", "adamw")]
    if not all(gap == gap for gap in gaps):
        raise InputError("This decay has no finite result.")
    return Check(_("torch.optim.SGD and AdamW without gradients, against (1−ηλ)ᵗ"), max(gaps), 1e-9)
