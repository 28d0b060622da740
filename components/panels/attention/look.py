"""All heads, one head, the next token, and the arithmetic of one cell: attention at work."""

import streamlit as st

from components.figures.attention import head_at, head_grid
from components.live.figure import Drawn, live_figure
from components.page import Page
from components.panels import panel
from components.panels.network.arithmetic import cell_arithmetic
from components.panels.network.live_head import live_head, sliders
from components.panels.network.selection import Selection, select_head
from components.panels.network.text import Choice
from components.traces import traced
from components.words import _, language


@panel
def look(page: Page, choice: Choice) -> None:
    """Controls, all heads beside the open one, and below them the arithmetic of a cell."""
    selection = select_head(page, choice.trace)
    left, right = st.columns([2, 3], gap="medium")
    with right:
        sliders(page)  # first: they read the address, and the other panels read them
        live_head(page, choice, selection)
    with left:
        grid(page, choice, selection)
        page.note("look")
        page.note("next")
    cell_arithmetic(page, choice, selection)


def grid(page: Page, choice: Choice, selection: Selection) -> None:
    """Small maps of all heads of the network as it is; a click opens one."""
    base = choice.trace
    layers, heads = len(base.layers), len(base.layers[0].query)

    def open_head(click: dict) -> None:
        layer, head = head_at(click["x"], click["y"], layers, heads, base.tokens_shown)
        st.session_state[f"{page.name}_layer"] = layer
        st.session_state[f"{page.name}_head"] = head

    drawn = _grid(
        choice.network, choice.text, (selection.layer, selection.head), selection.silenced, language()
    )
    alt = _("Attention weights of {layers} layers with {heads} heads each").format(
        layers=layers, heads=heads
    )
    live_figure(drawn, f"{page.name}_grid", alt, open_head)
    page.note("grid")


@st.cache_data(max_entries=64, show_spinner=False)
def _grid(network: str, text: str, selected: tuple[int, int], silenced: frozenset, language: str) -> Drawn:
    layers = [record.probabilities.numpy() for record in traced(network, text).layers]
    return Drawn.of(head_grid(layers, selected, silenced, height=60 + round(540 * len(layers) / 6)))
