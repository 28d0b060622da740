"""Capacity: which tokens of real routes are dropped, by factor, rounding, order and scope."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from jaxtyping import Float, Int
from torch import Tensor

from components.figures.moe import grouped_bars, names_of
from components.figures.moe_load import dropped_tokens
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.moe.source import OnLayer, Seeds, corpora, domain_label
from components.settings import one_of, slider
from components.stage import Plot, Stage
from components.takeaway import take_with_you
from components.words import _, mark
from models.moe.balance import expert_load
from models.moe.capacity import (
    ORDERS,
    ROUNDINGS,
    SCOPES,
    CapacityRule,
    Dispatch,
    Order,
    Rounding,
    Scope,
    dispatch,
)
from models.networks.loading import load
from models.networks.tokens import labels

EACH, LENGTH = 3, 128  # sequences of each domain, and their tokens


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


@dataclass(frozen=True)
class Capacity(Seeds, OnLayer):
    """Which tokens of real routes are dropped, by factor, rounding, order and scope."""

    page, name = "moe", "capacity"
    factor: float = slider(
        0.0,
        4.0,
        1.25,
        label=mark("Capacity factor"),
        help=mark("Places of an expert over its share of the routes; at 0 every token is dropped."),
    )
    rounding: Rounding = one_of(ROUNDINGS, label=mark("Rounding"), label_of=rounding_label, style="radio")
    order: Order = one_of(ORDERS, label=mark("Who comes first"), label_of=order_label, style="radio")
    scope: Scope = one_of(
        SCOPES, "sequence", label=mark("Counted over"), label_of=scope_label, style="radio"
    )

    @property
    def rule(self) -> CapacityRule:
        return CapacityRule(self.factor, self.rounding, self.order, self.scope, self.seed)

    def dispatched(self) -> tuple[Dispatch, Int[Tensor, "rows tokens slots"]]:
        """What finds a place, and the routes."""
        chosen, weights, _tokens = sequences(self.network_name, self.layer)
        return dispatch(chosen, weights, self.experts, self.rule), chosen

    def stage(self) -> Stage:
        sent, chosen = self.dispatched()
        return Stage(
            [
                Plot(
                    "dropped",
                    dropped_figure(self, sent),
                    _("For every token, how many of its experts had no room"),
                    width=1.5,
                ),
                Plot(
                    "places",
                    places_figure(self, sent, chosen),
                    _("Routes of each expert that found a place, and those dropped"),
                ),
            ]
        )

    def below(self) -> None:
        note(self, "capacity")
        sent, chosen = self.dispatched()
        rule = self.rule
        size = chosen.shape[1] if rule.scope == "sequence" else chosen.shape[0] * chosen.shape[1]
        show_formula(
            rf"C=\mathrm{{{rule.rounding}}}\left("
            rf"\frac{{{rule.factor:g}\times {chosen.shape[-1]}\times {size}}}{{{self.experts}}}"
            rf"\right)={sent.capacity}"
        )
        measures(sent, chosen)
        take_with_you(
            self,
            lambda: dropped_table(self, sent),
            lambda: dropped_figure(self, sent),
            snippet(self.network_name, self.layer, rule),
        )


def row_names(view: Capacity) -> list[str]:
    """The sequences, each by number and domain."""
    names = [domain_label(name) for name in corpora(view.network_name) for _row in range(EACH)]
    return [f"{index} {name}" for index, name in enumerate(names)]


def dropped_figure(view: Capacity, sent: Dispatch) -> go.Figure:
    tokens = sequences(view.network_name, view.layer)[2]
    return dropped_tokens(sent.dropped.numpy(), row_names(view), tokens, sent.kept.shape[-1])


def dropped_table(view: Capacity, sent: Dispatch) -> pd.DataFrame:
    return pd.DataFrame(np.asarray(sent.dropped), index=pd.Index(row_names(view), name="sequence"))


def places_figure(view: Capacity, sent: Dispatch, chosen: Int[Tensor, "rows tokens slots"]) -> go.Figure:
    experts = view.experts
    total = expert_load(chosen, experts).numpy()
    kept = expert_load(chosen[sent.kept][:, None], experts).numpy()
    scopes = len(chosen) if view.scope == "sequence" else 1
    return grouped_bars(
        {_("found a place"): kept, _("dropped"): total - kept},
        names_of(experts),
        _("Expert"),
        _("Routes"),
        top=float(total.max()) * 1.15,
        line=(sent.capacity * scopes, _("places in all")),
        stacked=True,
    )


def measures(sent: Dispatch, chosen: Int[Tensor, "rows tokens slots"]) -> None:
    """How much is dropped, in three numbers."""
    first, second, third = st.columns(3)
    dropped = int((~sent.kept).sum())
    first.metric(_("Routes dropped"), f"{dropped / chosen.numel():.1%}")
    second.metric(_("Tokens that lose an expert"), f"{float((sent.dropped > 0).float().mean()):.1%}")
    lost = float((sent.dropped == chosen.shape[-1]).float().mean())
    third.metric(
        _("Tokens that lose all"),
        f"{lost:.1%}",
        help=_("Only the residual stream and a shared expert serve them."),
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
