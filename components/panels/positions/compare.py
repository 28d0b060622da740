"""All encodings on the same queries and keys: what each adds, and what becomes of one head."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.positions import attention_tiles, curves
from components.lesson_parts import note
from components.panels.positions.encode import networks_with_tables, table_of
from components.panels.positions.head import RealHead, rounding_of_scores
from components.panels.positions.settings import Based, RotaryHead
from components.settings import slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.numerics.comparison import largest_difference
from models.positions.absolute import principal_components, sinusoidal
from models.positions.bias import alibi_slopes
from models.positions.checks import alibi_difference, bucket_difference, sinusoidal_difference
from models.positions.encodings import (
    BUCKETS,
    ENCODINGS,
    FARTHEST,
    EncodedHead,
    Encoding,
    Settings,
    encode,
    head_of,
)


def encoding_label(encoding: Encoding) -> str:
    return {
        "none": _("no positions"),
        "sinusoidal": _("sinusoidal, added"),
        "learned": _("learned, added"),
        "t5": _("T5 buckets"),
        "alibi": "ALiBi",
        "rope": _("rotary (RoPE)"),
    }[encoding]


def table_network() -> str | None:
    """The network whose learned table is borrowed: the first that ships with Loupe."""
    names = networks_with_tables()
    return names[0] if names else None


@st.cache_resource(max_entries=8, show_spinner=False)
def components_of(network: str, width: int) -> torch.Tensor:
    """A learned table in as many dimensions as a head has; shared, nothing may be changed in it."""
    return principal_components(table_of(network), width)


@dataclass(frozen=True)
class AllEncodings(Based, RotaryHead):
    """One head's weights under six encodings, and what each adds to a score by distance."""

    page, name = "positions", "compare"
    strength: float = slider(
        0.0,
        3.0,
        1.0,
        0.05,
        label=mark("Strength of added vectors"),
        help=mark("1: as long as queries and keys are on the average."),
    )

    def encodings(self, head: RealHead) -> Settings:
        network = table_network()
        table = None if network is None else components_of(network, head.query.shape[1])
        return Settings(head.rotary, self.base, self.strength, table)

    def stage(self) -> Stage:
        head = self.head
        results = encoded(head, self.encodings(head))
        weights = _("One head's attention under each encoding")
        added = _("What each encoding adds to a score, by distance")
        return Stage(
            [
                Plot("tiles", tiles(results), weights, width=1.4),
                Plot("profiles", profiles(results), added, rest=120),
            ]
        )

    def below(self) -> None:
        head = self.head
        settings = self.encodings(head)
        results = encoded(head, settings)
        note(self, "compare")
        st.dataframe(summary(results, head), hide_index=True)
        checked_against(checks(head, settings))
        take_with_you(
            self,
            lambda: pd.DataFrame(
                {name: result.profile.numpy() for name, result in results.items()}
            ).rename_axis("distance"),
            lambda: tiles(results),
            snippet(self),
        )


def encoded(head: RealHead, settings: Settings) -> dict[str, EncodedHead]:
    """Each encoding's result, by its label; without a learned table at hand, five of them."""
    plain = head_of(head.record, head.index)
    chosen = [name for name in ENCODINGS if name != "learned" or settings.table is not None]
    return {encoding_label(name): encode(plain, name, settings) for name in chosen}


def tiles(results: dict[str, EncodedHead]) -> go.Figure:
    return attention_tiles({name: result.probabilities.numpy() for name, result in results.items()})


def profiles(results: dict[str, EncodedHead]) -> go.Figure:
    """The mean over all pairs of tokens at a distance; the range stays at what most of them need."""
    shown = {name: result.profile.numpy() for name, result in results.items()}
    extent = np.nanquantile(np.abs(np.stack(list(shown.values()))), 0.9)
    top = 2 ** np.ceil(np.log2(max(float(extent), 0.5)))  # in steps, so that it rarely moves
    return curves(
        shown,
        _("Distance: query − key"),
        _("Added to the scaled score, mean"),
        y_range=(-top, top),
    )


