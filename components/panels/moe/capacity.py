"""Capacity: which tokens of real routes are dropped, by factor, rounding, order and scope."""

from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from jaxtyping import Float, Int
from torch import Tensor

from components.controls import choose, whole_number
from components.figures.moe import grouped_bars, names_of
from components.figures.moe_load import dropped_tokens
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Page, take_with_you
from components.panels import live_panel, panel
from components.panels.moe.source import corpora, domain_label
from components.words import _
from models.moe.balance import expert_load
from models.moe.capacity import ORDERS, ROUNDINGS, SCOPES, CapacityRule, Dispatch, dispatch
from models.moe.evaluation import expert_count
from models.networks.loading import load
from models.networks.tokens import labels

EACH, LENGTH = 3, 128  # sequences of each domain, and their tokens
LIVE = ("live_capacity",)
SETTLED = (*LIVE, "capacity_said")


@panel
def capacity(page: Page, network: str) -> None:
    layers = len(next(iter(corpora(network).values())).chosen)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose(_("Layer"), range(layers), f"{page.name}_layer", str, default=page.default("layer"),
               style="segments" if layers <= 8 else "select")  # fmt: skip
        choose(_("Rounding"), ROUNDINGS, f"{page.name}_rounding", rounding_label, default="floor",
               style="segments")  # fmt: skip
        choose(_("Who comes first"), ORDERS, f"{page.name}_order", order_label, default="position",
               style="segments")  # fmt: skip
        choose(_("Counted over"), SCOPES, f"{page.name}_scope", scope_label, default="sequence",
               style="segments")  # fmt: skip
        whole_number(_("Seed"), 0, 9_999, f"{page.name}_seed", 0, width=110)
    live_slider(
        _("Capacity factor"), f"{page.name}_factor", 0.0, 4.0, 1.25, 0.01,
        help=_("Places of an expert over its share of the routes; at 0 every token is dropped."),
        live=LIVE, settled=SETTLED,
    )  # fmt: skip
    live_capacity(page, network)
    capacity_said(page, network)


def rounding_label(name: str) -> str:
    return {"floor": _("down"), "ceil": _("up"), "round": _("to the nearest")}[name]


def order_label(name: str) -> str:
    return {"position": _("by position"), "probability": _("by weight"), "random": _("at random")}[name]


def scope_label(name: str) -> str:
    return {"batch": _("the batch"), "sequence": _("each sequence")}[name]


@lru_cache(maxsize=16)
def sequences(
    network: str, layer: int
) -> tuple[Int[Tensor, "rows tokens slots"], Float[Tensor, "rows tokens slots"], list[list[str]]]:
    """Routes and tokens of the first sequences of each domain."""
    tokenizer = load(network).tokenizer
    chosen, weights, tokens = [], [], []
    for corpus in corpora(network).values():
        starts = range(0, EACH * LENGTH, LENGTH)
        for start in starts:
            part = slice(start, start + LENGTH)
            chosen.append(corpus.chosen[layer, part])
            weights.append(corpus.weights[layer, part])
            tokens.append(list(labels(tokenizer, tuple(corpus.token_ids[part].tolist()))))
    return torch.stack(chosen), torch.stack(weights), tokens


def rule_now(page: Page) -> CapacityRule:
    state = st.session_state
    return CapacityRule(
        state.get(f"{page.name}_factor", 1.25),
        state.get(f"{page.name}_rounding", "floor"),
        state.get(f"{page.name}_order", "position"),
        state.get(f"{page.name}_scope", "sequence"),
        state.get(f"{page.name}_seed", 0),
    )


def dispatched(page: Page, network: str) -> tuple[Dispatch, Int[Tensor, "rows tokens slots"], int]:
    layer = st.session_state[f"{page.name}_layer"]
    chosen, weights, _tokens = sequences(network, layer)
    experts = expert_count(load(network))
    return dispatch(chosen, weights, experts, rule_now(page)), chosen, experts


