"""Dead groups: how many answers agree by chance, what remains of a batch, what sampling anew costs."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import whole_number
from components.figures.curves import Curve, curves
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.words import _
from models.policy.dead_groups import dead_share, deadness, expected_signal
from models.policy.group_advantages import is_dead

LIVE = ("dead_live",)
SETTLED = (*LIVE, "dead_facts")
RATES = torch.linspace(0.005, 0.995, 100, dtype=torch.float64)
SIMULATED = 4_096  # groups


@panel
def dead_groups(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        live_slider(_("Pass rate p"), f"{name}_pass", 0.005, 0.995, 0.1, 0.005, live=LIVE, settled=SETTLED)
        live_slider(
            _("Answers in a group G"), f"{name}_size", 2.0, 64.0, 8.0, 1.0, live=LIVE, settled=SETTLED
        )
        live_slider(
            _("How much prompts differ"), f"{name}_spread", 0.0, 0.9, 0.0, 0.05,
            help=_("0: all prompts have the pass rate p. Towards 1: each is solved always or never."),
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
        whole_number(_("Groups in a batch"), 1, 100_000, f"{name}_batch", 64, width=150)
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    dead_live(page)
    page.note("dead")
    dead_facts(page)


def settings(page: Page) -> tuple[float, int, float]:
    name = page.name
    return (
        slider_value(f"{name}_pass", 0.005, 0.995, 0.1),
        round(slider_value(f"{name}_size", 2.0, 64.0, 8.0)),
        slider_value(f"{name}_spread", 0.0, 0.9, 0.0),
    )


def shares(rate: float, size: int, spread: float) -> tuple[float, float]:
    """P(all wrong) and P(all right), prompts alike or not."""
    if spread > 0:
        return dead_share(rate, spread, size)
    found = deadness(torch.tensor([rate], dtype=torch.float64), size)
    return float(found.all_wrong[0]), float(found.all_right[0])


@live_panel
def dead_live(page: Page) -> None:
    rate, size, spread = settings(page)
    left, right = st.columns(2, gap="medium")
    with left:
        live_figure(
            rate_figure(rate, size), f"{page.name}_dead_rates", _("Share of dead groups by pass rate")
        )
    with right:
        live_figure(
            size_figure(rate, size, spread),
            f"{page.name}_dead_sizes",
            _("Share of dead groups by group size"),
        )


def rate_figure(rate: float, size: int) -> go.Figure:
    """Over the pass rate: both ways to be dead, and how large an advantage is on average."""
    found, x = deadness(RATES, size), RATES.numpy()
    lines = [
        Curve(_("all wrong"), 1, x, found.all_wrong.numpy()),
        Curve(_("all right"), 2, x, found.all_right.numpy()),
        Curve(_("dead"), 0, x, found.dead.numpy()),
        Curve(_("mean |A| of an answer"), 3, x, expected_signal(RATES, size).numpy()),
        _mark(rate, float(deadness(torch.tensor([rate], dtype=torch.float64), size).dead[0])),
    ]
    return curves(
        lines, _("Pass rate p"), _("Share of groups, or |A|"), x_range=(0, 1), y_range=(0, 1.05), height=400
    )


def size_figure(rate: float, size: int, spread: float) -> go.Figure:
    """Over G: dead groups, and the groups that dynamic sampling draws for each that it keeps."""
    sizes = np.arange(2, 65)
    dead = np.array([sum(shares(rate, int(count), spread)) for count in sizes])
    lines = [
        Curve(_("dead"), 0, sizes, dead),
        Curve(_("groups drawn for each that is kept ÷ 10"), 4, sizes, np.minimum(0.1 / (1 - dead), 9.9)),
        _mark(size, sum(shares(rate, size, spread))),
    ]
    return curves(
        lines,
        _("Answers in a group G"),
        _("Share of groups"),
        x_range=(2, 64),
        y_range=(0, 1.05),
        height=400,
    )


def _mark(x: float, y: float) -> Curve:
    return Curve(_("now"), 5, np.array([x]), np.array([y]), markers=True)


@panel
def dead_facts(page: Page) -> None:
    rate, size, spread = settings(page)
    wrong, right = shares(rate, size, spread)
    groups = st.session_state[f"{page.name}_batch"]
    alive = 1 - wrong - right
    if spread == 0:
        st.latex(
            rf"\begin{{aligned}}P&=(1-p)^G+p^G={1 - rate:.3f}^{{{size}}}+{rate:.3f}^{{{size}}}\\"
            rf"&={wrong:.4f}+{right:.4f}={wrong + right:.4f}\end{{aligned}}"
        )
    else:
        st.latex(rf"P=E[(1-p)^G]+E[p^G]={wrong:.4f}+{right:.4f}={wrong + right:.4f}")
    drawn = f"{1 / alive:.2f}" if alive > 0 else "∞"
    table = pd.DataFrame(
        {
            _("Groups in a batch"): [groups],
            _("of them alive"): [f"{groups * alive:.1f}"],
            _("Effective answers"): [f"{groups * size * alive:.0f} / {groups * size}"],
            _("Groups drawn for each that is kept"): [drawn],
            _("Answers sampled to fill the batch"): [f"{groups * size / alive:,.0f}" if alive > 0 else "∞"],
            _("Token mean diluted to"): [f"{100 * alive:.1f} %"],
        }
    )
    st.dataframe(table, hide_index=True, width="stretch")
    checked_against([simulation(rate, size, spread, st.session_state[f"{page.name}_seed"])])
    take_with_you(
        f"{page.name}_dead",
        lambda: rates_table(size),
        lambda: rate_figure(rate, size),
        snippet(rate, size, spread),
    )


def simulation(rate: float, size: int, spread: float, seed: int) -> Check:
    """Groups drawn at random by NumPy, counted; five standard deviations of that count are allowed."""
    generator = np.random.default_rng(seed)
    scale = np.inf if spread == 0 else 1 / spread - 1
    p = (
        np.full(SIMULATED, rate)
        if spread == 0
        else generator.beta(rate * scale, (1 - rate) * scale, SIMULATED)
    )
    rewards = torch.from_numpy((generator.random((SIMULATED, size)) < p[:, None]).astype(float))
    found = float(is_dead(rewards).double().mean())
    dead = sum(shares(rate, size, spread))
    allowed = 5 * (max(dead * (1 - dead), 1e-4) / SIMULATED) ** 0.5
    what = _("NumPy's random groups, {count} of them, share of dead ones").format(count=f"{SIMULATED:,}")
    return Check(what, abs(found - dead), allowed)


def rates_table(size: int) -> pd.DataFrame:
    found = deadness(RATES, size)
    return pd.DataFrame(
        {"p": RATES.numpy(), "all_wrong": found.all_wrong.numpy(), "all_right": found.all_right.numpy(),
         "draws": found.draws.numpy(), "signal": expected_signal(RATES, size).numpy()}
    )  # fmt: skip


def snippet(rate: float, size: int, spread: float) -> str:
    call = (
        f"dead_share({rate!r}, {spread!r}, {size})"
        if spread
        else f"deadness(torch.tensor([{rate!r}]), {size}).dead"
    )
    return f"""import torch

from models.policy.dead_groups import dead_share, deadness

print({call})
"""
