"""The arithmetic of one cell of one head, with the present numbers put into each formula."""

from dataclasses import dataclass, replace

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import choose
from components.figures.attention import product_bars
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.network.live_head import head_figure
from components.panels.network.selection import Selection, cell_now, intervention_now
from components.panels.network.text import Choice
from components.take.attention import heads_at_work
from components.take.script import Script
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
from models.networks.interventions import Intervention
from models.networks.tracing import Trace


@dataclass(frozen=True)
class Cell:
    """A pair of tokens in one head of one layer."""

    layer: int
    head: int
    query: int
    key: int


@panel
def cell_arithmetic(page: Page, choice: Choice, selection: Selection) -> None:
    """From q·k to the share of the output, for the chosen cell; then checks and things to take."""
    intervention = intervention_now(page, selection)
    trace = traced_with(choice.network, choice.text, intervention)
    st.markdown("##### " + _("The arithmetic of one cell"))
    choose_cell(page, trace)
    query, key = cell_now(page, trace, selection)
    cell = Cell(selection.layer, selection.head, query, key)
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
    with right:
        figure = product_bars(steps.products.numpy(), height=200)
        alt = _("Products of query and key, dimension by dimension")
        live_figure(figure, f"{page.name}_products", alt)
        weights(choice, trace, cell, steps, intervention)
    page.note("arithmetic")
    checked_against(checks(trace, selection))
    take_away(page, choice, trace, selection, intervention)


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
    )


def in_code(label: str) -> str:
    """A token between backticks: a backtick of its own would end them."""
    return label.replace("`", "ˋ")


def choose_cell(page: Page, trace: Trace) -> None:
    """Query and key as two selectboxes: what a click on the heatmap sets, by keyboard."""
    options = [-1, *range(trace.tokens_shown)]

    def label(index: int) -> str:
        return f"{index} · {trace.labels[index]}" if index >= 0 else _("strongest of the last row")

    columns = st.columns(2)
    for column, name, title in zip(columns, ("query", "key"), (_("Query"), _("Key")), strict=True):
        with column:
            choose(title, options, f"{page.name}_{name}", label, default=-1)


def formulas(steps: CellArithmetic, scale: float, width: int) -> None:
    """q·k, scaling, mask, softmax and share, one under another."""
    lines = [
        rf"q\cdot k&=\textstyle\sum_{{d=1}}^{{{width}}} q_d k_d={steps.dot:.4f}",
        rf"s&={scale:.4f}\times({steps.dot:.4f})={steps.scaled:.4f}",
    ]
    if steps.visible:
        lines += [
            rf"e^{{s-\max}}&=e^{{{steps.scaled:.4f}-({steps.row_maximum:.4f})}}={steps.exponential:.4f}",
            rf"\alpha&=\frac{{{steps.exponential:.4f}}}{{{steps.denominator:.4f}}}={steps.probability:.4f}",
            rf"\frac{{\alpha v\cdot o}}{{\lVert o\rVert^2}}&={steps.share_of_output:.4f}",
        ]
    else:
        lines.append(r"s&\to-\infty\quad\Rightarrow\quad\alpha=0")
    st.latex(r"\begin{aligned}" + r"\\[8pt]".join(lines) + r"\end{aligned}")
    if not steps.visible:
        st.caption(_("The mask hides this key from this query."))


def weights(
    choice: Choice, trace: Trace, cell: Cell, steps: CellArithmetic, intervention: Intervention
) -> None:
    """Weight, contribution and effect of one cell side by side: they need not agree."""
    contribution = head_view(trace, cell.layer, cell.head, "contribution").values
    row = contribution[cell.query].nan_to_num()
    share = float(row[cell.key] / row.sum()) if row.sum() > 0 else 0.0
    one, two, three = st.columns(3)
    one.metric(_("Weight α"), f"{steps.probability:.3f}")
    two.metric(
        _("Contribution"), f"{share:.3f}", help=_("‖α·vW_O‖ as a share of the row's sum, for this head.")
    )
    pair = (cell.layer, cell.head, cell.query, cell.key)
    without = replace(intervention, hidden_cells=intervention.hidden_cells | {pair})
    after = traced_with(choice.network, choice.text, without).logits
    if trace.logits is None or after is None:
        return
    change = compare_next_token(trace.logits[-1], after[-1], 1)
    three.metric(
        _("Effect (KL)"),
        f"{change.kl:.4f}",
        help=_("How far the next token's distribution moves, in nats, when only this cell is hidden."),
    )


def checks(trace: Trace, selection: Selection) -> list[Check]:
    """Two independent computations of what this layer put out, compared now."""
    record = trace.layers[selection.layer]
    silenced = frozenset(head for layer, head in selection.silenced if layer == selection.layer)
    projection = Check(
        _("the sum of the heads' outputs through W_O with the network's own output"),
        difference_from_module(record),
        1e-4,
    )
    if record.softcap is not None:
        return [projection]
    sdpa = difference_from_sdpa(record, silenced)
    return [Check("torch scaled_dot_product_attention", sdpa, rounding_of_attention(record)), projection]


def take_away(
    page: Page, choice: Choice, trace: Trace, selection: Selection, intervention: Intervention
) -> None:
    view = head_view(trace, selection.layer, selection.head, selection.stage, selection.hide_sink)

    def table() -> pd.DataFrame:
        labels = [f"{index} {label}" for index, label in enumerate(trace.labels)]
        return pd.DataFrame(view.values.numpy(), columns=labels).assign(query=labels)

    def figure() -> go.Figure:
        return head_figure(page, choice.trace, trace, selection)

    cell = (selection.layer, selection.head, *cell_now(page, trace, selection))

    def python() -> Script:
        return heads_at_work(
            choice.network, trace, intervention, cell, selection.stage, selection.hide_sink
        )

    take_with_you(page.name, table, figure, python)
