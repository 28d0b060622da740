"""α/r or α/√r: three quantities against the rank, and what each rule keeps constant."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.curves import Curve, curves
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.lora.settings import Seeded, scaling_label
from components.settings import slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.lora.adapter import SCALINGS, Scaling, scale
from models.lora.scaling import FirstStep, first_step

RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
WIDTH = 128
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


@dataclass(frozen=True)
class ScaleByRank(Seeded):
    """Three quantities against the rank, and what each rule keeps constant."""

    page, name = "lora", "scaling"
    scale_alpha: float = slider(1.0, 128.0, 16.0, log=True, label="α")
    scale_rate: float = slider(1e-5, 1e-2, 1e-4, log=True, label=mark("Learning rate"))

    def step(self, rule: Scaling) -> FirstStep:
        """∇B grows with α, ΔW and progress with α·η: exactly, as signs do not change."""
        alpha, unit = self.scale_alpha, _unit(rule, self.seed)
        both = alpha * self.scale_rate
        return FirstStep(unit.ranks, alpha * unit.gradient, both * unit.change, both * unit.progress)

    def steps(self) -> dict[Scaling, FirstStep]:
        return {rule: self.step(rule) for rule in SCALINGS}

    def stage(self) -> Stage:
        steps, against = self.steps(), _("{quantity} against the rank")
        return Stage(
            [
                Plot(part, figure_of(steps, part), against.format(quantity=part_label(part)))
                for part in PARTS
            ]
        )

    def below(self) -> None:
        """Slopes in the logarithms, beside what the formulas say; the check by torch."""
        note(self, "scaling")
        left, right = st.columns(2, gap="medium")
        with left:
            show_formula(
                r"\begin{aligned}\nabla B&=s\,GA^\top,\quad B_1=-\eta\,\mathrm{sign}(\nabla B)\\[6pt]"
                r"\langle\Delta W,-G\rangle&=\eta\,s\textstyle\sum|GA^\top|"
                r"\;\propto\;\eta\,s\,r\end{aligned}"
            )
        with right:
            st.dataframe(slopes(self), hide_index=True, width="stretch")
        checked_against(checks(self))
        take_with_you(
            self,
            lambda: table(self.steps()),
            lambda: figure_of(self.steps(), "progress"),
            snippet(self.scale_alpha, self.scale_rate, self.seed),
        )


def slopes(view: ScaleByRank) -> pd.DataFrame:
    """The power of r that each quantity follows under each rule."""
    rows = []
    for rule, step in view.steps().items():
        row: dict[str, str] = {_("Scale s"): scaling_label(rule)}
        row |= {part_label(part): _power(getattr(step, part)) for part in PARTS}
        row |= {f"s · r={rank}": f"{scale(view.scale_alpha, rank, rule):.3g}" for rank in (8, 64)}
        rows.append(row)
    return pd.DataFrame(rows)


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


def _power(values: torch.Tensor) -> str:
    """The exponent of r that fits best from rank 8 on."""
    ranks = torch.tensor(RANKS[3:], dtype=torch.float64).log()
    logs = values[3:].double().clamp_min(1e-300).log()
    slope = ((ranks - ranks.mean()) * (logs - logs.mean())).sum() / (ranks - ranks.mean()).square().sum()
    return f"∝ r^{float(slope):.2f}"


def checks(view: ScaleByRank) -> list[Check]:
    """The largest rank again with torch.autograd and one step of torch.optim.Adam."""
    alpha, rate = view.scale_alpha, view.scale_rate
    generator = torch.Generator().manual_seed(view.seed)
    left, right = (torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0] for _side in range(2))
    gradient = left / torch.arange(1, WIDTH + 1) @ right.T
    a = (2 * torch.rand(max(RANKS), WIDTH, generator=generator) - 1) / WIDTH**0.5
    b = torch.zeros(WIDTH, RANKS[-1], requires_grad=True)
    s = scale(alpha, RANKS[-1])
    optimizer = torch.optim.Adam([b], lr=rate, eps=1e-30)
    (s * (b @ a) * gradient).sum().backward()
    optimizer.step()
    ours = view.step("alpha/r")
    change = s * (b @ a).detach()
    gaps = [abs(float(change.norm() / ours.change[-1]) - 1)]
    if b.grad is not None:
        gaps.append(abs(float(b.grad.norm() / ours.gradient[-1]) - 1))
    what = _("torch.autograd and torch.optim.Adam at rank {rank}, relative").format(rank=RANKS[-1])
    return [Check(what, max(gaps), 1e-4)]


def table(steps: dict[Scaling, FirstStep]) -> pd.DataFrame:
    """A row a rule and rank."""
    return pd.concat(
        [
            pd.DataFrame({"scaling": rule, "rank": RANKS} | {p: getattr(step, p).numpy() for p in PARTS})
            for rule, step in steps.items()
        ]
    ).set_index("scaling")


def snippet(alpha: float, rate: float, seed: int) -> str:
    """Python that repeats the three curves of both rules."""
    return f"""from models.lora.scaling import first_step

for rule in {SCALINGS!r}:
    print(first_step({WIDTH}, {RANKS!r}, {alpha!r}, rule, {rate!r}, {seed!r}))
"""
