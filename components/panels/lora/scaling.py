"""α/r or α/√r: three quantities against the rank, and what each rule keeps constant."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.curves import Curve, curves
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.lora.setup import scaling_label
from components.words import _
from models.lora.adapter import SCALINGS, Scaling, scale
from models.lora.scaling import FirstStep, first_step

RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
WIDTH = 128
ALPHA, RATE = (1.0, 128.0, 16.0), (1e-5, 1e-2, 1e-4)
PARTS = ("gradient", "change", "progress")
LIMITS = {"gradient": (1e-3, 1e2), "change": (1e-5, 1e2), "progress": (1e-6, 1e1)}


def part_label(part: str) -> str:
    return {
        "gradient": _("‖∇B‖ before the step"),
        "change": _("‖ΔW‖ after it"),
        "progress": _("progress along −G"),
    }[part]


@st.cache_data(max_entries=64, show_spinner=False)
def _unit(rule: Scaling, seed: int) -> FirstStep:
    """The step for α = 1 and a learning rate of 1: all three are proportional to them."""
    return first_step(WIDTH, RANKS, 1.0, rule, 1.0, seed)


def step_now(page: Page, rule: Scaling) -> FirstStep:
    """∇B grows with α, ΔW and progress with α·η: exactly, as signs do not change."""
    alpha = slider_value(f"{page.name}_scale_alpha", *ALPHA)
    rate = slider_value(f"{page.name}_scale_rate", *RATE)
    unit = _unit(rule, st.session_state.get(f"{page.name}_seed", 0))
    return FirstStep(
        unit.ranks, alpha * unit.gradient, alpha * rate * unit.change, alpha * rate * unit.progress
    )


@panel
def referee(page: Page) -> None:
    live, settled = ("scaling_figures",), ("scaling_figures", "scaling_words")
    with st.container(horizontal=True):
        live_slider("α", f"{page.name}_scale_alpha", *ALPHA, log=True, live=live, settled=settled)
        live_slider(
            _("Learning rate"), f"{page.name}_scale_rate", *RATE, log=True, live=live, settled=settled
        )
    scaling_figures(page)
    page.note("scaling")
    scaling_words(page)


@live_panel
def scaling_figures(page: Page) -> None:
    steps = {rule: step_now(page, rule) for rule in SCALINGS}
    for column, part in zip(st.columns(3, gap="small"), PARTS, strict=True):
        with column:
            live_figure(
                figure_of(steps, part),
                f"{page.name}_{part}",
                _("{quantity} against the rank").format(quantity=part_label(part)),
            )


def figure_of(steps: dict[Scaling, FirstStep], part: str) -> go.Figure:
    shown = [
        Curve(
            scaling_label(rule),
            place,
            np.array(RANKS),
            np.maximum(getattr(step, part).numpy(), 1e-12),
            markers=True,
        )
        for place, (rule, step) in enumerate(steps.items())
    ]
    return curves(
        shown,
        _("Rank"),
        part_label(part),
        x_range=(0.8, 160),
        y_range=LIMITS[part],
        x_log=True,
        y_log=True,
        height=380,
    )


@panel
def scaling_words(page: Page) -> None:
    """Slopes in the logarithms, beside what the formulas say; the check by torch."""
    rows = []
    for rule in SCALINGS:
        step = step_now(page, rule)
        row: dict[str, str] = {_("Scale s"): scaling_label(rule)}
        row |= {part_label(part): _power(getattr(step, part)) for part in PARTS}
        alpha = slider_value(f"{page.name}_scale_alpha", *ALPHA)
        row |= {f"s · r={rank}": f"{scale(alpha, rank, rule):.3g}" for rank in (8, 64)}
        rows.append(row)
    left, right = st.columns(2, gap="medium")
    with left:
        st.latex(
            r"\begin{aligned}\nabla B&=s\,GA^\top,\quad B_1=-\eta\,\mathrm{sign}(\nabla B)\\[6pt]"
            r"\langle\Delta W,-G\rangle&=\eta\,s\textstyle\sum|GA^\top|"
            r"\;\propto\;\eta\,s\,r\end{aligned}"
        )
    with right:
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    checked_against(checks(page))
    take_with_you(
        f"{page.name}_scaling",
        lambda: table(page),
        lambda: figure_of({rule: step_now(page, rule) for rule in SCALINGS}, "progress"),
        snippet(page),
    )


def _power(values: torch.Tensor) -> str:
    """The exponent of r that fits best from rank 8 on."""
    ranks = torch.tensor(RANKS[3:], dtype=torch.float64).log()
    logs = values[3:].double().clamp_min(1e-300).log()
    slope = ((ranks - ranks.mean()) * (logs - logs.mean())).sum() / (ranks - ranks.mean()).square().sum()
    return f"∝ r^{float(slope):.2f}"


def checks(page: Page) -> list[Check]:
    """The largest rank again with torch.autograd and one step of torch.optim.Adam."""
    alpha = slider_value(f"{page.name}_scale_alpha", *ALPHA)
    rate = slider_value(f"{page.name}_scale_rate", *RATE)
    generator = torch.Generator().manual_seed(st.session_state.get(f"{page.name}_seed", 0))
    left, right = (torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0] for _side in range(2))
    gradient = left / torch.arange(1, WIDTH + 1) @ right.T
    a = (2 * torch.rand(max(RANKS), WIDTH, generator=generator) - 1) / WIDTH**0.5
    b = torch.zeros(WIDTH, RANKS[-1], requires_grad=True)
    s = scale(alpha, RANKS[-1])
    optimizer = torch.optim.Adam([b], lr=rate, eps=1e-30)
    (s * (b @ a) * gradient).sum().backward()
    optimizer.step()
    ours = step_now(page, "alpha/r")
    change = s * (b @ a).detach()
    gaps = [abs(float(change.norm() / ours.change[-1]) - 1)]
    if b.grad is not None:
        gaps.append(abs(float(b.grad.norm() / ours.gradient[-1]) - 1))
    what = _("torch.autograd and torch.optim.Adam at rank {rank}, relative").format(rank=RANKS[-1])
    return [Check(what, max(gaps), 1e-4)]


def table(page: Page) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame({"scaling": rule, "rank": RANKS} | {p: getattr(step, p).numpy() for p in PARTS})
            for rule in SCALINGS
            for step in [step_now(page, rule)]
        ]
    )


def snippet(page: Page) -> str:
    """Python that repeats the three curves of both rules."""
    alpha = slider_value(f"{page.name}_scale_alpha", *ALPHA)
    rate = slider_value(f"{page.name}_scale_rate", *RATE)
    seed = st.session_state.get(f"{page.name}_seed", 0)
    return f"""from models.lora.scaling import first_step

for rule in {SCALINGS!r}:
    print(first_step({WIDTH}, {RANKS!r}, {alpha!r}, rule, {rate!r}, {seed!r}))
"""