def summary(results: dict[str, EncodedHead], head: RealHead) -> pd.DataFrame:
    """How each encoding works, and where this head's weight goes under it."""
    slope = float(alibi_slopes(len(head.record.query))[head.index])
    ways = {
        "none": _("nothing is added"),
        "sinusoidal": _("a fixed vector, added to q and k"),
        "learned": _("a learned vector, added to q and k (from {network})").format(network=table_network()),
        "t5": _("a number for each of {buckets} buckets of distance, fitted here").format(buckets=BUCKETS),
        "alibi": _("−{slope} for each step of distance").format(slope=f"{slope:.4g}"),
        "rope": _("queries and keys rotated"),
    }
    own = head.record.probabilities[head.index]
    rows = []
    for name in ENCODINGS:
        if encoding_label(name) not in results:
            continue
        weights = results[encoding_label(name)].probabilities
        distance = np.abs(np.subtract.outer(np.arange(len(weights)), np.arange(weights.shape[1])))
        moved = float((weights - own).abs().sum(dim=-1).mean()) / 2
        rows.append(
            {
                _("Encoding"): encoding_label(name),
                _("How it acts"): ways[name],
                _("Mean distance that is read"): f"{float((weights.numpy() * distance).sum(1).mean()):.2f}",
                _("Weight on the token before"): f"{float(weights.diagonal(-1).mean()):.3f}",
                _("Weight moved against the network's own"): f"{moved:.1%}",
            }
        )
    return pd.DataFrame(rows)


def checks(head: RealHead, settings: Settings) -> list[Check]:
    """Each encoding with transformers', as far as it is there."""
    tokens, width = head.query.shape
    own = encode(
        head_of(head.record, head.index), "rope", Settings(head.rotary, head.rotary.base, 0.0, None)
    )
    table = sinusoidal(tokens, width, settings.base)
    is_causal = head_of(head.record, head.index).is_causal
    compared = [
        Check(
            _("RoPE at the network's base {base} with its own attention weights").format(
                base=f"{head.rotary.base:,.0f}"
            ),
            largest_difference(own.probabilities, head.record.probabilities[head.index]),
            max(1e-5, rounding_of_scores(head.record, tokens) * head.record.scale),
        ),
        Check(_("ALiBi's slopes with BLOOM's"), alibi_difference(len(head.record.query)), 1e-6),
        Check(_("buckets with T5's"), bucket_difference(tokens, not is_causal, BUCKETS, FARTHEST), 0.5),
        Check(
            _("sin and cos of transformers' rotary module"),
            sinusoidal_difference(table, settings.base),
            max(1e-6, 1e-7 * tokens),
        ),
    ]
    return compared[1:] if head.record.softcap is not None else compared


def snippet(view: AllEncodings) -> str:
    """Python that repeats the tiles."""
    table = "None"
    if table_network() is not None:
        width = view.trace.layers[view.layer].query.shape[-1]
        table = f"principal_components(learned_table(load({table_network()!r})), {width})"
    return f"""from models.positions.encodings import ENCODINGS, Settings, encode, head_of
from models.networks.loading import load
from models.networks.positions import learned_table
from models.networks.rotary import rotary_of
from models.networks.tracing import trace
from models.positions.absolute import principal_components

network = load({view.network_name!r})
traced = trace(network, {view.text!r})
head = head_of(traced.layers[{view.layer}], {view.open_head})
rotary = rotary_of(network, traced, {view.layer})
table = {table}
settings = Settings(rotary, {view.base!r}, {view.strength!r}, table)
names = [name for name in ENCODINGS if name != "learned" or table is not None]
found = {{name: encode(head, name, settings) for name in names}}
print({{name: result.profile for name, result in found.items()}})
"""
