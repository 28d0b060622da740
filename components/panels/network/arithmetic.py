"""The arithmetic of one cell of one head, with the present numbers put into each formula."""

from dataclasses import dataclass, replace

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.attention import product_bars
from components.formulas import show_formula
from components.lesson_parts import note
from components.live.figure import live_figure
from components.panels.network.heads import ChangesHead, PicksPair, head_figure
from components.takeaway import Check, checked_against, take_with_you
from components.traces import traced_with
from components.words import _
from models.attention.dot_product import CellArithmetic, explain_cell
from models.attention.head_view import (
    difference_from_module,
    difference_from_sdpa,
    head_view,
    rounding_of_attention,
)
from models.attention.next_token import compare_next_token
from models.networks.tracing import Trace


@dataclass(frozen=True)
class Cell:
    """A pair of tokens in one head of one layer."""

    layer: int
    head: int
    query: int
    key: int


def cell_arithmetic(view: ChangesHead) -> None:
    """From q·k to the share of the output, for the chosen cell; then checks and things to take."""
    trace = view.changed
    st.markdown("##### " + _("The arithmetic of one cell"))
    choose_cell(view, trace)
    query, key = view.cell(trace)
    cell = Cell(view.layer, view.open_head, query, key)
    steps = explain(trace, cell)
    st.markdown(
        _("How much does `{query}` (token {i}) read from `{key}` (token {j})?").format(
            query=in_code(trace.labels[query]),
            key=in_code(trace.labels[key]),
            i=query,
            j=key,
        )
    )
    left, right = st.columns(2, gap="medium")
    with left:
        formulas(steps, trace.layers[cell.layer].scale, len(steps.products))
        if view.facts.scales_queries_first:
            words = _(
                "This network multiplies its queries by 1/√d_k before q·k, whose own scale is therefore 1."
            )
            st.caption(words)
    with right:
        figure = product_bars(steps.products.numpy(), height=200)
        alt = _("Products of query and key, dimension by dimension")
        live_figure(figure, f"{view.page}_products", alt)
        weights(view, trace, cell, steps)
    note(view, "arithmetic")
    checked_against(checks(view, trace))
    take_away(view, trace)


def explain(trace: Trace, cell: Cell) -> CellArithmetic:
    record = trace.layers[cell.layer]
    source = record.key_of_head[cell.head]
    visible = record.visible if record.visible.ndim == 2 else record.visible[cell.head]
    return explain_cell(
        record.query[cell.head, cell.query],
        record.key[source],
        visible[cell.query],
        record.scale,
        cell.key,
        record.value[source],
        record.softcap,
        None if record.sink is None else float(record.sink[cell.head]),
    )


def in_code(label: str) -> str:
    """A token between backticks: a backtick of its own would end them."""
    return label.replace("`", "ˋ")


def choose_cell(view: PicksPair, trace: Trace) -> None:
    """Query and key as two selectboxes: what a click on the heatmap sets, by keyboard."""
    state, options = st.session_state, [-1, *range(trace.tokens_shown)]

    def label(index: int) -> str:
        return f"{index} · {trace.labels[index]}" if index >= 0 else _("strongest of the last row")

    for column, name, title in zip(st.columns(2), ("query", "key"), (_("Query"), _("Key")), strict=True):
        key, value = view.keys()[name], getattr(view, name)
        widget = f"{key}_widget"
        state[widget] = value if value in options else -1

        def take(key: str = key, widget: str = widget) -> None:
            state[key] = state[widget]

        column.selectbox(title, options, format_func=label, key=widget, on_change=take)


