"""Momentum on a quadratic: which learning rate and β converge, how fast, and where it is best."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.optimizer_curves import Curve, convergence_heatmap, curves
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.take.optimizers import momentum as momentum_script
from components.words import _
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
LIVE = ("momentum_map",)
SETTLED = (*LIVE, "momentum_numbers")


@panel
def momentum_on_quadratics(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True):
        live_slider(
            _("Condition number κ"),
            f"{name}_curves",
            1.0,
            1000.0,
            20.0,
            log=True,
            live=LIVE,
            settled=SETTLED,
        )
        live_slider(
            _("Learning rate, as a share of 4/κ"), f"{name}_alpha", 0.0, 1.0, 0.25, 0.005,
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
        live_slider(_("Momentum β"), f"{name}_beta", 0.0, 0.99, 0.6, 0.005, live=LIVE, settled=SETTLED)
    momentum_map(page)
    page.note("momentum")
    momentum_numbers(page)


def settings(page: Page) -> tuple[float, float, float]:
    """κ, α and β as the sliders stand. 4/κ is the edge at β = 1: beyond it nothing converges."""
    condition = slider_value(f"{page.name}_curves", 1.0, 1000.0, 20.0)
    rate = max(1e-9, slider_value(f"{page.name}_alpha", 0.0, 1.0, 0.25) * 4 / condition)
    return condition, rate, slider_value(f"{page.name}_beta", 0.0, 0.99, 0.6)


@live_panel
def momentum_map(page: Page) -> None:
    condition, rate, beta = settings(page)
    left, right = st.columns([3, 2], gap="medium")

    def choose_point(click: dict) -> None:
        st.session_state[f"{page.name}_alpha"] = min(1.0, max(0.0, click["x"] * condition / 4))
        st.session_state[f"{page.name}_beta"] = min(0.99, max(0.0, click["y"]))
        st.rerun()

    with left:
        live_figure(
            map_figure(condition, rate, beta),
            f"{page.name}_map",
            _("Factor a step over learning rate and momentum, with the stability edge"),
            choose_point,
        )
    with right:
        live_figure(
            error_figure(condition, rate, beta),
            f"{page.name}_errors",
            _("Distance to the minimum against the step"),
        )


def map_figure(condition: float, rate: float, beta: float) -> go.Figure:
    rates = torch.linspace(0, 4 / condition, CELLS, dtype=torch.float64)
    betas = torch.linspace(0, 1, CELLS, dtype=torch.float64)
    factors = convergence_map(rates, betas, condition)
    damping = [
        (rates.numpy(), critical_beta(rates, curvature).numpy(), _("critical damping, λ = {value}").format(
            value=f"{curvature:.4g}"))
        for curvature in (1.0, condition)
    ]  # fmt: skip
    best = best_momentum(condition)
    descent = best_gradient_descent(condition)
    points = [
        (rate, beta, _("here")),
        (best.rate, best.beta, _("best momentum")),
        (descent.rate, 0.0, _("best without")),
    ]
    return convergence_heatmap(
        rates.numpy(),
        betas.numpy(),
        factors.numpy(),
        stability_edge(betas, condition).numpy(),
        damping,
        points,
    )


def error_figure(condition: float, rate: float, beta: float) -> go.Figure:
    best, descent = best_momentum(condition), best_gradient_descent(condition)
    times = np.arange(STEPS + 1)
    lines = []
    for name, place, point in (
        (_("here"), 1, (rate, beta)),
        (_("best momentum"), 2, (best.rate, best.beta)),
        (_("best without"), 3, (descent.rate, 0.0)),
    ):
        lines.append(Curve(name, place, times, distances(*point, condition)))
    return curves(lines, _("Step"), _("Distance to the minimum"), y_log=True, y_range=(-8, 3), height=560)


@panel
def momentum_numbers(page: Page) -> None:
    condition, rate, beta = settings(page)
    both = [radius(rate, beta, curvature) for curvature in (1.0, condition)]
    sign = "<" if rate * condition < 2 + 2 * beta else r"\ge"
    st.latex(
        r"\begin{aligned}"
        rf"\alpha\lambda_{{\max}}={rate:.4g}\times {condition:.4g}={rate * condition:.4g}\ "
        rf"&{sign}\ 2+2\beta={2 + 2 * beta:.4g}\\"
        rf"|\sigma(\lambda=1)|={both[0]:.4f},\quad|\sigma(\lambda=\kappa)|&={both[1]:.4f},"
        rf"\quad\sqrt\beta={beta**0.5:.4f}\end{{aligned}}"
    )
    rows = table(condition, rate, beta)
    st.dataframe(rows, hide_index=True)
    checked_against(checks(condition, rate, beta))
    take_with_you(
        f"{page.name}_momentum",
        lambda: rows,
        lambda: map_figure(condition, rate, beta),
        lambda: momentum_script(condition, rate, beta, both, best_momentum(condition), STEPS),
    )


def radius(rate: float, beta: float, curvature: float) -> float:
    alpha, b = (torch.tensor(value, dtype=torch.float64) for value in (rate, beta))
    return spectral_radius(alpha, b, curvature).item()


@st.cache_data(max_entries=256, show_spinner=False)
def distances(rate: float, beta: float, condition: float) -> np.ndarray:
    """To the minimum after each step of torch.optim.SGD."""
    return library_path(rate, beta, condition, STEPS).norm(dim=-1).clamp(1e-12, 1e12).numpy()


@st.cache_data(max_entries=256, show_spinner=False)
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
                "": name,
                "α": f"{alpha:.4g}",
                "β": f"{b:.4f}",
                _("Factor a step"): f"{factor:.4f}",
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
    found = [radius(rate, beta, curvature) for curvature in (1.0, condition)]
    theirs = [torch.linalg.eigvals(matrix).abs().max().item() for matrix in matrices]
    eigen = max(abs(one - other) for one, other in zip(found, theirs, strict=True))
    ours, library = (make(rate, beta, condition, 30) for make in (written_out_path, library_path))
    gap = ((ours - library).abs().max() / library.abs().max()).item()
    return [
        Check("torch.linalg.eigvals", eigen, 1e-6),
        Check(_("the recursion with torch.optim.SGD, 30 steps, relative"), gap, 1e-9),
    ]
