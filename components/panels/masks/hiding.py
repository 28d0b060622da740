"""How a pair is hidden: −∞ before softmax against two wrong ways, and rows that see nothing at all."""

import pandas as pd
import streamlit as st
import torch

from components.controls import choose
from components.figures.masks import by_token
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.masks.controls import mask_controls, settings_now
from components.panels.masks.live_mask import mask_now
from components.panels.network.text import Choice
from components.take.masks import empty_row as row_of_nothing
from components.traces import traced
from components.words import _
from models.masks.effects import empty_rows
from models.masks.hiding import WAYS, Outcome, Way, fully_masked_row, hide
from models.numerics.comparison import largest_difference

LIVE, SETTLED = ("live_hiding",), ("live_hiding", "sums_of_rows")
TOPS = (0.1, 0.25, 0.5, 1.05)  # of the axis: few, so that it seldom changes while a slider moves


def way_label(way: Way) -> str:
    return {
        "infinity": _("−∞ before softmax"),
        "zero_score": _("score 0 before softmax"),
        "zero_weight": _("weight 0 after softmax"),
    }[way]


def outcome_label(outcome: Outcome) -> str:
    return {
        "nan": _("NaN"),
        "zero": _("zero"),
        "mean": _("the mean of all values, hidden ones too"),
        "other": _("something else"),
    }[outcome]


@panel
def hiding(page: Page, choice: Choice) -> None:
    """One row of one head under the mask, hidden in three ways; below, a row without any key."""
    base, name = choice.trace, page.name
    mask_controls(page, base.tokens_shown, LIVE, SETTLED)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layers, heads = len(base.layers), len(base.layers[0].query)
        layer, head = (
            choose(title, range(count), f"{name}_{one}", str, default=page.default(one), width=90)
            for title, one, count in ((_("Layer"), "layer", layers), (_("Head"), "head", heads))
        )
        query = choose(
            _("Query"),
            [-1, *range(base.tokens_shown)],
            f"{name}_query",
            lambda index: f"{index} · {base.labels[index]}" if index >= 0 else _("the middle of the text"),
            default=-1,
            width=220,
        )
    row = query if query >= 0 else base.tokens_shown // 2
    settings_now(page)  # what cannot be read is refused here, once for all that follows
    live_hiding(page, choice, layer, head, row)
    sums_of_rows(page, choice, layer, head, row)
    page.note("hiding")
    empty_row(page, choice, layer, row)


def weights_now(page: Page, choice: Choice, layer: int, head: int, row: int) -> dict[Way, torch.Tensor]:
    """The row's weights under each way, from the network's own scores."""
    base = choice.trace
    _settings, visible = mask_now(page, base.tokens_shown)
    scores = base.layers[layer].scaled[head, row]
    return {way: hide(scores, visible[row], way) for way in WAYS}


@live_panel
def live_hiding(page: Page, choice: Choice, layer: int, head: int, row: int) -> None:
    base = choice.trace
    found = weights_now(page, choice, layer, head, row)
    largest = max(float(weights.max()) for weights in found.values())
    figure = by_token(
        {way_label(way): weights.numpy() for way, weights in found.items()},
        base.labels,
        y_title=_("Weight"),
        y_range=(0, next(top for top in TOPS if top >= largest)),
        height=360,
    )
    live_figure(figure, f"{page.name}_ways", _("Weights of one row, hidden in three ways"))


@panel
def sums_of_rows(page: Page, choice: Choice, layer: int, head: int, row: int) -> None:
    """What each way makes of the row's sum, and how much it leaves on hidden keys."""
    base = choice.trace
    _settings, visible = mask_now(page, base.tokens_shown)
    found = weights_now(page, choice, layer, head, row)
    heads = _("How"), _("Sum of the row"), _("Weight on hidden keys")
    lines = [
        f"| {' | '.join(heads)} |",
        "|---|---|---|",
        *(
            f"| {way_label(way)} | {weights.sum():.4f} | {weights[~visible[row]].sum():.4f} |"
            for way, weights in found.items()
        ),
    ]
    st.markdown("\n".join(lines))
    if row in empty_rows(visible):
        st.caption(_("This query sees nothing: its weights stand as zeros. What others do is shown below."))
    scores = base.layers[layer].scaled[head, row].masked_fill(~visible[row], -torch.inf)
    theirs = scores.softmax(-1) if visible[row].any() else torch.zeros(len(scores))
    checked_against([Check("torch.softmax", largest_difference(found["infinity"], theirs), 1e-6)])


@st.cache_data(max_entries=32, show_spinner=False)
def outcomes(network: str, text: str, layer: int, row: int) -> list[tuple[str, Outcome, float]]:
    """Each implementation's name, what it gives, and the length of its first head's output."""
    record = traced(network, text).layers[layer]
    keys = record.key_of_head
    found = fully_masked_row(record.query, record.key[keys], record.value[keys], record.scale, row)
    return [(entry.name, entry.outcome, float(entry.output[0].norm())) for entry in found]


def empty_row(page: Page, choice: Choice, layer: int, row: int) -> None:
    """The same query, hidden from every key, as each library computes it now."""
    st.markdown("##### " + _("When this query may read nothing at all"))
    found = outcomes(choice.network, choice.text, layer, row)
    rows = pd.DataFrame(
        {
            _("Computed by"): name,
            _("Output"): outcome_label(outcome),
            _("Length of head 0's output"): f"{length:.4f}",
        }
        for name, outcome, length in found
    )
    st.dataframe(rows, hide_index=True)
    page.note("empty")
    lengths = {name: length for name, _outcome, length in found}
    take_with_you(
        f"{page.name}_hiding",
        lambda: rows,
        None,
        lambda: row_of_nothing(choice.network, choice.trace, layer, row, lengths),
    )
