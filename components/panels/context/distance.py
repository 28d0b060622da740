"""What one head of the real network reads in a long text, near and far."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.context import scores_by_distance, shares_by_distance, small_attention
from components.figures.methods import method_label
from components.lesson_parts import note
from components.panels.context.loss import network_check
from components.panels.context.settings import (
    NETWORK,
    Measured,
    ReadsPassage,
    embedded,
    rope_of,
    way_of,
)
from components.panels.network.heads import head_title
from components.settings import one_of
from components.stage import Block, Plot, Stage, show
from components.takeaway import checked_against, take_with_you
from components.words import _, mark
from models.context.distance import (
    WeightByDistance,
    head_weights,
    query_and_key,
    score_by_distance,
    small_map,
    weight_by_distance,
)
from models.context.long_attention import LongPass
from models.context.long_context import Way, long_attention_states, passage_tokens
from models.networks.key_cache import moved
from models.rotary.scaling import scaled_rope

SQUARES = 128  # along each side of the small map
DISTANCES = torch.arange(0, 2_048, 2).float()


@lru_cache(maxsize=12)
def states(way: Way, passage: str, length: int) -> LongPass:
    """Queries and keys of one text, some 8 MB."""
    return long_attention_states(NETWORK, way, passage_tokens(NETWORK, passage, length))


@dataclass(frozen=True, eq=False)
class Reading:
    """What one head reads under one way: its map made small, weight by distance, weight on the sink."""

    small: np.ndarray
    by_distance: WeightByDistance
    sink: float


@lru_cache(maxsize=48)
def reading(way: Way, passage: str, length: int, layer: int, head: int) -> Reading:
    """Shares and sink are those of queries past the trained length."""
    weights = head_weights(states(way, passage, length), layer, head)
    first = embedded().context
    return Reading(
        small_map(weights, SQUARES).numpy(),
        weight_by_distance(weights, first),
        float(weights[first:, 0].mean()),
    )


@dataclass(frozen=True)
class FarAway(ReadsPassage, Measured):
    """One query and key moved apart; the head's map, and its weight by distance."""

    page, name = "context", "distance"
    # loupe-llama's induction head
    layer: int = one_of(lambda view: range(embedded().layers), 2, label=mark("Layer"))
    head: int = one_of(lambda view: range(embedded().heads), 0, label=mark("Head"), beside=True)

    def reading(self, method: str) -> Reading:
        return reading(self.way(method), self.passage, self.length, self.layer, self.head)

    def stage(self) -> Stage:
        alt = _("Score of one query and key at every distance")
        return Stage([Plot("score", score_figure(self), alt), Block(self.draw_reading, width=2.3)])

    def draw_reading(self) -> None:
        """Map and bars, once the passes that they need are done."""
        with st.spinner(_("Reading {length} tokens …").format(length=f"{self.length:,}")):
            weights = map_figure(self)
            shares = share_figure(self)
        over = _("One head's weights over the whole text")
        show(
            Stage(
                [
                    Plot("map", weights, over, width=1.4),
                    Plot("shares", shares, _("Share of the weight by distance")),
                ]
            ),
            self.page,
        )

    def below(self) -> None:
        __, __, position, chosen = one_pair(self.passage, self.layer, self.head)
        words = _(
            "Query {query} and key {key} of the passage, moved apart; the line is the trained length."
        )
        st.markdown(words.format(query=position, key=chosen))
        note(self, "distance")
        left, right = st.columns(2)
        on_first = _("On the first token, {method}")
        for column, method in zip((left, right), dict.fromkeys(("default", self.method)), strict=False):
            label = on_first.format(method=method_label(method))
            column.metric(label, f"{self.reading(method).sink:.3f}")
        way = self.way(self.method)
        checked_against([network_check(self.method, way)])
        take_with_you(
            self,
            lambda: share_table(self),
            lambda: map_figure(self),
            snippet(way, self.passage, self.length, self.layer, self.head),
        )


@lru_cache(maxsize=48)
def one_pair(passage: str, layer: int, head: int) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """The last query within the trained length and the key that it weighs most, not rotated."""
    trained = embedded().context
    present = states(way_of("default", 1.0, trained), passage, trained)
    query, key = query_and_key(present, layer, head)
    chosen = int(head_weights(present, layer, head)[-1].argmax())
    place = -torch.arange(trained)
    plain = [moved(x[None, None], place, present.inverse_frequencies)[0, 0] for x in (query, key)]
    return plain[0][-1] * present.scale, plain[1][chosen], trained - 1, chosen


def score_figure(view: FarAway) -> go.Figure:
    """Its score at every distance, as trained and as scaled at the factor of this moment."""
    query, key, _position, _chosen = one_pair(view.passage, view.layer, view.head)
    curves = {}
    for method in dict.fromkeys(("default", rope_of(view.method))):
        scaled = scaled_rope(view.way(method).rope, len(DISTANCES) * 2)
        scores = score_by_distance(query, key, scaled.inverse_frequencies, DISTANCES, 1.0)
        curves[method] = (scores * scaled.attention_factor**2).numpy()
    limit = float(query.norm() * key.norm()) * 1.05
    return scores_by_distance(DISTANCES.numpy(), curves, embedded().context, limit)


def map_figure(view: FarAway) -> go.Figure:
    title = f"{method_label(view.method)} · {head_title(view.layer, view.head)}"
    return small_attention(view.reading(view.method).small, view.length, embedded().context, title)


def shares_of(view: FarAway) -> dict[str, np.ndarray]:
    methods = dict.fromkeys(("default", view.method))
    return {method: view.reading(method).by_distance.share.numpy() for method in methods}


def share_figure(view: FarAway) -> go.Figure:
    starts = view.reading("default").by_distance.distance.numpy()
    return shares_by_distance(starts, shares_of(view))


def share_table(view: FarAway) -> pd.DataFrame:
    starts = view.reading("default").by_distance.distance.numpy()
    return pd.DataFrame(shares_of(view), index=pd.Index(starts, name="tokens_back_from"))


def snippet(way: Way, passage: str, length: int, layer: int, head: int) -> str:
    """Python that repeats the bars of the chosen method."""
    return f"""from models.context.distance import head_weights, weight_by_distance
from models.networks.key_cache import KeyCache
from models.context.long_context import Way, long_attention_states, passage_tokens
from models.rotary.scaling import RopeSettings

way = {way!r}
tokens = passage_tokens({NETWORK!r}, {passage!r}, {length})
weights = head_weights(long_attention_states({NETWORK!r}, way, tokens), {layer}, {head})
print(weight_by_distance(weights, {embedded().context}).share)
"""
