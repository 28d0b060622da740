"""The rotary microscope: one query and one key of a real head, pair by pair, before and after rotation."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components import controls
from components.figures.microscope import pair_at, pair_bars, pair_circles
from components.figures.positions import curves
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.network.arithmetic import in_code
from components.panels.positions.checks import other_frequencies, rotation_checks
from components.panels.positions.head import RealHead
from components.panels.positions.settings import ExplainsPair, RotaryHead
from components.settings import one_of, slider
from components.stage import Click, Plot, Stack, Stage
from components.takeaway import checked_against, take_with_you
from components.words import _, mark
from models.rotary.rope import (
    PairScores,
    pair_products,
    rotation,
    score_at_distances,
    scores_by_pair,
    to_pairs,
)
from models.rotary.rope import rotate as rotate_vectors

FURTHEST_BACK, FURTHEST_ON = 128, 256  # positions that the query can be moved by
NEAR, FAR = 64, 256  # distances that the curve shows at least


def tokens_of(view: "RotaryMicroscope") -> list[int]:
    return [-1, *range(view.trace.tokens_shown)]


def token_names(unset: str) -> Callable[["RotaryMicroscope"], Callable[[int], str]]:
    """Names of the text's tokens; ``unset`` (marked) where none is chosen."""

    def names(view: "RotaryMicroscope") -> Callable[[int], str]:
        labels = view.trace.labels
        return lambda index: f"{index} · {labels[index]}" if index >= 0 else _(unset)

    return names


@dataclass(frozen=True)
class RotaryMicroscope(ExplainsPair, RotaryHead):
    """Move a query and a key, and see each pair of their dimensions turn."""

    page, name, opens = "positions", "rotate", True
    moved: int = slider(
        -FURTHEST_BACK,
        FURTHEST_ON,
        0,
        1,
        label=mark("Move the query by"),
        unit=mark("positions"),
        help=mark("The query's own position is 0 here; the key stays where it is."),
    )
    offset: int = slider(
        0,
        1024,
        0,
        1,
        label=mark("Move the whole text by"),
        unit=mark("positions"),
        help=mark("Query and key turn further, both by the same angles."),
    )
    query: int = one_of(tokens_of, 10, label=mark("Query"), names_in=token_names(mark("the last token")))
    key: int = one_of(
        tokens_of, -1, label=mark("Key"), names_in=token_names(mark("the other token that it reads most"))
    )

    @property
    def pairs(self) -> int:
        return len(self.head.rotary.frequency)

    def stage(self) -> Stage:
        now = meeting(self)

        def choose_circle(click: Click) -> RotaryMicroscope:
            return replace(self, pair=pair_at(click["x"], click["y"], self.pairs))

        def choose_bar(click: Click) -> RotaryMicroscope:
            return replace(self, pair=min(self.pairs - 1, int(click["point"] or 0)))

        turned = _("Each pair of query and key on its circle, before and after rotation")
        added = _("What each pair adds to the score")
        anywhere = _("The score of this query and key at every distance")
        return Stage(
            [
                Plot("circles", circles(now, self.pair), turned, choose_circle, least=240),
                Stack(
                    [
                        Plot("pairs", bars(now), added, choose_bar),
                        Plot("curve", distances(now), anywhere, rest=120),
                    ]
                ),
            ]
        )

    def below(self) -> None:
        now = meeting(self)
        note(self, "rotate")
        pair_arithmetic(self, now)
        note(self, "arithmetic")
        if (most := other_frequencies(self, self.offset)) is not None:
            words = _(
                "This network turns its pairs at other speeds in texts that reach beyond {most} positions. "
                "Moved there, its scores are others; those shown are of the text where it stood."
            )
            st.info(words.format(most=most))
        checked_against(rotation_checks(self, self.offset))
        take_with_you(self, lambda: table(now), lambda: bars(now), snippet(self, now))


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

    @property
    def products(self) -> torch.Tensor:
        """q_p · conj(k_p) of each pair before rotation, without the factor."""
        rotary = self.head.rotary
        return pair_products(self.query, self.key, len(rotary.frequency), rotary.layout)

    def turned(self, vector: torch.Tensor, position: int) -> torch.Tensor:
        """Pairs of the vector at a position."""
        rotary = self.head.rotary
        turn = rotation(torch.tensor([position]), rotary.frequency, rotary.layout, rotary.factor)
        return self.pairs(rotate_vectors(vector[None], turn)[0])

    def pairs(self, vector: torch.Tensor) -> torch.Tensor:
        return to_pairs(vector[: 2 * len(self.head.rotary.frequency)], self.head.rotary.layout)


def meeting(view: RotaryMicroscope) -> Meeting:
    head = view.head
    query, key = tokens_now(view)
    at = (query + view.moved + view.offset, key + view.offset)
    return Meeting(head, head.query[query], head.key[key], (query, key), at)


def tokens_now(view: RotaryMicroscope) -> tuple[int, int]:
    """The chosen query and key; a key that is not chosen is the most read one but the query itself."""
    trace = view.trace
    query = view.query if view.query >= 0 else trace.tokens_shown - 1
    if view.key >= 0:
        return query, view.key
    row = trace.layers[view.layer].probabilities[view.open_head, query].clone()
    row[query] = -1.0
    return query, int(row.argmax())


