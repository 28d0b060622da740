"""Rotated in the wrong pairs: what a confused layout does to scores and to the next token."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose
from components.figures.style import token_heatmap
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.network.live_head import next_token
from components.panels.network.selection import Selection
from components.panels.network.text import Choice
from components.panels.positions.head import RealHead, choose_head, real_head, rounding_of_scores
from components.take.positions import layout as layout_script
from components.traces import traced_with
from components.words import _
from models.attention.next_token import text_losses
from models.networks.interventions import Intervention
from models.networks.tracing import LayerTrace, Trace
from models.numerics.comparison import largest_difference
from models.positions.checks import rotated_by_transformers
from models.rotary.rope import rotation, scores_after_conversion

SWAPS = {
    "none": frozenset[str](),
    "both": frozenset({"query", "key"}),
    "key": frozenset({"key"}),
}


def swap_label(swap: str) -> str:
    return {
        "none": _("neither"),
        "both": _("queries and keys"),
        "key": _("keys only"),
    }[swap]


@panel
def layout(page: Page, choice: Choice) -> None:
    """Two maps of the same head's raw scores, the next token and the loss, before and after."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        selection = choose_head(page, choice.trace)
        swap = choose(
            _("Rotated in the other layout's pairs"),
            list(SWAPS),
            f"{page.name}_swap",
            swap_label,
            default="both",
            style="segments",
        )
    head = real_head(choice, selection)  # refuses a network without rotary embedding
    change = Intervention(swapped_layout=SWAPS[swap])
    base, changed = choice.trace, traced_with(choice.network, choice.text, change)
    maps = scores(base, changed, selection)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**" + _("In the network's own pairs ({layout})").format(
            layout=layout_name(head.rotary.layout)) + "**")  # fmt: skip
        live_figure(maps[0], f"{page.name}_trained", _("Raw scores, rotated as trained"))
    with right:
        st.markdown("**" + _("In the other layout: {what}").format(what=swap_label(swap)) + "**")
        live_figure(maps[1], f"{page.name}_swapped", _("Raw scores, rotated in the other layout"))
    losses(base, changed)
    next_token(page, choice, base, changed)
    page.note("layout")
    checked_against(checks(head, changed.layers[selection.layer], selection, swap))
    take_with_you(
        f"{page.name}_layout",
        lambda: table(base, changed, selection),
        lambda: maps[1],
        lambda: layout_script(
            choice.network, base, changed, (selection.layer, selection.head), head.rotary, SWAPS[swap]
        ),
    )


def layout_name(layout: str) -> str:
    return _("halves") if layout == "half" else _("neighbours")


def scores(base: Trace, changed: Trace, selection: Selection) -> list[go.Figure]:
    """The head's raw scores as trained and as changed, on one scale, hidden pairs left out."""
    raws = []
    for traced in (base, changed):
        record = traced.layers[selection.layer]
        visible = record.visible if record.visible.ndim == 2 else record.visible[selection.head]
        raws.append(record.raw[selection.head].masked_fill(~visible, float("nan")))
    limit = max(float(raw.nan_to_num().abs().max()) for raw in raws)
    return [
        token_heatmap(
            raw.numpy(),
            base.labels,
            base.labels,
            query_title=_("Query"),
            key_title=_("Key"),
            value_title="q·k",
            limits=(-limit, limit),
            diverging=True,
            height=440,
        )
        for raw in raws
    ]


def losses(base: Trace, changed: Trace) -> None:
    """Mean loss of the text, as trained and as changed."""
    if base.logits is None or changed.logits is None:
        return
    own, other = (
        float(text_losses(logits, base.token_ids).mean()) for logits in (base.logits, changed.logits)
    )
    one, two = st.columns(2)
    one.metric(_("Loss of this text, as trained (nats a token)"), f"{own:.3f}")
    two.metric(_("in the other layout"), f"{other:.3f}", f"{other - own:+.3f}", delta_color="inverse")


def checks(head: RealHead, changed: LayerTrace, selection: Selection, swap: str) -> list[Check]:
    """The changed scores with transformers' other rotation; converted weights with the own ones."""
    record = head.record
    at = torch.arange(len(head.query))
    own = rotation(at, head.rotary.frequency, head.rotary.layout, head.rotary.factor)
    allowed = rounding_of_scores(record, len(at))
    turns = {name: own.other if name in SWAPS[swap] else own for name in ("query", "key")}
    vectors = {
        "query": changed.unrotated_query[selection.head],
        "key": changed.unrotated_key[changed.key_of_head[selection.head]],
    }
    query, key = (rotated_by_transformers(vectors[name], turns[name]) for name in ("query", "key"))
    converted = scores_after_conversion(head.query, head.key, own)
    return [
        Check(
            _("the right map with transformers' rotations: Llama's for halves, GPT-J's for neighbours"),
            largest_difference(query @ key.T, changed.raw[selection.head]),
            allowed,
        ),
        Check(
            _("the other layout on reordered weights with the network's own scores"),
            largest_difference(converted, record.raw[selection.head]),
            allowed,
        ),
    ]


def table(base: Trace, changed: Trace, selection: Selection) -> pd.DataFrame:
    """Both scores of every pair of tokens."""
    own, other = (traced.layers[selection.layer].raw[selection.head] for traced in (base, changed))
    queries, keys = own.shape
    index = pd.MultiIndex.from_product([range(queries), range(keys)], names=["query", "key"])
    return pd.DataFrame(
        {"own": own.flatten().numpy(), "other": other.flatten().numpy()}, index=index
    ).reset_index()
