"""Momentum on a quadratic: which learning rate and β converge, how fast, and where it is best."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.optimizer_curves import SPOTS, Curve, convergence_heatmap, curves
from components.formulas import show_formula
from components.lesson_parts import note
from components.settings import View, slider
from components.stage import Click, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.optimizers.momentum import (
    best_gradient_descent,
    best_momentum,
    convergence_map,
    critical_beta,
    library_path,
    spectral_radius,
    stability_edge,
    written_out_path,
)

CELLS, STEPS = 121, 150
LARGEST_BETA = 0.99


@dataclass(frozen=True)
class Momentum(View):
    """Which learning rate and β converge on two curvatures, and the run at one point of the map."""

    page, name = "optimizers", "momentum"
    alpha: float = slider(0.0, 1.0, 0.25, 0.005, label=mark("Learning rate, as a share of 4/κ"))
    beta: float = slider(0.0, LARGEST_BETA, 0.6, 0.005, label=mark("Momentum β"))
    curves: float = slider(1.0, 1000.0, 20.0, log=True, label=mark("Condition number κ"))

    @property
    def rate(self) -> float:
        """α. 4/κ is the edge at β = 1: beyond it nothing converges."""
        return max(1e-9, self.alpha * 4 / self.curves)

    @property
    def point(self) -> tuple[float, float, float]:
        """κ, α and β."""
        return self.curves, self.rate, self.beta

    def choose(self, click: Click) -> "Momentum":
        share, beta = click["x"] * self.curves / 4, click["y"]
        return replace(self, alpha=min(1.0, max(0.0, share)), beta=min(LARGEST_BETA, max(0.0, beta)))

    def stage(self) -> Stage:
        return Stage(
            [
                Plot(
                    "map",
                    map_figure(*self.point),
                    _("Factor per step over learning rate and momentum, with the stability edge"),
                    self.choose,
                    width=1.2,
                    least=260,
                ),
                Plot("errors", error_figure(*self.point), _("Distance to the minimum against the step")),
            ]
        )

    def below(self) -> None:
        note(self, "momentum")
        show_formula(formula(*self.point))
        rows = table(*self.point)
        st.dataframe(rows, hide_index=True)
        checked_against(checks(*self.point))
        take_with_you(self, lambda: rows, lambda: map_figure(*self.point), snippet(*self.point))


def map_figure(condition: float, rate: float, beta: float) -> go.Figure:
    rates = torch.linspace(0, 4 / condition, CELLS, dtype=torch.float64)
    betas = torch.linspace(0, 1, CELLS, dtype=torch.float64)
    damping = []
    for curvature in (1.0, condition):
        name = _("critical damping, λ = {value}").format(value=f"{curvature:.4g}")
        damping.append((rates.numpy(), critical_beta(rates, curvature).numpy(), name))
    best, descent = best_momentum(condition), best_gradient_descent(condition)
    points = [
        (rate, beta, _("here")),
        (best.rate, best.beta, _("best momentum")),
        (descent.rate, 0.0, _("best without")),
    ]
    return convergence_heatmap(
        rates.numpy(),
        betas.numpy(),
        convergence_map(rates, betas, condition).numpy(),
        stability_edge(betas, condition).numpy(),
        damping,
        points,
    )


def error_figure(condition: float, rate: float, beta: float) -> go.Figure:
    best, descent = best_momentum(condition), best_gradient_descent(condition)
    times = np.arange(STEPS + 1)
    lines = []
    for name, place, point in (
        (_("here"), SPOTS[0], (rate, beta)),
        (_("best momentum"), SPOTS[1], (best.rate, best.beta)),
        (_("best without"), SPOTS[2], (descent.rate, 0.0)),
    ):
        lines.append(Curve(name, place, times, distances(*point, condition)))
    return curves(lines, _("Step"), _("Distance to the minimum"), y_log=True, y_range=(-8, 3))


def formula(condition: float, rate: float, beta: float) -> str:
    """The stability condition and both factors, with the present numbers."""
    both = [radius(rate, beta, curvature) for curvature in (1.0, condition)]
    sign = "<" if rate * condition < 2 + 2 * beta else r"\ge"
    return (
        r"\begin{aligned}"
        rf"\alpha\lambda_{{\max}}={rate:.4g}\times {condition:.4g}={rate * condition:.4g}\ "
        rf"&{sign}\ 2+2\beta={2 + 2 * beta:.4g}\\"
        rf"|\sigma(\lambda=1)|={both[0]:.4f},\quad|\sigma(\lambda=\kappa)|&={both[1]:.4f},"
        rf"\quad\sqrt\beta={beta**0.5:.4f}\end{{aligned}}"
    )


def radius(rate: float, beta: float, curvature: float) -> float:
    alpha, b = (torch.tensor(value, dtype=torch.float64) for value in (rate, beta))
    return spectral_radius(alpha, b, curvature).item()


@lru_cache(maxsize=256)
def distances(rate: float, beta: float, condition: float) -> np.ndarray:
    """To the minimum after each step of torch.optim.SGD."""
    return library_path(rate, beta, condition, STEPS).norm(dim=-1).clamp(1e-12, 1e12).numpy()


@lru_cache(maxsize=256)
def steps_needed(rate: float, beta: float, condition: float) -> int | None:
    """Until both coordinates are at most 10⁻⁶; None within 2,000 steps."""
    below = library_path(rate, beta, condition, 2_000).abs().amax(-1) <= 1e-6
    return int(below.int().argmax()) if below.any() else None


def table(condition: float, rate: float, beta: float) -> pd.DataFrame:
    best, descent = best_momentum(condition), best_gradient_descent(condition)
    rows = []
    for name, alpha, b in (
        (_("here"), rate, beta),
        (_("best momentum"), best.rate, best.beta),
        (_("best without"), descent.rate, 0.0),
    ):
        factor = max(radius(alpha, b, 1.0), radius(alpha, b, condition))
        needed = steps_needed(alpha, b, condition)
        rows.append(
            {
                _("Point"): name,
                "α": f"{alpha:.4g}",
                "β": f"{b:.4f}",
                _("Factor per step"): f"{factor:.4f}",
                _("Steps to 10⁻⁶"): _("never") if needed is None else str(needed),
                _("ln 10⁶ ÷ −ln of the factor"): f"{np.log(1e6) / -np.log(factor):.0f}"
                if 0 < factor < 1
                else "∞",
            }
        )
    return pd.DataFrame(rows)


def checks(condition: float, rate: float, beta: float) -> list[Check]:
    matrices = [
        torch.tensor([[1 - rate * c, -rate * beta], [c, beta]], dtype=torch.float64)
        for c in (1.0, condition)
    ]
    ours_of = [radius(rate, beta, curvature) for curvature in (1.0, condition)]
    theirs = [torch.linalg.eigvals(matrix).abs().max().item() for matrix in matrices]
    eigen = max(abs(left - right) for left, right in zip(ours_of, theirs, strict=True))
    ours, library = (make(rate, beta, condition, 30) for make in (written_out_path, library_path))
    gap = ((ours - library).abs().max() / library.abs().max()).item()
    return [
        Check("torch.linalg.eigvals", eigen, 1e-6),
        Check(_("the recursion with torch.optim.SGD, 30 steps, relative"), gap, 1e-9),
    ]


def snippet(condition: float, rate: float, beta: float) -> str:
    """Python that repeats the numbers of the first row."""
    return f"""import torch

from models.optimizers.momentum import best_momentum, library_path, spectral_radius

alpha, beta = torch.tensor({rate!r}).double(), torch.tensor({beta!r}).double()
print([spectral_radius(alpha, beta, curvature).item() for curvature in (1.0, {condition!r})])
print(best_momentum({condition!r}))
print(library_path({rate!r}, {beta!r}, {condition!r}, {STEPS}).norm(dim=-1))
"""
