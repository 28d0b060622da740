"""Real routing: tokens coloured by expert, one token's gate, load by domain, an expert silenced."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.moe import gate_bars, load_table, names_of, token_tiles
from components.figures.style import narrow
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.moe.source import (
    OnLayer,
    beginning,
    corpora,
    domain_label,
    domain_or_own,
    figures,
    routed,
)
from components.panels.network.reading import YOURS, ReadsText
from components.settings import one_of, several
from components.settings import text as text_field
from components.stage import Click, Plot, Row, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.moe.balance import expert_load, group_load
from models.moe.router_rules import Rule
from models.moe.routing import (
    LayerRouting,
    RoutedText,
    Silenced,
    difference_from_rule,
    routers,
    rules,
)
from models.networks.domains import domain_samples
from models.networks.loading import load

COLUMNS, MOST_TILES = 12, 144


def token_options(view: "Routes") -> range:
    return range(min(view.text_routes().tokens_shown, MOST_TILES))


def device_counts(view: "Routes") -> list[int]:
    """Divisors of the number of experts, all of them first."""
    divisors = [count for count in range(1, view.experts + 1) if view.experts % count == 0]
    return list(reversed(divisors[1:])) or [1]


def device_names(view: "Routes") -> Callable[[int], str]:
    def name(count: int) -> str:
        return _("expert") if count == view.experts else _("{count} devices").format(count=count)

    return name


def token_names(view: "Routes") -> Callable[[int], str]:
    labels = view.text_routes().labels
    return lambda index: f"{index} · {labels[index]}"


def all_experts(view: "Routes") -> list[str]:
    """Experts as "layer.expert"."""
    return [f"{row}.{column}" for row in range(view.routed_layers) for column in range(view.experts)]


@dataclass(frozen=True)
class Routes(OnLayer, ReadsText):
    """Tokens coloured by expert, one token's gate, load by domain, an expert silenced."""

    page, name = "moe", "route"
    passage: str = one_of(
        lambda view: [*domain_samples(), YOURS],
        label=mark("Passage"),
        label_of=domain_or_own,
        place="head",
        kept=True,
    )
    text: str = text_field(
        lambda view: beginning("prose" if view.passage == YOURS else view.passage),
        label=mark("Text"),
        lines=5,
        place="head",
        kept=True,
        follows="passage",
    )
    devices: int = one_of(
        device_counts, lambda view: view.experts, label=mark("Load by"), names_in=device_names
    )
    token: int = one_of(token_options, 5, label=mark("Token"), names_in=token_names)
    silenced: tuple[str, ...] = several(all_experts, label=mark("Silenced experts (layer.expert)"))

    @property
    def silenced_pairs(self) -> Silenced:
        pairs = (name.split(".") for name in self.silenced)
        return frozenset((int(router), int(expert)) for router, expert in pairs)

    def text_routes(self) -> RoutedText:
        """The routes of the text. Raises InputError."""
        return routed(self.network_name, self.text)

    def stage(self) -> Stage:
        routes = self.text_routes()
        alt = _("The text in tiles, each with the expert that weighs most in layer {layer}").format(
            layer=self.layer
        )
        said = _("Scores of all experts for token {token}").format(token=self.token)
        loaded = _("Load of each expert or device in layer {layer}, by domain").format(layer=self.layer)
        return Stage(
            Row(
                [
                    Plot(
                        "tiles", tiles_figure(routes, self.layer, self.token), alt, self.clicked, width=1.5
                    ),
                    Plot("gate", gate_figure(self, routes), said),
                ],
                height=1.7,
            ),
            Row([Plot("load", load_figure(self, routes), loaded)]),
        )

    def clicked(self, click: Click) -> "Routes":
        index = int(click["y"]) * COLUMNS + int(click["x"])
        return replace(self, token=min(index, self.text_routes().tokens_shown - 1))

    def below(self) -> None:
        routes = self.text_routes()
        note(self, "route")
        tokens_said(routes)
        gate_arithmetic(self, routes)
        note(self, "load")
        losses(self.network_name, self.silenced_pairs)
        checked_against([rule_check(self.network_name, routes, self.layer)])
        take_with_you(
            self,
            lambda: table(routes, self.layer),
            lambda: tiles_figure(routes, self.layer, self.token),
            snippet(self.network_name, self.text, self.layer, self.silenced_pairs),
        )


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


def scores_of(view: Routes, routes: RoutedText) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One token's scores over all experts, and the bias that its choice adds; None where there is none."""
    rule = rules(load(view.network_name))[view.layer]
    return rule.scores(routes.layers[view.layer].logits[view.token]), rule.bias


