"""KL estimators on a policy that can be listed: as values, and as what they do to the gradient."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.distributions import Categorical, kl_divergence

from components.controls import whole_number
from components.figures.curves import Curve, curves
from components.figures.policy import grouped_bars
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.words import _
from models.policy.kl_estimators import (
    PLACES,
    exact_kl,
    gradient_of,
    pair,
    running_means,
    true_gradients,
    value_of,
)
from models.policy.losses import ESTIMATORS

LIVE = ("kl_live",)
SETTLED = (*LIVE, "kl_facts")
SAMPLES = 400


@panel
def kl_estimators(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        live_slider(
            _("Distance of policy and reference"), f"{name}_distance", 0.0, 2.0, 0.7, 0.02,
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
        whole_number(_("Outcomes"), 2, 64, f"{name}_outcomes", 6, width=110)
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    kl_live(page)
    page.note("kl")
    kl_facts(page)


def place_label(place: str) -> str:
    return {
        "loss": _("in the loss"),
        "loss_corrected": _("in the loss, times ρ"),
        "reward": _("in the reward"),
    }[place]


def policies(page: Page) -> tuple[torch.Tensor, torch.Tensor]:
    state, name = st.session_state, page.name
    return pair(
        state[f"{name}_outcomes"], slider_value(f"{name}_distance", 0.0, 2.0, 0.7), state[f"{name}_seed"]
    )


@live_panel
def kl_live(page: Page) -> None:
    logits, reference = policies(page)
    columns = st.columns(3, gap="small")
    with columns[0]:
        live_figure(
            value_figure(logits, reference),
            f"{page.name}_kl_values",
            _("Mean and deviation of each estimator"),
        )
    with columns[1]:
        live_figure(
            gradient_figure(logits, reference), f"{page.name}_kl_gradients",
            _("How far each estimator's gradient is from that of the KL"),
        )  # fmt: skip
    with columns[2]:
        live_figure(
            running_figure(page, logits, reference), f"{page.name}_kl_running",
            _("Running mean of each estimator over samples"),
        )  # fmt: skip


def value_figure(logits: torch.Tensor, reference: torch.Tensor) -> go.Figure:
    found = [value_of(logits, reference, name) for name in ESTIMATORS]
    title = _("Mean ± deviation of one sample (nats)")
    exact = exact_kl(logits, reference)
    return grouped_bars(
        {title: np.array([value.mean for value in found])},
        ESTIMATORS,
        title,
        deviations={title: np.array([value.deviation for value in found])},
        level=(exact, f"KL = {exact:.4f}"),
        height=400,
    )


def gradient_figure(logits: torch.Tensor, reference: torch.Tensor) -> go.Figure:
    """‖E[gradient] − ∇KL‖ over ‖∇KL‖: 0 is right, 1 is as far as having none."""
    length = max(float(true_gradients(logits, reference)[0].norm()), 1e-12)
    series = {
        place_label(place): np.array(
            [gradient_of(logits, reference, name, place).error / length for name in ESTIMATORS]
        )
        for place in PLACES
    }
    return grouped_bars(
        series, ESTIMATORS, _("Error of the mean gradient ÷ ‖∇KL‖"), limits=(0, 2), height=400
    )


def running_figure(page: Page, logits: torch.Tensor, reference: torch.Tensor) -> go.Figure:
    exact = exact_kl(logits, reference)
    found = running_means(logits, reference, SAMPLES, st.session_state[f"{page.name}_seed"])
    x = np.arange(1, SAMPLES + 1)
    lines = [Curve(name, place, x, found[name].numpy()) for place, name in enumerate(ESTIMATORS)]
    top = max(2.5 * exact, 0.02)
    return curves(
        lines, _("Samples"), _("Mean so far (nats)"), x_log=True, x_range=(1, SAMPLES),
        y_range=(-top / 2, top), level=(exact, "KL"), height=400,
    )  # fmt: skip


@panel
def kl_facts(page: Page) -> None:
    logits, reference = policies(page)
    st.latex(
        r"\begin{aligned} d&=\ln\pi-\ln\pi_{ref}\\ k_1&=d & \nabla k_1&=\nabla\ln\pi\\"
        r"k_2&=\tfrac12 d^2 & \nabla k_2&=d\,\nabla\ln\pi\\"
        r"k_3&=e^{-d}-1+d & \nabla k_3&=(1-e^{-d})\nabla\ln\pi\end{aligned}"
    )
    table = estimator_table(logits, reference)
    st.dataframe(table, hide_index=True, width="stretch")
    checked_against(checks(logits, reference))
    take_with_you(
        f"{page.name}_kl", lambda: table, lambda: gradient_figure(logits, reference), snippet(page)
    )


def estimator_table(logits: torch.Tensor, reference: torch.Tensor) -> pd.DataFrame:
    rows = []
    for name in ESTIMATORS:
        value = value_of(logits, reference, name)
        row = {
            _("Estimator"): name,
            _("Bias"): f"{value.bias:+.5f}",
            _("Deviation"): f"{value.deviation:.5f}",
        }
        for place in PLACES:
            found = gradient_of(logits, reference, name, place)
            row[place_label(place)] = direction(found.error, found.reverse_error, float(found.mean.norm()))
            row[_("Noise, {place}").format(place=place_label(place))] = f"{found.deviation:.4f}"
        rows.append(row)
    return pd.DataFrame(rows)


def direction(error: float, reverse: float, length: float) -> str:
    """Which gradient an estimator's is on average."""
    if length < 1e-9:
        return "0"
    if error < 1e-9:
        return "∇KL(π‖ref)"
    if reverse < 1e-9:
        return "∇KL(ref‖π)"
    return _("neither ({error} off)").format(error=f"{error:.3f}")


def checks(logits: torch.Tensor, reference: torch.Tensor) -> list[Check]:
    moving = logits.clone().requires_grad_()
    with torch.enable_grad():
        policy, other = Categorical(logits=moving), Categorical(logits=reference)
        value, back = kl_divergence(policy, other), kl_divergence(other, policy)
        gradients = [torch.autograd.grad(each, moving, retain_graph=True)[0] for each in (value, back)]
    found = true_gradients(logits, reference)
    gap = max(float((ours - theirs).abs().max()) for ours, theirs in zip(found, gradients, strict=True))
    return [
        Check("torch.distributions.kl_divergence", abs(value.item() - exact_kl(logits, reference)), 1e-9),
        Check(_("its gradients, by torch.autograd"), gap, 1e-9),
    ]


def snippet(page: Page) -> str:
    name = page.name
    arguments = (
        st.session_state[f"{name}_outcomes"],
        slider_value(f"{name}_distance", 0.0, 2.0, 0.7),
        st.session_state[f"{name}_seed"],
    )
    return f"""from models.policy.kl_estimators import PLACES, exact_kl, gradient_of, pair, value_of
from models.policy.losses import ESTIMATORS

logits, reference = pair{arguments!r}
print(exact_kl(logits, reference))
for estimator in ESTIMATORS:
    print(estimator, value_of(logits, reference, estimator))
    for place in PLACES:
        print(place, gradient_of(logits, reference, estimator, place))
"""