def formulas(steps: CellArithmetic, scale: float, width: int) -> None:
    """q·k, scaling, mask, softmax and share, one under another."""
    lines = [
        rf"q\cdot k&=\textstyle\sum_{{d=1}}^{{{width}}} q_d k_d={steps.dot:.4f}",
        rf"s&={scale:.4f}\times({steps.dot:.4f})={steps.scaled:.4f}",
    ]
    if steps.visible:
        lines += [
            rf"e^{{s-\max}}&=e^{{{steps.scaled:.4f}-({steps.row_maximum:.4f})}}={steps.exponential:.4f}",
            *sink_line(steps),
            rf"\alpha&=\frac{{{steps.exponential:.4f}}}{{{steps.denominator:.4f}}}={steps.probability:.4f}",
            rf"\frac{{\alpha v\cdot o}}{{\lVert o\rVert^2}}&={steps.share_of_output:.4f}",
        ]
    else:
        lines.append(r"s&\to-\infty\quad\Rightarrow\quad\alpha=0")
    show_formula(r"\begin{aligned}" + r"\\[8pt]".join(lines) + r"\end{aligned}")
    if not steps.visible:
        st.caption(_("The mask hides this key from this query."))
    if steps.sink:
        st.caption(
            _(
                "This head has a learned sink: a score that softmax counts and that reads no key, so that "
                "the weights of a row add up to less than 1."
            )
        )


def sink_line(steps: CellArithmetic) -> list[str]:
    """What a learned sink adds to the sum of a row; nothing where the head has none."""
    if not steps.sink:
        return []
    keys = steps.denominator - steps.sink
    total = rf"{keys:.4f}+{steps.sink:.4f}={steps.denominator:.4f}"
    return [rf"\textstyle\sum_j e^{{s_j-\max}}+e^{{\mathrm{{sink}}-\max}}&={total}"]


def weights(view: ChangesHead, trace: Trace, cell: Cell, steps: CellArithmetic) -> None:
    """Weight, contribution and effect of one cell side by side: they need not agree."""
    contribution = head_view(trace, cell.layer, cell.head, "contribution").values
    row = contribution[cell.query].nan_to_num()
    share = float(row[cell.key] / row.sum()) if row.sum() > 0 else 0.0
    first, second, third = st.columns(3)
    first.metric(_("Weight α"), f"{steps.probability:.3f}")
    second.metric(
        _("Contribution"), f"{share:.3f}", help=_("‖α·vW_O‖ as a share of the row's sum, for this head.")
    )
    pair = (cell.layer, cell.head, cell.query, cell.key)
    own = view.intervention
    without = replace(own, hidden_cells=own.hidden_cells | {pair})
    after = traced_with(view.network_name, view.text, without).logits
    if trace.logits is None or after is None:
        return
    change = compare_next_token(trace.logits[-1], after[-1], 1)
    third.metric(
        _("Effect (KL)"),
        f"{change.kl:.4f}",
        help=_("How far the next token's distribution moves, in nats, when only this cell is hidden."),
    )


def checks(view: ChangesHead, trace: Trace) -> list[Check]:
    """Two independent computations of what this layer put out, compared now."""
    record = trace.layers[view.layer]
    silenced = frozenset(head for layer, head in view.silenced_pairs if layer == view.layer)
    projection = Check(
        _("the sum of the heads' outputs through W_O with the network's own output"),
        difference_from_module(record),
        1e-4,
    )
    if record.softcap is not None:
        return [projection]
    sdpa = difference_from_sdpa(record, silenced)
    return [Check("torch scaled_dot_product_attention", sdpa, rounding_of_attention(record)), projection]


def take_away(view: ChangesHead, trace: Trace) -> None:
    def table() -> pd.DataFrame:
        shown = head_view(trace, view.layer, view.open_head, view.step, view.sink)
        labels = [f"{index} {label}" for index, label in enumerate(trace.labels)]
        return pd.DataFrame(shown.values.numpy(), columns=labels, index=pd.Index(labels, name="query"))

    def figure() -> go.Figure:
        return head_figure(view)

    take_with_you(view, table, figure, snippet(view.network_name, view.text, view))


def snippet(network: str, text: str, view: ChangesHead) -> str:
    """Python that repeats the numbers of the heatmap."""
    change = view.intervention
    return f"""from models.attention.head_view import head_view
from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.tracing import trace

intervention = Intervention(
    scale_exponent={change.scale_exponent!r},
    temperature={change.temperature!r},
    silenced=frozenset({sorted(change.silenced)!r}),
)
traced = trace(load({network!r}), {text!r}, intervention)
view = head_view(traced, {view.layer}, {view.open_head}, {view.step!r}, without_sink={view.sink!r})
print(view.values)
"""