def gate_figure(view: Routes, routes: RoutedText) -> go.Figure:
    scores, bias = scores_of(view, routes)
    silent = frozenset(expert for router, expert in view.silenced_pairs if router == view.layer)
    return gate_bars(
        scores.numpy(),
        routes.layers[view.layer].chosen[view.token].numpy(),
        None if bias is None else (scores + bias).numpy(),
        silent,
    )


def gate_arithmetic(view: Routes, routes: RoutedText) -> None:
    """The weights of one token's experts, with their numbers, by the rule of the router's family."""
    rule = rules(load(view.network_name))[view.layer]
    layer = routes.layers[view.layer]
    show_formula(written_out(rule, layer, view.token))


def written_out(rule: Rule, layer: LayerRouting, token: int) -> str:
    """Scores, the choice and each weight, as the rule makes them."""
    chosen = layer.chosen[token]
    scores = rule.scores(layer.logits[token])
    total = float(scores[chosen].sum())
    name = r"\mathrm{softmax}(z)" if rule.kind == "softmax" else r"\sigma(z)"
    choice = "s" if rule.bias is None else "s+b"
    lines = [
        rf"s&={name},\quad K=\text{{{len(chosen)} largest of }}{choice}",
        rf"\textstyle\sum_{{i\in K}} s_i&={total:.4g}",
    ]
    if rule.grouping is not None and rule.grouping.kept < rule.grouping.groups:
        lines[0] += rf"\text{{ in {rule.grouping.kept} of {rule.grouping.groups} groups}}"
    front = "" if rule.factor == 1 else rf"{rule.factor:.4g}\cdot "
    for expert, weight in zip(chosen[:8], layer.weights[token][:8], strict=True):
        score = f"{float(scores[expert]):.4g}"
        made = rf"{front}\frac{{{score}}}{{{total:.4g}}}" if rule.renormalise else front + score
        equals = "" if made == f"{float(weight):.4g}" else rf"={float(weight):.4g}"
        lines.append(rf"g_{{{int(expert)}}}&={made}{equals}")
    return r"\begin{aligned} " + r" \\ ".join(lines) + r" \end{aligned}"


def load_figure(view: Routes, text: RoutedText) -> go.Figure:
    """Load of this text and of each domain's sample, in units of the mean."""
    experts = text.layers[view.layer].experts
    rows = {_("this text"): text.layers[view.layer].chosen}
    rows |= {
        domain_label(name): corpus.chosen[view.layer] for name, corpus in corpora(view.network_name).items()
    }
    load_of = [group_load(expert_load(chosen, experts), view.devices) for chosen in rows.values()]
    together = torch.stack([load / load.sum() for load in load_of[1:]]).mean(0)
    values = torch.stack([*load_of, together]).numpy()
    title = _("Expert") if view.devices == experts else _("Device")
    return load_table(values, [*rows, _("all domains")], names_of(view.devices), title)


def losses(network: str, silenced: Silenced) -> None:
    """Loss of every domain as it is, and with the silenced experts."""
    before = figures(network)
    after = figures(network, silenced) if silenced else before
    columns = st.columns(len(before.domains))
    for column, name, was, now in zip(columns, before.domains, before.loss, after.loss, strict=True):
        column.metric(
            _("Loss on {domain} (nats per character)").format(domain=domain_label(name)),
            f"{float(now):.4f}",
            f"{float(now - was):+.4f}" if silenced else None,
            delta_color="inverse",
        )


def rule_check(network: str, text: RoutedText, layer: int) -> Check:
    """The weights that transformers' router gave, against models.moe.routers on the same logits."""
    router = type(routers(load(network))[layer]).__name__
    difference = difference_from_rule(load(network), layer, text.layers[layer])
    return Check(f"transformers {router}", difference, 1e-6)


def table(text: RoutedText, layer: int) -> pd.DataFrame:
    """A row a token: its experts and their weights."""
    found = text.layers[layer]
    columns: dict[str, object] = {"token": list(text.labels)}
    for slot in range(found.chosen.shape[1]):
        columns[f"expert_{slot}"] = found.chosen[:, slot].numpy()
        columns[f"weight_{slot}"] = narrow(found.weights[:, slot].numpy())
    return pd.DataFrame(columns).rename_axis("position")


def snippet(network: str, text: str, layer: int, silenced: Silenced) -> str:
    """Python that repeats the routes and the loss."""
    return f"""from models.networks.loading import load
from models.moe.routing import route_text

text = route_text(load({network!r}), {text!r}, frozenset({sorted(silenced)!r}))
layer = text.layers[{layer}]
print(layer.chosen)
print(layer.weights)
print(text.loss)
"""
