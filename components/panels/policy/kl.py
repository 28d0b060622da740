"""KL estimators on a policy that can be listed: as values, and as what they do to the gradient."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.distributions import Categorical, kl_divergence

from components.figures.curves import Curve, curves
from components.figures.policy import grouped_bars, round_limits
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.policy.settings import Seeded
from components.settings import number, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.policy.kl_estimators import (
    PLACES,
    GradientOfEstimator,
    exact_kl,
    gradient_of,
    pair,
    running_means,
    true_gradients,
    value_of,
)
from models.policy.losses import ESTIMATORS

SAMPLES = 400
NOTHING = 1e-9  # of a gradient's length: rounding
FIRST_OF_PLACES = 3  # place of the gradients' colours: the estimators have the first three


@dataclass(frozen=True)
class KLEstimators(Seeded):
    """Three estimators of the KL: as values, as gradients, and over samples."""

    page, name = "policy", "kl"
    distance: float = slider(0.0, 2.0, 0.7, 0.02, label=mark("Distance of policy and reference"))
    outcomes: int = number(2, 64, 6, label=mark("Outcomes"))

    @property
    def policies(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the policy and of the reference."""
        return pair(self.outcomes, self.distance, self.seed)

    def stage(self) -> Stage:
        logits, reference = self.policies
        values, gradients = value_figure(logits, reference), gradient_figure(logits, reference)
        running = running_figure(logits, reference, self.seed)
        return Stage(
            [
                Plot("kl_values", values, _("Mean and deviation of each estimator")),
                Plot(
                    "kl_gradients",
                    gradients,
                    _("How far each estimator's gradient is from that of the KL"),
                ),
                Plot("kl_running", running, _("Running mean of each estimator over samples"), rest=60),
            ]
        )

    def below(self) -> None:
        logits, reference = self.policies
        note(self, "kl")
        show_formula(FORMULAS)
        table = estimator_table(logits, reference)
        st.dataframe(table, hide_index=True, width="stretch")
        checked_against(checks(logits, reference))
        take_with_you(
            self,
            lambda: table,
            lambda: gradient_figure(logits, reference),
            snippet(self.outcomes, self.distance, self.seed),
        )


FORMULAS = (
    r"\begin{aligned} d&=\ln\pi-\ln\pi_{ref}\\ k_1&=d & \nabla k_1&=\nabla\ln\pi\\"
    r"k_2&=\tfrac12 d^2 & \nabla k_2&=d\,\nabla\ln\pi\\"
    r"k_3&=e^{-d}-1+d & \nabla k_3&=(1-e^{-d})\nabla\ln\pi\end{aligned}"
)


def place_label(place: str) -> str:
    return {
        "loss": _("in the loss"),
        "loss_corrected": _("in the loss, times ρ"),
        "reward": _("in the reward"),
    }[place]


def value_figure(logits: torch.Tensor, reference: torch.Tensor) -> go.Figure:
    """One sample's estimate: each estimator in its own colour, as over the samples."""
    estimates = [value_of(logits, reference, name) for name in ESTIMATORS]
    exact = exact_kl(logits, reference)
    title = _("Mean ± deviation of one sample (nats)")
    means = np.array([value.mean for value in estimates])
    deviations = np.array([value.deviation for value in estimates])
    return grouped_bars(
        {title: means},
        ESTIMATORS,
        title,
        limits=round_limits(means + deviations, means - deviations),
        deviations={title: deviations},
        level=(exact, f"KL = {exact:.4f}"),
        by_name=True,
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
        series,
        ESTIMATORS,
        _("Error of the mean gradient ÷ ‖∇KL‖"),
        limits=(0, 2),
        first=FIRST_OF_PLACES,
    )


def running_figure(logits: torch.Tensor, reference: torch.Tensor, seed: int) -> go.Figure:
    exact = exact_kl(logits, reference)
    means = running_means(logits, reference, SAMPLES, seed)
    x = np.arange(1, SAMPLES + 1)
    lines = [Curve(name, place, x, means[name].numpy()) for place, name in enumerate(ESTIMATORS)]
    top = round_limits(np.array([max(2.5 * exact, 0.02)]))[1]
    return curves(
        lines,
        _("Samples"),
        _("Mean so far (nats)"),
        x_log=True,
        x_range=(1, SAMPLES),
        y_range=(-top / 2, top),
        level=(exact, "KL"),
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
            gradient = gradient_of(logits, reference, name, place)
            row[place_label(place)] = direction(gradient)
            row[_("Noise, {place}").format(place=place_label(place))] = f"{gradient.deviation:.4f}"
        rows.append(row)
    return pd.DataFrame(rows)


def direction(gradient: GradientOfEstimator) -> str:
    """Which gradient an estimator's is on average."""
    if float(gradient.mean.norm()) < NOTHING:
        return "0"
    if gradient.error < NOTHING:
        return "∇KL(π‖ref)"
    if gradient.reverse_error < NOTHING:
        return "∇KL(ref‖π)"
    return _("neither ({error} off)").format(error=f"{gradient.error:.3f}")


def checks(logits: torch.Tensor, reference: torch.Tensor) -> list[Check]:
    moving = logits.clone().requires_grad_()
    with torch.enable_grad():
        policy, other = Categorical(logits=moving), Categorical(logits=reference)
        value, back = kl_divergence(policy, other), kl_divergence(other, policy)
        gradients = [torch.autograd.grad(each, moving, retain_graph=True)[0] for each in (value, back)]
    exact = true_gradients(logits, reference)
    gap = max(float((ours - theirs).abs().max()) for ours, theirs in zip(exact, gradients, strict=True))
    return [
        Check("torch.distributions.kl_divergence", abs(value.item() - exact_kl(logits, reference)), 1e-9),
        Check(_("its gradients, by torch.autograd"), gap, 1e-9),
    ]


def snippet(outcomes: int, distance: float, seed: int) -> str:
    """Python that repeats the table's numbers."""
    return f"""from models.policy.kl_estimators import PLACES, exact_kl, gradient_of, pair, value_of
from models.policy.losses import ESTIMATORS

logits, reference = pair({outcomes!r}, {distance!r}, {seed!r})
print(exact_kl(logits, reference))
for estimator in ESTIMATORS:
    print(estimator, value_of(logits, reference, estimator))
    for place in PLACES:
        print(place, gradient_of(logits, reference, estimator, place))
"""
