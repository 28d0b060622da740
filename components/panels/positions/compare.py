"""All encodings on the same queries and keys: what each adds, and what becomes of one head."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.positions import attention_tiles, curves
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.network.selection import Selection
from components.panels.network.text import Choice
from components.panels.positions.encode import networks_with_tables, table_of
from components.panels.positions.head import RealHead, choose_head, real_head, rounding_of_scores
from components.take.positions import compare as compare_script
from components.words import _
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

LIVE, SETTLED = ("compare_live",), ("compare_live", "compare_numbers")


def encoding_label(encoding: Encoding) -> str:
    return {
        "none": _("no positions"),
        "sinusoidal": _("sinusoidal, added"),
        "learned": _("learned, added"),
        "t5": _("T5 buckets"),
        "alibi": "ALiBi",
        "rope": _("rotary (RoPE)"),
    }[encoding]


@panel
def compare(page: Page, choice: Choice) -> None:
    """A head, a base and a strength; below, six encodings of its vectors."""
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        selection = choose_head(page, choice.trace)
        live_slider(
            _("Base"), f"{name}_base", 2.0, 1_000_000.0, 10_000.0, log=True,
            help=_("Of the rotary and the sinusoidal encoding."), live=LIVE, settled=SETTLED,
        )  # fmt: skip
        live_slider(
            _("Strength of added vectors"), f"{name}_strength", 0.0, 3.0, 1.0, 0.05,
            help=_("1: as long as queries and keys are on the average."), live=LIVE, settled=SETTLED,
        )  # fmt: skip
    compare_live(page, choice, selection)
    compare_numbers(page, choice, selection)


def table_network() -> str | None:
    """The network whose learned table is borrowed: the first that ships with Loupe."""
    names = networks_with_tables()
    return names[0] if names else None


def settings_now(page: Page, head: RealHead) -> Settings:
    network = table_network()
    return Settings(
        head.rotary,
        float(st.session_state[f"{page.name}_base"]),
        float(st.session_state[f"{page.name}_strength"]),
        None if network is None else components_of(network, head.query.shape[1]),
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def components_of(network: str, width: int) -> torch.Tensor:
    """A learned table in as many dimensions as a head has; shared, nothing may be changed in it."""
    return principal_components(table_of(network), width)


def encoded(head: RealHead, settings: Settings) -> dict[str, EncodedHead]:
    """Each encoding's result, by its label; without a learned table at hand, five of them."""
    plain = head_of(head.record, head.head)
    chosen = [name for name in ENCODINGS if name != "learned" or settings.table is not None]
    return {encoding_label(name): encode(plain, name, settings) for name in chosen}


@live_panel
def compare_live(page: Page, choice: Choice, selection: Selection) -> None:
    head = real_head(choice, selection)
    found = encoded(head, settings_now(page, head))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        alt = _("One head's attention under each encoding")
        live_figure(tiles(found), f"{page.name}_tiles", alt)
    with right:
        alt = _("What each encoding adds to a score, by distance")
        live_figure(profiles(found), f"{page.name}_profiles", alt, rest=120)


def tiles(found: dict[str, EncodedHead]) -> go.Figure:
    return attention_tiles({name: result.probabilities.numpy() for name, result in found.items()})


def profiles(found: dict[str, EncodedHead]) -> go.Figure:
    """The mean over all pairs of tokens at a distance; the range stays at what most of them need."""
    shown = {name: result.profile.numpy() for name, result in found.items()}
    extent = np.nanquantile(np.abs(np.stack(list(shown.values()))), 0.9)
    top = 2 ** np.ceil(np.log2(max(float(extent), 0.5)))  # in steps, so that it rarely moves
    return curves(
        shown,
        _("Distance: query less key"),
        _("Added to the scaled score, mean"),
        y_range=(-top, top),
        height=520,
    )


@panel
def compare_numbers(page: Page, choice: Choice, selection: Selection) -> None:
    """The comparisons with transformers, and things to take along."""
    head = real_head(choice, selection)
    settings = settings_now(page, head)
    found = encoded(head, settings)
    page.note("compare")
    rows = summary(found, head)
    st.dataframe(rows, hide_index=True)
    checked_against(checks(head, settings, found))
    take_with_you(
        f"{page.name}_compare",
        lambda: (
            pd.DataFrame({name: result.profile.numpy() for name, result in found.items()})
            .rename_axis("distance")
            .reset_index()
        ),
        lambda: tiles(found),
        lambda: compare_script(
            choice.network, choice.trace, (selection.layer, selection.head), settings, by_name(found)
        ),
    )


def by_name(found: dict[str, EncodedHead]) -> dict[str, EncodedHead]:
    """The results by the encodings' own names, not by their labels."""
    return {name: found[label] for name in ENCODINGS if (label := encoding_label(name)) in found}


def summary(found: dict[str, EncodedHead], head: RealHead) -> pd.DataFrame:
    """How each encoding works, and where this head's weight goes under it."""
    slope = float(alibi_slopes(len(head.record.query))[head.head])
    ways = {
        "none": _("nothing is added"),
        "sinusoidal": _("a fixed vector, added to q and k"),
        "learned": _("a learned vector, added to q and k (from {network})").format(network=table_network()),
        "t5": _("a number for each of {buckets} buckets of distance, fitted here").format(buckets=BUCKETS),
        "alibi": _("−{slope} for each step of distance").format(slope=f"{slope:.4g}"),
        "rope": _("queries and keys rotated"),
    }
    own = head.record.probabilities[head.head]
    rows = []
    for name in ENCODINGS:
        if encoding_label(name) not in found:
            continue
        weights = found[encoding_label(name)].probabilities
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


def checks(head: RealHead, settings: Settings, found: dict[str, EncodedHead]) -> list[Check]:
    """Each encoding with transformers', as far as it is there."""
    tokens, width = head.query.shape
    own = encode(
        head_of(head.record, head.head), "rope", Settings(head.rotary, head.rotary.base, 0.0, None)
    )
    table = sinusoidal(tokens, width, settings.base)
    is_causal = head_of(head.record, head.head).is_causal
    compared = [
        Check(
            _("RoPE at the network's base {base} with its own attention weights").format(
                base=f"{head.rotary.base:,.0f}"
            ),
            largest_difference(own.probabilities, head.record.probabilities[head.head]),
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
