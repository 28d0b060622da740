"""The first steps: bias correction on and off, RAdam's switch, warm-up."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.optimizer_curves import Curve, curves
from components.figures.optimizers import place_of
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.optimizers.settings import Seeded
from components.settings import slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.optimizers.bias_correction import (
    WAYS,
    Gradients,
    correction_ratio,
    first_steps,
    radam_factors,
    spread_of_first_steps,
)

STEPS, STREAMS = 60, 128
# Looks; what is no optimizer of its own has a place behind all of them.
PLACES = {"adam": place_of("adam"), "uncorrected": 19, "radam": place_of("radam"), "warmup": 28}


def way_label(way: str) -> str:
    return {
        "adam": "Adam",
        "uncorrected": _("Adam without correction"),
        "radam": "RAdam",
        "warmup": _("Adam with warm-up"),
    }[way]


@dataclass(frozen=True)
class FirstSteps(Seeded):
    """How long the first steps of Adam and its relatives are, and the factors behind them."""

    page, name = "optimizers", "first"
    b1: float = slider(0.0, 0.99, 0.9, 0.01, label="β₁")
    b2: float = slider(0.5, 0.9999, 0.999, 0.0001, label="β₂")
    mean: float = slider(0.001, 1000.0, 1.0, log=True, label=mark("Mean gradient"))
    relative: float = slider(0.0, 5.0, 0.0, 0.1, label=mark("Noise ÷ mean"))
    warm: int = slider(0, 50, 10, 1, label=mark("Warm-up steps"))

    def why_seed_is_off(self) -> str:
        return "" if self.relative else mark("needs noise above 0")

    @property
    def stream(self) -> Gradients:
        return Gradients(self.mean, self.relative * self.mean, STEPS, self.seed)

    def sizes(self) -> dict[str, torch.Tensor]:
        return first_steps(self.stream, self.b1, self.b2, self.warm)

    def stage(self) -> Stage:
        return Stage(
            [
                Plot(
                    "sizes",
                    sizes_figure(self.sizes()),
                    _("Length of each of the first steps, divided by the learning rate"),
                    width=1.3,
                ),
                Plot(
                    "factors",
                    factors_figure(self.stream, self.b1, self.b2),
                    _("The correction's ratio, RAdam's factor and the spread of Adam's step"),
                ),
            ]
        )

    def below(self) -> None:
        note(self, "first")
        sizes, ratio = self.sizes(), correction_ratio(self.b1, self.b2, 5_000)
        show_formula(ratio_formula(self.b1, self.b2, ratio))
        rows = table(sizes, self.b2)
        st.dataframe(rows.head(12), hide_index=True)
        checked_against([ratio_check(self, ratio)])
        take_with_you(
            self,
            lambda: rows,
            lambda: sizes_figure(sizes),
            snippet(self.stream, self.b1, self.b2, self.warm),
        )


def ratio_formula(beta1: float, beta2: float, ratio: torch.Tensor) -> str:
    """The step without correction over the step with it: at first, at its largest, and late."""
    peak = int(ratio.argmax())
    m, v = 1 - beta1, 1 - beta2
    return (
        r"\frac{1-\beta_1^t}{\sqrt{1-\beta_2^t}}:\quad "
        rf"t=1:\ \frac{{{m:.4g}}}{{\sqrt{{{v:.4g}}}}}={float(ratio[0]):.2f},\qquad"
        rf"\text{{max}}={float(ratio[peak]):.2f}\ (t={peak + 1}),\qquad t=5000:\ {float(ratio[-1]):.2f}"
    )


def table(sizes: dict[str, torch.Tensor], beta2: float) -> pd.DataFrame:
    return pd.DataFrame(
        {_("Step t"): range(1, STEPS + 1)}
        | {way_label(way): sizes[way].numpy() for way in WAYS}
        | {"ρ_t": radam_factors(beta2, STEPS)[0].numpy()}
    )


def sizes_figure(sizes: dict[str, torch.Tensor]) -> go.Figure:
    times = np.arange(1, STEPS + 1)
    lines = [Curve(way_label(way), PLACES[way], times, sizes[way].numpy()) for way in WAYS]
    return curves(
        lines,
        _("Step t"),
        "|Δθ| / η",
        y_log=True,
        x_range=(0, STEPS + 1),
        y_range=(-3.2, 3.4),
    )


def factors_figure(stream: Gradients, beta1: float, beta2: float) -> go.Figure:
    times = np.arange(1, STEPS + 1)
    _rho, r = radam_factors(beta2, STEPS)
    spread = spread_of_first_steps(stream, beta1, beta2, STREAMS)
    lines = [
        Curve(
            "(1−β₁ᵗ) ÷ √(1−β₂ᵗ)",
            PLACES["uncorrected"],
            times,
            correction_ratio(beta1, beta2, STEPS).numpy(),
        ),
        Curve(_("RAdam's rₜ"), PLACES["radam"], times, r.numpy()),
        Curve(_("spread of Adam's step ÷ η"), PLACES["adam"], times, spread.numpy()),
    ]
    return curves(lines, _("Step t"), _("Factor"), x_range=(0, STEPS + 1), y_range=(0, 8))


def ratio_check(view: FirstSteps, ratio: torch.Tensor) -> Check:
    """Adam written out without its correction, divided by the ratio, is torch's Adam.

    On the same gradients a million times as large, beside which ε is nothing: no step depends on their
    size otherwise.
    """
    stream = view.stream
    large = replace(stream, mean=1e6 * stream.mean, deviation=1e6 * stream.deviation)
    sizes = first_steps(large, view.b1, view.b2, view.warm)
    gap = (sizes["uncorrected"] / ratio[:STEPS] - sizes["adam"]).abs() / sizes["adam"].clamp(min=1e-3)
    return Check(_("torch.optim.Adam, times the ratio"), gap.max().item(), 1e-3)


def snippet(stream: Gradients, beta1: float, beta2: float, warmup: int) -> str:
    """Python that repeats the curves."""
    return f"""from models.optimizers.bias_correction import Gradients, correction_ratio, first_steps

for way, sizes in first_steps({stream!r}, {beta1!r}, {beta2!r}, {warmup}).items():
    print(way, sizes.tolist())
print(correction_ratio({beta1!r}, {beta2!r}, {STEPS}))
"""