def circles(now: Meeting, chosen: int) -> go.Figure:
    query, key = (
        (now.pairs(vector).numpy(), now.turned(vector, position).numpy())
        for vector, position in ((now.query, now.at[0]), (now.key, now.at[1]))
    )
    return pair_circles(query, key, chosen)


def bars(now: Meeting) -> go.Figure:
    products, scores = now.products * now.head.rotary.factor**2, now.scores
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
    rotary, scores = now.head.rotary, now.scores
    apart = now.tokens[0] - now.tokens[1]
    places = torch.arange(min(-NEAR, apart - FURTHEST_BACK), max(FAR, apart + FURTHEST_ON) + 1)
    heights = score_at_distances(now.query, now.key, places, rotary.frequency, rotary.layout, rotary.factor)
    top = float(now.products.abs().sum()) * rotary.factor**2 + abs(float(scores.unrotated))
    return curves(
        {_("score"): heights.numpy()},
        _("Distance: query − key"),
        "q·k",
        x=places.numpy(),
        x_now=now.distance,
        now=_("{score} at distance {distance}").format(
            score=f"{float(scores.total):.2f}", distance=now.distance
        ),
        y_range=(-max(1e-6, top), max(1e-6, top)),
    )


def pair_arithmetic(view: RotaryMicroscope, now: Meeting) -> None:
    """The chosen pair with its numbers put into each formula."""
    st.markdown("##### " + _("The arithmetic of one pair of dimensions"))
    labels = view.trace.labels
    left, right = st.columns([1, 2], gap="medium")
    with left:
        controls.draw(view, "pair")
        st.markdown(
            _("Query `{query}` at position {m}, key `{key}` at position {n}").format(
                query=in_code(labels[now.tokens[0]]),
                key=in_code(labels[now.tokens[1]]),
                m=now.at[0],
                n=now.at[1],
            )
        )
    with right:
        show_formula(formula(now, view.pair))


def formula(now: Meeting, pair: int) -> str:
    """One pair's rotation and its part of the score, with the present numbers."""
    rotary, scores, (m, n) = now.head.rotary, now.scores, now.at
    theta, part = float(rotary.frequency[pair]), float(scores.pairs[0, 0, pair])
    product = now.products[pair]
    length, phase = float(product.abs()) * rotary.factor**2, float(product.angle())
    cos, sin = np.cos((n - m) * theta), np.sin((n - m) * theta)
    # YaRN and LongRoPE multiply queries and keys alike, beside turning them
    gain = "" if abs(rotary.factor - 1) < 1e-6 else rf"{rotary.factor:.6g}^2\,"
    lines = [
        rf"\theta_{{{pair}}}&={theta:.6g},\qquad 2\pi/\theta_{{{pair}}}={2 * np.pi / theta:,.1f}",
        rf"R_{{{n}-{m}}}&=\begin{{pmatrix}}{cos:.3f}&{-sin:.3f}\\{sin:.3f}&{cos:.3f}\end{{pmatrix}}",
        rf"\det R&={cos**2 + sin**2:.3f}",
        rf"s_{{{pair}}}&={gain}|q_{{{pair}}}||k_{{{pair}}}|\cos(\varphi+(m-n)\,\theta_{{{pair}}})",
        rf"&={length:.4f}\cos({phase:.3f}+({m}-{n})\,{theta:.4g})",
        rf"&={part:.4f}",
        rf"q\cdot k&=\textstyle\sum_p s_p{_beside(now)}={float(scores.total):.4f}",
    ]
    return r"\begin{aligned}" + r"\\[4pt]".join(lines) + r"\end{aligned}"


def _beside(now: Meeting) -> str:
    """What dimensions that are not turned add to the score; nothing where all are turned."""
    if len(now.query) == 2 * len(now.head.rotary.frequency):
        return ""
    rest = float(now.scores.unrotated)
    return rf"+{rest:.4f}" if rest >= 0 else f"{rest:.4f}"


def table(now: Meeting) -> pd.DataFrame:
    """Every pair in numbers."""
    return pd.DataFrame(
        {
            "theta": now.head.rotary.frequency.numpy(),
            "length": now.products.abs().numpy(),
            "phase": now.products.angle().numpy(),
            "without_rotation": now.products.real.numpy(),
            "rotated": now.scores.pairs[0, 0].numpy(),
        }
    ).rename_axis("pair")


def snippet(view: RotaryMicroscope, now: Meeting) -> str:
    """Python that repeats the bars."""
    return f"""import torch

from models.networks.loading import load
from models.networks.rotary import rotary_of
from models.networks.tracing import trace
from models.rotary.rope import scores_by_pair

network = load({view.network_name!r})
traced = trace(network, {view.text!r})
record = traced.layers[{view.layer}]
rotary = rotary_of(network, traced, {view.layer})
query = record.unrotated_query[{view.open_head}, {now.tokens[0]}]
key = record.unrotated_key[record.key_of_head[{view.open_head}], {now.tokens[1]}]
scores = scores_by_pair(
    query[None], key[None], torch.tensor([{now.at[0]}]), torch.tensor([{now.at[1]}]),
    rotary.frequency, rotary.layout, rotary.factor,
)
print(scores.pairs[0, 0])
print(scores.total.item())
"""
