"""One head and the next token, redrawn while a slider moves."""

import plotly.graph_objects as go
import streamlit as st

from components.figures.attention import next_token_bars
from components.figures.style import token_heatmap
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Page
from components.panels import live_panel
from components.panels.network.selection import Selection, cell_now, intervention_now, stage_label
from components.panels.network.text import Choice
from components.traces import token_labels, traced_with
from components.words import _
from models.attention.head_view import head_view
from models.attention.next_token import compare_next_token
from models.networks.tracing import Trace

TOP_TOKENS = 8
LIVE = ("live_head",)  # panels that follow while a slider is dragged
SETTLED = (*LIVE, "cell_arithmetic")  # and when it is let go


def sliders(page: Page) -> None:
    """Temperature and exponent change the network; the third only the colours."""
    with st.container(horizontal=True):
        live_slider(
            _("Temperature"), f"{page.name}_temperature", 0.05, 20.0, 1.0, log=True,
            help=_("Divides the scores of every head in the network."), live=LIVE, settled=SETTLED,
        )  # fmt: skip
        live_slider(
            _("Exponent p of √d_k → d_k^p"), f"{page.name}_exponent", 0.0, 1.0, 0.5, 0.01,
            help=_("0.5 is the network's own √d_k; 0 does not scale at all."), live=LIVE, settled=SETTLED,
        )  # fmt: skip
        live_slider(
            _("Top of the colour scale"), f"{page.name}_colour", 0.01, 1.0, 1.0, 0.01,
            live=LIVE, settled=LIVE,
        )  # fmt: skip


@live_panel
def live_head(page: Page, choice: Choice, selection: Selection) -> None:
    """The large heatmap, where a click chooses the cell that is explained, and the next token."""
    base = choice.trace
    changed = traced_with(choice.network, choice.text, intervention_now(page, selection))

    def choose_cell(click: dict) -> None:
        st.session_state[f"{page.name}_query"] = _index(click["y"])
        st.session_state[f"{page.name}_key"] = _index(click["x"])
        st.rerun(SETTLED)

    figure = head_figure(page, base, changed, selection)
    alt = f"{selection.title}, {stage_label(selection.stage)}"
    live_figure(figure, f"{page.name}_heatmap", alt, choose_cell)
    next_token(page, choice, base, changed)


def head_figure(page: Page, base: Trace, changed: Trace, selection: Selection) -> go.Figure:
    """The large heatmap. Colour limits come from the network as it is, so that they stay."""
    top = st.session_state.get(f"{page.name}_colour", 1.0)
    view = head_view(changed, selection.layer, selection.head, selection.stage, selection.hide_sink)
    if selection.stage != "softmax":
        top *= head_view(base, selection.layer, selection.head, selection.stage).largest
    return token_heatmap(
        view.values.numpy(),
        changed.labels,
        changed.labels,
        query_title=_("Query"),
        key_title=_("Key"),
        value_title=stage_label(selection.stage),
        limits=(-top if view.is_signed else 0.0, top),
        diverging=view.is_signed,
        selected=cell_now(page, changed, selection),
    )


def _index(category: str) -> int:
    return int(category.split(" ", 1)[0])


def next_token(page: Page, choice: Choice, base: Trace, changed: Trace) -> None:
    """What the network would say next, over its whole vocabulary, before and after the change."""
    if base.logits is None or changed.logits is None:
        st.info(_("This network is an encoder: it reads, and does not say what comes next."))
        return
    change = compare_next_token(base.logits[-1], changed.logits[-1], TOP_TOKENS)
    # those that matter before or after, in the order in which they stood before
    shown = change.before.maximum(change.after).topk(TOP_TOKENS).indices.sort().values
    figure = next_token_bars(
        token_labels(choice.network, change.ids[shown].tolist()),
        change.before[shown].numpy(),
        change.after[shown].numpy(),
        changed=changed is not base,
        kl=change.kl,
        height=270,
    )
    live_figure(figure, f"{page.name}_next", _("Probabilities of the next token"), rest=150)
