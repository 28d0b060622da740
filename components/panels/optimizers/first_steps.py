"""The first steps: bias correction on and off, RAdam's switch, warm-up."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import whole_number
from components.figures.optimizer_curves import Curve, curves
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.take.optimizers import first_steps as first_steps_script
from components.words import _
from models.optimizers.bias_correction import (
    WAYS,
    Gradients,
    correction_ratio,
    first_steps,
    radam_factors,
    spread_of_first_steps,
)

STEPS, STREAMS = 60, 128
LIVE = ("first_step_sizes",)
SETTLED = (*LIVE, "first_step_table")


def way_label(way: str) -> str:
    return {
        "adam": "Adam",
        "uncorrected": _("Adam without correction"),
        "radam": "RAdam",
        "warmup": _("Adam with warm-up"),
    }[way]


@panel
def bias_correction(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        live_slider("β₁", f"{name}_b1", 0.0, 0.99, 0.9, 0.01, live=LIVE, settled=SETTLED)
        live_slider("β₂", f"{name}_b2", 0.5, 0.9999, 0.999, 0.0001, live=LIVE, settled=SETTLED)
        live_slider(
            _("Mean gradient"), f"{name}_mean", 0.001, 1000.0, 1.0, log=True, live=LIVE, settled=SETTLED
        )
        live_slider(_("Noise ÷ mean"), f"{name}_relative", 0.0, 5.0, 0.0, 0.1, live=LIVE, settled=SETTLED)
        live_slider(_("Warm-up steps"), f"{name}_warm", 0.0, 50.0, 10.0, 1.0, live=LIVE, settled=SETTLED)
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    first_step_sizes(page)
    page.note("first")
    first_step_table(page)


def settings(page: Page) -> tuple[Gradients, float, float, int]:
    """The stream of gradients, β₁, β₂ and the warm-up, as the sliders stand."""
    name = page.name
    mean = slider_value(f"{name}_mean", 0.001, 1000.0, 1.0)
    relative = slider_value(f"{name}_relative", 0.0, 5.0, 0.0)
    stream = Gradients(mean, relative * mean, STEPS, st.session_state.get(f"{name}_seed", 0))
    betas = slider_value(f"{name}_b1", 0.0, 0.99, 0.9), slider_value(f"{name}_b2", 0.5, 0.9999, 0.999)
    return stream, *betas, round(slider_value(f"{name}_warm", 0.0, 50.0, 10.0))


@live_panel
def first_step_sizes(page: Page) -> None:
    stream, beta1, beta2, warmup = settings(page)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        live_figure(
            sizes_figure(stream, beta1, beta2, warmup),
            f"{page.name}_sizes",
            _("Length of each of the first steps, divided by the learning rate"),
        )
    with right:
        live_figure(
            factors_figure(stream, beta1, beta2),
            f"{page.name}_factors",
            _("The correction's ratio, RAdam's factor and the spread of Adam's step"),
        )


def sizes_figure(stream: Gradients, beta1: float, beta2: float, warmup: int) -> go.Figure:
    found = first_steps(stream, beta1, beta2, warmup)
    times = np.arange(1, STEPS + 1)
    lines = [Curve(way_label(way), place, times, found[way].numpy()) for place, way in enumerate(WAYS)]
    return curves(
        lines,
        _("Step t"),
        "|Δθ| / η",
        y_log=True,
        x_range=(0, STEPS + 1),
        y_range=(-3.2, 3.4),
        height=460,
    )


def factors_figure(stream: Gradients, beta1: float, beta2: float) -> go.Figure:
    times = np.arange(1, STEPS + 1)
    _rho, r = radam_factors(beta2, STEPS)
    spread = spread_of_first_steps(stream, beta1, beta2, STREAMS)
    lines = [
        Curve("(1−β₁ᵗ)/√(1−β₂ᵗ)", 1, times, correction_ratio(beta1, beta2, STEPS).numpy()),
        Curve(_("RAdam's r_t (none: not yet adapted)"), 2, times, r.numpy()),
        Curve(_("spread of Adam's step ÷ η"), 0, times, spread.numpy()),
    ]
    return curves(lines, _("Step t"), _("Factor"), x_range=(0, STEPS + 1), y_range=(0, 8), height=460)


@panel
def first_step_table(page: Page) -> None:
    stream, beta1, beta2, warmup = settings(page)
    found = first_steps(stream, beta1, beta2, warmup)
    ratio = correction_ratio(beta1, beta2, 5_000)
    peak = int(ratio.argmax())
    m, v = 1 - beta1, 1 - beta2
    st.latex(
        r"\frac{1-\beta_1^t}{\sqrt{1-\beta_2^t}}:\quad "
        rf"t=1:\ \frac{{{m:.4g}}}{{\sqrt{{{v:.4g}}}}}={float(ratio[0]):.2f},\qquad"
        rf"\text{{max}}={float(ratio[peak]):.2f}\ (t={peak + 1}),\qquad t=5000:\ {float(ratio[-1]):.2f}"
    )
    rows = pd.DataFrame(
        {_("Step t"): range(1, STEPS + 1)}
        | {way_label(way): found[way].numpy() for way in WAYS}
        | {"ρ_t": radam_factors(beta2, STEPS)[0].numpy()}
    )
    st.dataframe(rows.head(12), hide_index=True)
    checked_against([ratio_check(found, ratio)])
    take_with_you(
        f"{page.name}_first",
        lambda: rows,
        lambda: sizes_figure(stream, beta1, beta2, warmup),
        lambda: first_steps_script(stream, beta1, beta2, warmup, found),
    )


def ratio_check(found: dict, ratio) -> Check:
    """Adam written out without its correction, divided by the ratio, is torch's Adam."""
    gap = (found["uncorrected"] / ratio[:STEPS] - found["adam"]).abs() / found["adam"].clamp(min=1e-3)
    return Check(_("torch.optim.Adam, times the ratio"), gap.max().item(), 1e-3)