@live_panel
def live_capacity(page: Page, network: str) -> None:
    left, right = st.columns([3, 2], gap="medium")
    sent, chosen, experts = dispatched(page, network)
    with left:
        figure = dropped_figure(page, network, sent)
        live_figure(
            figure, f"{page.name}_dropped", _("For every token, how many of its experts had no room")
        )
    with right:
        live_figure(
            places_figure(page, sent, chosen, experts),
            f"{page.name}_places",
            _("Routes of each expert that found a place, and those dropped"),
        )


def dropped_figure(page: Page, network: str, sent: Dispatch) -> go.Figure:
    names = [domain_label(name) for name in corpora(network) for _row in range(EACH)]
    rows = [f"{index} {name}" for index, name in enumerate(names)]
    tokens = sequences(network, st.session_state[f"{page.name}_layer"])[2]
    return dropped_tokens(sent.dropped.numpy(), rows, tokens, sent.kept.shape[-1])


def places_figure(
    page: Page, sent: Dispatch, chosen: Int[Tensor, "rows tokens slots"], experts: int
) -> go.Figure:
    total = expert_load(chosen, experts).numpy()
    kept = expert_load(chosen[sent.kept][:, None], experts).numpy()
    scopes = len(chosen) if rule_now(page).scope == "sequence" else 1
    return grouped_bars(
        {_("found a place"): kept, _("dropped"): total - kept},
        names_of(experts),
        _("Expert"),
        _("Routes"),
        top=float(total.max()) * 1.15,
        line=(sent.capacity * scopes, _("places in all")),
        stacked=True,
    )


@panel
def capacity_said(page: Page, network: str) -> None:
    """The same in numbers, once the slider rests."""
    sent, chosen, experts = dispatched(page, network)
    rule = rule_now(page)
    routes = chosen.numel()
    size = chosen.shape[1] if rule.scope == "sequence" else chosen.shape[0] * chosen.shape[1]
    st.latex(
        rf"C=\mathrm{{{rule.rounding}}}\left(\frac{{{rule.factor:g}\times {chosen.shape[-1]}\times {size}}}"
        rf"{{{experts}}}\right)={sent.capacity}"
    )
    one, two, three = st.columns(3)
    dropped = int((~sent.kept).sum())
    one.metric(_("Routes dropped"), f"{dropped / routes:.1%}")
    two.metric(_("Tokens that lose an expert"), f"{float((sent.dropped > 0).float().mean()):.1%}")
    lost = float((sent.dropped == chosen.shape[-1]).float().mean())
    three.metric(
        _("Tokens that lose all"),
        f"{lost:.1%}",
        help=_("Only the residual stream and a shared expert serve them."),
    )
    page.note("capacity")
    figure = dropped_figure(page, network, sent)
    layer = st.session_state[f"{page.name}_layer"]
    take_with_you(
        f"{page.name}_capacity",
        lambda: pd.DataFrame(np.asarray(sent.dropped)),
        lambda: figure,
        snippet(network, layer, rule),
    )


def snippet(network: str, layer: int, rule: CapacityRule) -> str:
    """Python that repeats the dropped tokens."""
    return f"""import torch

from models.moe.capacity import CapacityRule, dispatch
from models.networks.domains import domain_samples
from models.networks.loading import load
from models.moe.evaluation import expert_count
from models.moe.routing import route_corpus

network = load({network!r})
parts = [route_corpus(network, text) for text in domain_samples().values()]
first = slice(0, {EACH * LENGTH})
chosen = torch.cat([part.chosen[{layer}, first].view({EACH}, {LENGTH}, -1) for part in parts])
weights = torch.cat([part.weights[{layer}, first].view({EACH}, {LENGTH}, -1) for part in parts])
sent = dispatch(chosen, weights, expert_count(network), {rule!r})
print(sent.capacity, sent.dropped)
"""
