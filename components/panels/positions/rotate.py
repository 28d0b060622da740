"""The rotary microscope: one query and one key of a real head, pair by pair, before and after rotation."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import whole_number
from components.figures.positions import curves, pair_at, pair_bars, pair_circles
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.network.arithmetic import in_code
from components.panels.network.selection import Selection
from components.panels.network.text import Choice
from components.panels.positions.checks import rotation_checks
from components.panels.positions.head import RealHead, choose_head, real_head, tokens_now
from components.take.positions import rotate as rotate_script
from components.words import _
from models.rotary.rope import (
    PairScores,
    pair_products,
    rotation,
    score_at_distances,
    scores_by_pair,
    to_pairs,
)
from models.rotary.rope import rotate as rotate_vectors

LIVE, SETTLED = ("rotate_live",), ("rotate_live", "rotate_numbers")
NEAR, FAR = 64, 256  # distances that the curve shows, before and behind the key


@panel
def rotate(page: Page, choice: Choice) -> None:
    """Choose a head and two tokens, move them, and see each pair of dimensions turn."""
    name, trace = page.name, choice.trace
    selection = choose_head(page, trace, tokens=True)
    with st.container(horizontal=True):
        live_slider(
            _("Move the query by"), f"{name}_moved", -128.0, 256.0, 0.0, 1,
            unit=_("positions"), live=LIVE, settled=SETTLED,
            help=_("The query's own position is 0 here; the key stays where it is."),
        )  # fmt: skip
        live_slider(
            _("Move the whole text by"), f"{name}_offset", 0.0, 1024.0, 0.0, 1,
            unit=_("positions"), live=LIVE, settled=SETTLED,
            help=_("Query and key turn further, both by the same angles."),
        )  # fmt: skip
    rotate_live(page, choice, selection)
    rotate_numbers(page, choice, selection)


@dataclass(frozen=True, eq=False)
class Meeting:
    """One query and one key, unrotated, and the positions at which they meet."""

    head: RealHead
    query: torch.Tensor
    key: torch.Tensor
    tokens: tuple[int, int]  # of the text
    at: tuple[int, int]  # the positions that the sliders give them

    @property
    def distance(self) -> int:
        return self.at[0] - self.at[1]

    @property
    def scores(self) -> PairScores:
        rotary = self.head.rotary
        query_at, key_at = (torch.tensor([position]) for position in self.at)
        return scores_by_pair(
            self.query[None],
            self.key[None],
            query_at,
            key_at,
            rotary.frequency,
            rotary.layout,
            rotary.factor,
        )

    def turned(self, vector: torch.Tensor, position: int) -> torch.Tensor:
        """Pairs of the vector at a position."""
        rotary = self.head.rotary
        turn = rotation(torch.tensor([position]), rotary.frequency, rotary.layout, rotary.factor)
        return self.pairs(rotate_vectors(vector[None], turn)[0])

    def pairs(self, vector: torch.Tensor) -> torch.Tensor:
        return to_pairs(vector[: 2 * len(self.head.rotary.frequency)], self.head.rotary.layout)


def meeting(page: Page, choice: Choice, selection: Selection) -> Meeting:
    head = real_head(choice, selection)
    query, key = tokens_now(page, choice.trace, selection)
    moved, offset = (round(st.session_state[f"{page.name}_{name}"]) for name in ("moved", "offset"))
    return Meeting(
        head, head.query[query], head.key[key], (query, key), (query + moved + offset, key + offset)
    )


@live_panel
def rotate_live(page: Page, choice: Choice, selection: Selection) -> None:
    """The circles; beside them the share of each pair, and the score at every distance."""
    now = meeting(page, choice, selection)
    pairs = len(now.head.rotary.frequency)
    chosen = min(pairs - 1, st.session_state.get(f"{page.name}_pair", 4))

    def choose_pair(click: dict) -> None:
        st.session_state[f"{page.name}_pair"] = pair_at(click["x"], click["y"], pairs)
        st.rerun(SETTLED)

    def choose_bar(click: dict) -> None:
        st.session_state[f"{page.name}_pair"] = min(pairs - 1, int(click["point"] or 0))
        st.rerun(SETTLED)

    left, right = st.columns([1, 1], gap="medium")
    with left:
        alt = _("Each pair of query and key on its circle, before and after rotation")
        live_figure(circles(now, chosen), f"{page.name}_circles", alt, choose_pair)
    with right:
        live_figure(bars(now), f"{page.name}_pairs", _("What each pair adds to the score"), choose_bar)
        figure = distances(now)
        alt = _("The score of this query and key at every distance")
        live_figure(figure, f"{page.name}_curve", alt, rest=120)


def circles(now: Meeting, chosen: int) -> go.Figure:
    query, key = (
        (now.pairs(vector).numpy(), now.turned(vector, position).numpy())
        for vector, position in ((now.query, now.at[0]), (now.key, now.at[1]))
    )
    return pair_circles(query, key, chosen)


def bars(now: Meeting) -> go.Figure:
    products = pair_products(now.query, now.key, len(now.head.rotary.frequency), now.head.rotary.layout)
    products = products * now.head.rotary.factor**2
    scores = now.scores
    limit = max(float(products.abs().max()), abs(float(scores.unrotated)), 1e-6)
    return pair_bars(
        scores.pairs[0, 0].numpy(),
        products.real.numpy(),
        float(scores.unrotated),
        1.05 * limit,
        float(scores.total),
    )


def distances(now: Meeting) -> go.Figure:
    """The score of this query and key against their distance, a line where they stand."""
    rotary = now.head.rotary
    places = torch.arange(-NEAR, FAR + 1)
    scores = score_at_distances(now.query, now.key, places, rotary.frequency, rotary.layout, rotary.factor)
    limit = float(pair_products(now.query, now.key, len(rotary.frequency), rotary.layout).abs().sum())
    rest = abs(float(now.scores.unrotated))
    top = max(1e-6, limit * rotary.factor**2 + rest)
    return curves(
        {_("score"): scores.numpy()},
        _("Distance: query less key (now {distance})").format(distance=now.distance),
        "q·k",
        x=places.numpy(),
        x_now=now.distance,
        y_range=(-top, top),
        height=270,
    )


@panel
def rotate_numbers(page: Page, choice: Choice, selection: Selection) -> None:
    """One pair step by step, the sum, the comparisons, and things to take along."""
    now = meeting(page, choice, selection)
    page.note("rotate")
    st.markdown("##### " + _("The arithmetic of one pair of dimensions"))
    left, right = st.columns([1, 2], gap="medium")
    with left:
        pairs = len(now.head.rotary.frequency)
        pair = whole_number(_("Pair p"), 0, pairs - 1, f"{page.name}_pair", min(4, pairs - 1))
        st.markdown(
            _("Query `{query}` at position {m}, key `{key}` at position {n}").format(
                query=in_code(choice.trace.labels[now.tokens[0]]),
                key=in_code(choice.trace.labels[now.tokens[1]]),
                m=now.at[0],
                n=now.at[1],
            )
        )
    with right:
        st.latex(formula(now, pair))
    page.note("arithmetic")
    offset = round(st.session_state[f"{page.name}_offset"])
    checked_against(rotation_checks(choice, selection, now.head, offset))
    take_with_you(
        f"{page.name}_rotate",
        lambda: table(now),
        lambda: bars(now),
        lambda: rotate_script(
            choice.network,
            choice.trace,
            (selection.layer, selection.head),
            now.head.rotary,
            now.tokens,
            now.at,
            now.scores,
        ),
    )


def formula(now: Meeting, pair: int) -> str:
    """One pair's rotation and its part of the score, with the present numbers."""
    rotary, (m, n) = now.head.rotary, now.at
    theta, part = float(rotary.frequency[pair]), float(now.scores.pairs[0, 0, pair])
    product = pair_products(now.query, now.key, len(rotary.frequency), rotary.layout)[pair]
    length, phase = float(product.abs()) * rotary.factor**2, float(product.angle())
    cos, sin = np.cos((n - m) * theta), np.sin((n - m) * theta)
    lines = [
        rf"\theta_{{{pair}}}&={theta:.6g},\qquad 2\pi/\theta_{{{pair}}}={2 * np.pi / theta:,.1f}",
        rf"R_{{{n}-{m}}}&=\begin{{pmatrix}}{cos:.3f}&{-sin:.3f}\\{sin:.3f}&{cos:.3f}\end{{pmatrix}}",
        rf"\det R&={cos**2 + sin**2:.3f}",
        rf"s_{{{pair}}}&=|q_{{{pair}}}||k_{{{pair}}}|\cos(\varphi+(m-n)\,\theta_{{{pair}}})",
        rf"&={length:.4f}\cos({phase:.3f}+({m}-{n})\,{theta:.4g})",
        rf"&={part:.4f}",
        rf"q\cdot k&=\textstyle\sum_p s_p={float(now.scores.total):.4f}",
    ]
    return r"\begin{aligned}" + r"\\[4pt]".join(lines) + r"\end{aligned}"


def table(now: Meeting) -> pd.DataFrame:
    """Every pair in numbers."""
    rotary = now.head.rotary
    products = pair_products(now.query, now.key, len(rotary.frequency), rotary.layout)
    return pd.DataFrame(
        {
            "pair": np.arange(len(rotary.frequency)),
            "theta": rotary.frequency.numpy(),
            "length": products.abs().numpy(),
            "phase": products.angle().numpy(),
            "without_rotation": products.real.numpy(),
            "rotated": now.scores.pairs[0, 0].numpy(),
        }
    )
