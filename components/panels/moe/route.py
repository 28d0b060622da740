"""Real routing: tokens coloured by expert, one token's gate, load by domain, an expert silenced."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose
from components.figures.moe import gate_bars, load_table, names_of, token_tiles
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.moe.source import corpora, domain_label, figures, routed
from components.panels.network.text import Choice
from components.words import _
from models.moe.balance import expert_load, group_load
from models.moe.routing import (
    LayerRouting,
    RoutedText,
    Silenced,
    difference_from_rule,
    routers,
    selection_bias,
)
from models.networks.loading import load

COLUMNS, MOST_TILES = 12, 144


@panel
def route(page: Page, choice: Choice) -> None:
    text = routed(choice.network, choice.text)
    layer, groups, silenced = controls(page, text)
    token = token_now(page, text)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        tiles = tiles_figure(text, layer, token)

        def choose_token(click: dict) -> None:
            index = int(click["y"]) * COLUMNS + int(click["x"])
            st.session_state[f"{page.name}_token"] = min(index, text.tokens_shown - 1)

        alt = _("The text in tiles, each with the expert that weighs most in layer {layer}").format(
            layer=layer
        )
        live_figure(tiles, f"{page.name}_tiles", alt, choose_token)
        tokens_said(text)
    with right:
        gate(page, choice, text.layers[layer], layer, token, silenced)
    page.note("route")
    loads(page, choice, text, layer, groups)
    page.note("load")
    losses(choice, silenced)
    checked_against([rule_check(choice, text, layer)])
    take_with_you(page.name, lambda: table(text, layer), lambda: tiles, snippet(choice, layer, silenced))


def controls(page: Page, text: RoutedText) -> tuple[int, int, Silenced]:
    """Layer, device groups and silenced experts."""
    experts, layers = text.layers[0].experts, len(text.layers)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layer = choose(
            _("Layer"), range(layers), f"{page.name}_layer", str, default=page.default("layer"),
            style="segments" if layers <= 8 else "select",
        )  # fmt: skip
        divisors = [count for count in range(1, experts + 1) if experts % count == 0]
        groups = choose(
            _("Load by"), list(reversed(divisors[1:])) or [1], f"{page.name}_devices",
            lambda count: _("expert") if count == experts else _("{count} devices").format(count=count),
            default=experts, width=160,
        )  # fmt: skip
        silenced = st.multiselect(
            _("Silenced experts (layer.expert)"),
            [f"{row}.{column}" for row in range(layers) for column in range(experts)],
            key=f"{page.name}_silenced",
            bind="query-params",
            placeholder=_("none"),
            width=260,
        )
        choose(
            _("Token"), range(min(text.tokens_shown, MOST_TILES)), f"{page.name}_token",
            lambda index: f"{index} · {text.labels[index]}", default=page.default("token"), width=180,
        )  # fmt: skip
    pairs = (name.split(".") for name in silenced)
    return layer, groups, frozenset((int(router), int(expert)) for router, expert in pairs)


def token_now(page: Page, text: RoutedText) -> int:
    return min(st.session_state[f"{page.name}_token"], text.tokens_shown - 1)


def tokens_said(text: RoutedText) -> None:
    shown = min(text.tokens_shown, MOST_TILES)
    if shown < text.tokens_total:
        words = _("The first {shown} of {total} tokens are shown; the text was cut there.")
    else:
        words = _("{shown} tokens")
    st.caption(words.format(shown=shown, total=text.tokens_total))


def tiles_figure(text: RoutedText, layer: int, token: int) -> go.Figure:
    labels = text.labels[:MOST_TILES]
    first = text.layers[layer].chosen[: len(labels), 0].numpy()
    rows = -(-len(labels) // COLUMNS)
    return token_tiles(labels, first, COLUMNS, token, height=16 + 40 * rows)


def gate(
    page: Page, choice: Choice, layer: LayerRouting, index: int, token: int, silenced: Silenced
) -> None:
    """One token's scores over all experts, and the arithmetic of its weights."""
    bias = selection_bias(load(choice.network))[index]
    logits = layer.logits[token]
    scores = logits.softmax(-1) if bias is None else logits.sigmoid()
    silent = frozenset(expert for router, expert in silenced if router == index)
    chosen = layer.chosen[token]
    figure = gate_bars(
        scores.numpy(),
        chosen.numpy(),
        None if bias is None else (scores + bias).numpy(),
        silent,
        height=360,
    )
    live_figure(
        figure, f"{page.name}_gate", _("Scores of all experts for token {token}").format(token=token)
    )
    rule = r"\mathrm{softmax}(z)" if bias is None else r"\sigma(z)"
    terms = " \\\\ ".join(
        rf"g_{{{int(expert)}}}&={float(weight):.4f}\quad (s={float(scores[expert]):.4f})"
        for expert, weight in zip(chosen[:8], layer.weights[token][:8], strict=True)
    )
    st.latex(
        rf"\begin{{aligned}} s&={rule},\quad \textstyle\sum_{{i\in K}} s_i="
        rf"{float(scores[chosen].sum()):.4f} \\ {terms} \end{{aligned}}"
    )


