"""Generalised advantage estimation: rewards and a critic's values to advantages, step by step."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import text_field
from components.figures.curves import Curve, curves
from components.figures.policy import grouped_bars
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.words import _
from models.errors import InputError
from models.policy.gae import advantages, temporal_differences, whitened
from models.tables import numbers, parse_grid

LIVE = ("gae_live",)
SETTLED = (*LIVE, "gae_facts")
MOST_STEPS = 64
LAMBDAS = np.linspace(0, 1, 41)


@panel
def generalised_advantages(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text_field(_("Rewards r by step"), f"{name}_gae_rewards", page.default("gae_rewards"), width=330)
        text_field(_("The critic's values V"), f"{name}_gae_values", page.default("gae_values"), width=330)
        live_slider("γ", f"{name}_discount", 0.0, 1.0, 1.0, 0.01, live=LIVE, settled=SETTLED)
        live_slider("λ", f"{name}_lambda", 0.0, 1.0, 0.95, 0.01, live=LIVE, settled=SETTLED)
    gae_live(page)
    page.note("gae")
    gae_facts(page)


def steps_now(page: Page) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and values as numbers. Raises InputError on what is none."""
    state, name = st.session_state, page.name
    rewards, values = (
        numbers(parse_grid(state.get(f"{name}_{key}", page.default(key))), 1, MOST_STEPS)[0]
        for key in ("gae_rewards", "gae_values")
    )
    if len(rewards) != len(values):
        raise InputError(
            "There are {rewards} rewards and {values} values; each step needs one of both.",
            rewards=len(rewards),
            values=len(values),
        )
    return rewards, values


def factors(page: Page) -> tuple[float, float]:
    name = page.name
    return slider_value(f"{name}_discount", 0.0, 1.0, 1.0), slider_value(f"{name}_lambda", 0.0, 1.0, 0.95)


@live_panel
def gae_live(page: Page) -> None:
    rewards, values = steps_now(page)
    discount, decay = factors(page)
    left, right = st.columns(2, gap="medium")
    with left:
        live_figure(
            step_figure(rewards, values, discount, decay), f"{page.name}_gae_steps",
            _("Temporal differences and advantages by step"),
        )  # fmt: skip
    with right:
        live_figure(
            decay_figure(rewards, values, discount, decay), f"{page.name}_gae_decay",
            _("Advantage of the first, the middle and the last step against λ"),
        )  # fmt: skip


def step_figure(rewards: torch.Tensor, values: torch.Tensor, discount: float, decay: float) -> go.Figure:
    series = {
        "δ": temporal_differences(rewards, values, discount).numpy(),
        _("advantage A"): advantages(rewards, values, discount, decay).numpy(),
        _("A at λ = 1"): advantages(rewards, values, discount, 1.0).numpy(),
    }
    top = 1.15 * max(1e-3, *(float(np.abs(part).max()) for part in series.values()))
    names = [str(step + 1) for step in range(len(rewards))]
    return grouped_bars(series, names, _("By step"), limits=(-top, top), height=400)


def decay_figure(rewards: torch.Tensor, values: torch.Tensor, discount: float, decay: float) -> go.Figure:
    found = np.array([advantages(rewards, values, discount, float(each)).numpy() for each in LAMBDAS])
    places = dict.fromkeys((0, len(rewards) // 2, len(rewards) - 1))
    lines = [
        Curve(_("step {number}").format(number=place + 1), index, LAMBDAS, found[:, place])
        for index, place in enumerate(places)
    ]
    at = advantages(rewards, values, discount, decay).numpy()
    lines += [
        Curve(f"{at[place]:+.4f}", index, np.array([decay]), at[[place]], markers=True)
        for index, place in enumerate(places)
    ]
    edge = 0.1 + float(np.abs(found).max())
    return curves(lines, "λ", _("Advantage"), x_range=(0, 1), y_range=(-edge, edge), height=400)


@panel
def gae_facts(page: Page) -> None:
    rewards, values = steps_now(page)
    discount, decay = factors(page)
    deltas = temporal_differences(rewards, values, discount)
    found = advantages(rewards, values, discount, decay)
    following = float(values[1]) if len(values) > 1 else 0.0
    behind = float(found[1]) if len(found) > 1 else 0.0
    st.latex(
        rf"\begin{{aligned}}\delta_1&=r_1+\gamma V_2-V_1\\"
        rf"&={float(rewards[0]):.4g}+{discount:.2f}\cdot{following:.4g}"
        rf"-{float(values[0]):.4g}={float(deltas[0]):.5g}\\[4pt]A_1&=\delta_1+\gamma\lambda A_2\\"
        rf"&={float(deltas[0]):.5g}+{discount * decay:.4g}\cdot({behind:.5g})"
        rf"={float(found[0]):.5g}\end{{aligned}}"
    )
    table = pd.DataFrame(
        {
            _("Step"): range(1, len(rewards) + 1),
            "r": rewards.numpy(),
            "V": values.numpy(),
            "δ": deltas.numpy(),
            "A": found.numpy(),
            _("return A + V"): (found + values).numpy(),
            _("whitened A"): whitened(found).numpy(),
        }
    )
    st.dataframe(table, hide_index=True, width="stretch")
    checked_against([system_check(deltas, found, discount * decay)])
    take_with_you(
        f"{page.name}_gae",
        lambda: table,
        lambda: step_figure(rewards, values, discount, decay),
        snippet(rewards, values, discount, decay),
    )


def system_check(deltas: torch.Tensor, found: torch.Tensor, factor: float) -> Check:
    """(I − γλ·shift) A = δ, solved as a whole."""
    system = torch.eye(len(deltas), dtype=torch.float64)
    system -= factor * torch.diag(torch.ones(len(deltas) - 1, dtype=torch.float64), 1)
    theirs = torch.linalg.solve_triangular(system, deltas[:, None], upper=True)[:, 0]
    return Check(
        _("torch.linalg.solve_triangular of all steps at once"), float((theirs - found).abs().max()), 1e-9
    )


def snippet(rewards: torch.Tensor, values: torch.Tensor, discount: float, decay: float) -> str:
    return f"""import torch

from models.policy.gae import advantages

rewards, values = torch.tensor({rewards.tolist()!r}), torch.tensor({values.tolist()!r})
print(advantages(rewards, values, {discount!r}, {decay!r}))
"""
