"""All heads, one head, the next token, and the arithmetic of one cell: attention at work."""

from dataclasses import dataclass, replace

import streamlit as st

from components.figures.attention import head_at, head_grid
from components.lesson_parts import note
from components.live.figure import Drawn
from components.panels.network.arithmetic import cell_arithmetic
from components.panels.network.heads import ChangesHead
from components.stage import Click, Plot, Stage
from components.traces import traced
from components.words import _, language

Pairs = frozenset[tuple[int, int]]  # layer and head


@dataclass(frozen=True)
class HeadsAtWork(ChangesHead):
    """All heads beside the open one and the next token; below them the arithmetic of a cell."""

    page, name = "attention", "look"

    def stage(self) -> Stage:
        following = self.next_plot(width=0.9)
        return Stage([self.head_plot(), grid_of(self), *([following] if following else [])])

    def below(self) -> None:
        if self.trace.logits is None:
            st.info(_("This network is an encoder: it reads, and does not say what comes next."))
        note(self, "look")
        note(self, "grid")
        note(self, "next")
        cell_arithmetic(self)


def grid_of(view: HeadsAtWork) -> Plot:
    """Small maps of all heads of the network as it is; a click opens one."""
    base = view.trace
    layers, heads = len(base.layers), len(base.layers[0].query)

    def open_head(click: Click) -> HeadsAtWork:
        layer, head = head_at(click["x"], click["y"], layers, heads, base.tokens_shown)
        return replace(view, layer=layer, open_head=head)

    drawn = _grid(
        view.network_name, view.text, (view.layer, view.open_head), view.silenced_pairs, language()
    )
    alt = _("Attention weights of {layers} layers with {heads} heads each").format(
        layers=layers, heads=heads
    )
    return Plot("grid", drawn, alt, open_head, width=1.1)


@st.cache_data(max_entries=64, show_spinner=False)
def _grid(
    network: str, text: str, selected: tuple[int, int], silenced: frozenset[tuple[int, int]], language: str
) -> Drawn:
    layers = [record.probabilities.numpy() for record in traced(network, text).layers]
    return Drawn.of(head_grid(layers, selected, silenced))
