"""Which head, and which of its queries and keys, the views on a real network look at."""

from dataclasses import dataclass
from typing import Literal

import streamlit as st
import torch
from jaxtyping import Float
from torch import Tensor

from components.controls import choose
from components.page import Page
from components.panels.network.selection import Selection
from components.panels.network.text import Choice
from components.traces import facts
from components.words import _
from models.networks.rotary import Rotary, rotary_of
from models.networks.tracing import LayerTrace, Trace

FLOAT = torch.finfo(torch.float32).eps


def choose_head(page: Page, trace: Trace, tokens: bool = False) -> Selection:
    """Layer and head, and where ``tokens`` are wanted a query and a key, in one row."""
    layers, heads = len(trace.layers), len(trace.layers[0].query)
    width: Literal["stretch", "content"] = "stretch" if tokens else "content"
    with st.container(horizontal=True, vertical_alignment="bottom", width=width):
        layer = choose(
            _("Layer"), range(layers), f"{page.name}_layer", str, default=page.default("layer"), width=120
        )
        head = choose(
            _("Head"), range(heads), f"{page.name}_head", str, default=page.default("head"), width=120
        )
        if tokens:
            _choose_tokens(page, trace)
    return Selection(layer, head, "raw", False, frozenset())


def _choose_tokens(page: Page, trace: Trace) -> None:
    options = [-1, *range(trace.tokens_shown)]
    for name, title, unset in (
        ("query", _("Query"), _("the last token")),
        ("key", _("Key"), _("the other token that it reads most")),
    ):

        def label(index: int, unset: str = unset) -> str:
            return f"{index} · {trace.labels[index]}" if index >= 0 else unset

        choose(title, options, f"{page.name}_{name}", label, default=page.default(name), width="stretch")


def tokens_now(page: Page, trace: Trace, selection: Selection) -> tuple[int, int]:
    """The chosen query and key; a key that is not chosen is the most read one but the query itself."""
    last = trace.tokens_shown - 1
    query, key = (st.session_state.get(f"{page.name}_{name}", -1) for name in ("query", "key"))
    query = query if 0 <= query <= last else last
    if not 0 <= key <= last:
        row = trace.layers[selection.layer].probabilities[selection.head, query].clone()
        row[query] = -1.0
        key = int(row.argmax())
    return query, key


@dataclass(frozen=True, eq=False)
class RealHead:
    """A head of the traced text: its vectors before rotation, and what rotates them."""

    record: LayerTrace
    head: int
    rotary: Rotary

    @property
    def query(self) -> Float[Tensor, "query d_k"]:
        return self.record.unrotated_query[self.head]

    @property
    def key(self) -> Float[Tensor, "key d_k"]:
        return self.record.unrotated_key[self.record.key_of_head[self.head]]

    @property
    def visible(self) -> Tensor:
        visible = self.record.visible
        return visible if visible.ndim == 2 else visible[self.head]


def real_head(choice: Choice, selection: Selection) -> RealHead:
    """The chosen head. Raises InputError for a network without rotary embedding."""
    trace = choice.trace
    rotary = rotary_of(facts(choice.network), trace, selection.layer)
    return RealHead(trace.layers[selection.layer], selection.head, rotary)


def rounding_of_scores(record: LayerTrace, farthest: int) -> float:
    """How far two float32 computations of the same scores may differ; 1e-4 at least.

    An angle at position m is known to about ε·m, and a score changes by at most ‖q‖‖k‖ times that.
    """
    lengths = record.query.norm(dim=-1).max() * record.key.norm(dim=-1).max()
    return max(1e-4, float(FLOAT * max(16, farthest) * lengths))
