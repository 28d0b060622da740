"""What one head of the real network reads in a long text, near and far."""

from functools import lru_cache

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import choose
from components.figures.context import scores_by_distance, shares_by_distance, small_attention
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.context.loss import checked
from components.panels.context.settings import (
    LENGTHS,
    METHODS,
    NETWORK,
    REACHES,
    choose_method,
    factor_now,
    factor_slider,
    method_label,
    way_of,
)
from components.take.context import distance as distance_script
from components.words import _, language
from models.context.distance import (
    WeightByDistance,
    head_weights,
    query_and_key,
    score_by_distance,
    small_map,
    weight_by_distance,
)
from models.context.long_attention import LongPass, rotated
from models.context.long_context import PASSAGES, Way, long_attention_states, passage_tokens
from models.networks.loading import load
from models.networks.texts import passages
from models.rotary.scaling import scaled_rope

SQUARES = 128  # along each side of the small map
DISTANCES = torch.arange(0, 2_048, 2).float()


@lru_cache(maxsize=12)
def states(way: Way, passage: str, length: int) -> LongPass:
    """Queries and keys of one text, some 8 MB."""
    return long_attention_states(NETWORK, way, passage_tokens(NETWORK, passage, length))


@lru_cache(maxsize=48)
def reading(
    way: Way, passage: str, length: int, layer: int, head: int
) -> tuple[np.ndarray, WeightByDistance, float]:
    """The head's map made small, its weight by distance past the trained length, and its sink."""
    weights = head_weights(states(way, passage, length), layer, head)
    first = load(NETWORK).context
    return (
        small_map(weights, SQUARES).numpy(),
        weight_by_distance(weights, first),
        float(weights[first:, 0].mean()),
    )


def distance(page: Page) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        network = load(NETWORK)
        layer = choose(
            _("Layer"), range(network.layers), f"{page.name}_layer", str,
            default=page.default("layer"), width=90,
        )  # fmt: skip
        head = choose(
            _("Head"), range(network.heads), f"{page.name}_head", str,
            default=page.default("head"), width=90,
        )  # fmt: skip
        method = choose_method(page, (*METHODS, *REACHES))
        by_name = {passage.name: passage for passage in passages() if passage.name in PASSAGES}
        passage = choose(
            _("Passage"),
            list(by_name),
            f"{page.name}_passage",
            lambda name: by_name[name].title(language()),
            default=PASSAGES[0],
            width=230,
        )
        length = choose(_("Up to"), LENGTHS, f"{page.name}_length", str, default=2_048, width=110)
    factor_slider(page, live=("score_of_one_pair",), settled=("score_of_one_pair", "far_reading"))
    score_of_one_pair(page, method, passage, layer, head)
    far_reading(page, method, passage, length, layer, head)


@lru_cache(maxsize=48)
def one_pair(passage: str, layer: int, head: int) -> tuple[torch.Tensor, torch.Tensor, float, int, int]:
    """The last query within the trained length and the key that it weighs most, not rotated."""
    trained = load(NETWORK).context
    present = states(way_of("default", 1.0, trained), passage, trained)
    query, key = query_and_key(present, layer, head)
    chosen = int(head_weights(present, layer, head)[-1].argmax())
    place = -torch.arange(trained)
    plain = [rotated(x[None, None], place, present.inverse_frequencies)[0, 0] for x in (query, key)]
    return plain[0][-1], plain[1][chosen], present.scale, trained - 1, chosen


@live_panel
def score_of_one_pair(page: Page, method: str, passage: str, layer: int, head: int) -> None:
    """Its score at every distance, as trained and as scaled at the factor of this moment."""
    query, key, scale, place, chosen = one_pair(passage, layer, head)
    factor, window = factor_now(page), page.default("window")
    rope = method if method in METHODS else "default"
    curves = {}
    for name in dict.fromkeys(("default", rope)):
        scaled = scaled_rope(way_of(name, factor, window).rope, len(DISTANCES) * 2)
        frequencies = scaled.inverse_frequencies
        scores = score_by_distance(query, key, frequencies, DISTANCES, scale)
        curves[method_label(name)] = (scores * scaled.attention_factor**2).numpy()
    limit = float(query.norm() * key.norm() * scale) * 1.05
    live_figure(
        scores_by_distance(DISTANCES.numpy(), curves, load(NETWORK).context, limit),
        f"{page.name}_score",
        _("Score of one query and key at every distance"),
    )
    words = _(
        "Query {query} and key {key} of the passage, moved apart; the upright line is the trained length."
    )
    st.caption(words.format(query=place, key=chosen))


@panel
def far_reading(page: Page, method: str, passage: str, length: int, layer: int, head: int) -> None:
    """The head's map and its weight by distance, unscaled beside the chosen method."""
    factor, window = factor_now(page), page.default("window")
    way = way_of(method, factor, window)
    small, by_distance, sink = reading(way, passage, length, layer, head)
    _small, own, own_sink = reading(way_of("default", factor, window), passage, length, layer, head)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(f"**{method_label(method)}** · " + _("Layer {layer}, head {head}").format(
            layer=layer, head=head
        ))  # fmt: skip
        figure = small_attention(small, length, load(NETWORK).context)
        live_figure(figure, f"{page.name}_map", _("One head's weights over the whole text"))
    with right:
        shares = {method_label("default"): own.share.numpy()}
        if method != "default":
            shares[method_label(method)] = by_distance.share.numpy()
        bars = shares_by_distance(own.distance.numpy(), shares, height=330)
        live_figure(bars, f"{page.name}_shares", _("Share of the weight by distance"))
        one, two = st.columns(2)
        one.metric(_("On the first token, unscaled"), f"{own_sink:.3f}")
        two.metric(_("On the first token, {method}").format(method=method_label(method)), f"{sink:.3f}")
        page.note("distance")
    name = _("logits of the network that transformers builds itself, {method}, {tokens} tokens").format(
        method=method_label(method), tokens=320
    )
    checked_against([Check(name, checked(way), 1e-3)])
    table = pd.DataFrame({"tokens_back_from": own.distance.numpy(), **shares})
    take_with_you(
        f"{page.name}_distance",
        lambda: table,
        lambda: small_attention(small, length, load(NETWORK).context),
        lambda: distance_script(
            NETWORK,
            way,
            passage_tokens(NETWORK, passage, length),
            (layer, head),
            load(NETWORK).context,
            by_distance,
            sink,
        ),
    )