def loads(page: Page, choice: Choice, text: RoutedText, layer: int, groups: int) -> None:
    """Load of this text and of each domain's sample, in units of the mean."""
    experts = text.layers[layer].experts
    rows = {_("this text"): text.layers[layer].chosen}
    rows |= {domain_label(name): corpus.chosen[layer] for name, corpus in corpora(choice.network).items()}
    load_of = [group_load(expert_load(chosen, experts), groups) for chosen in rows.values()]
    together = torch.stack([load / load.sum() for load in load_of[1:]]).mean(0)
    values = torch.stack([*load_of, together]).numpy()
    title = _("Expert") if groups == experts else _("Device")
    figure = load_table(values, [*rows, _("all domains")], names_of(groups), title)
    alt = _("Load of each expert or device in layer {layer}, by domain").format(layer=layer)
    live_figure(figure, f"{page.name}_load", alt)


def losses(choice: Choice, silenced: Silenced) -> None:
    """Loss of every domain as it is, and with the silenced experts."""
    before = figures(choice.network)
    after = figures(choice.network, silenced) if silenced else before
    columns = st.columns(len(before.domains))
    for column, name, was, now in zip(columns, before.domains, before.loss, after.loss, strict=True):
        column.metric(
            _("Loss on {domain} (nats per character)").format(domain=domain_label(name)),
            f"{float(now):.4f}",
            f"{float(now - was):+.4f}" if silenced else None,
            delta_color="inverse",
        )


def rule_check(choice: Choice, text: RoutedText, layer: int) -> Check:
    """The weights that transformers' router gave, against models.moe.routers on the same logits."""
    router = type(routers(load(choice.network))[layer]).__name__
    difference = difference_from_rule(load(choice.network), layer, text.layers[layer])
    return Check(f"transformers {router}", difference, 1e-6)


def table(text: RoutedText, layer: int) -> pd.DataFrame:
    """A row a token: its experts and their weights."""
    found = text.layers[layer]
    columns: dict[str, object] = {"token": list(text.labels)}
    for slot in range(found.chosen.shape[1]):
        columns[f"expert_{slot}"] = found.chosen[:, slot].numpy()
        columns[f"weight_{slot}"] = found.weights[:, slot].numpy().astype(np.float32)
    return pd.DataFrame(columns)


def snippet(choice: Choice, layer: int, silenced: Silenced) -> str:
    """Python that repeats the routes and the loss."""
    return f"""from models.networks.loading import load
from models.moe.routing import route_text

text = route_text(load({choice.network!r}), {choice.text!r}, frozenset({sorted(silenced)!r}))
layer = text.layers[{layer}]
print(layer.chosen)
print(layer.weights)
print(text.loss)
"""
