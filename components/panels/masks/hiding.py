"""How a pair is hidden: −∞ before softmax against three others, and rows that see nothing at all."""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.masks import by_token
from components.lesson_parts import note
from components.panels.masks.settings import MasksHead
from components.settings import slider
from components.stage import Block, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.traces import traced
from components.words import _, mark
from models.masks.effects import empty_rows
from models.masks.hiding import WAYS, Outcome, Way, fully_masked_row, hide
from models.numerics.comparison import largest_difference

TOPS = (0.1, 0.25, 0.5, 1.05)  # of the axis: few, so that it seldom changes while a slider moves


def way_label(way: Way) -> str:
    return {
        "infinity": _("−∞ before softmax"),
        "finite": _("a finite score before softmax"),
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


@dataclass(frozen=True)
class HowToHide(MasksHead):
    """One row of one head under the mask, hidden in four ways; below, a row without any key."""

    page, name = "masks", "hiding"
    rail_first: ClassVar[tuple[str, ...]] = ("lowered", "fill", *MasksHead.rail_first)

    lowered: float = slider(0.0, 200.0, 0.0, 1.0, label=mark("All scores lowered by"))
    fill: float = slider(1.0, 100_000.0, 100.0, 1.0, log=True, label=mark("Finite score: minus"))

    @property
    def row(self) -> int:
        """The query whose row is shown: the middle of the text until one is chosen."""
        tokens = self.trace.tokens_shown
        return self.query if 0 <= self.query < tokens else tokens // 2

    @property
    def scores(self) -> torch.Tensor:
        """The network's own scores of the row, each lowered by the same number."""
        return self.trace.layers[self.layer].scaled[self.open_head, self.row] - self.lowered

    @property
    def weights(self) -> dict[Way, torch.Tensor]:
        """The row's weights under each way."""
        scores, visible = self.scores, self.visible[self.row]
        return {way: hide(scores, visible, way, -self.fill) for way in WAYS}

    def figure(self) -> go.Figure:
        weights = self.weights
        largest = max(float(row.max()) for row in weights.values())
        return by_token(
            {way_label(way): row.numpy() for way, row in weights.items()},
            self.trace.labels,
            y_title=_("Weight"),
            y_range=(0, next(top for top in TOPS if top >= largest)),
        )

    def stage(self) -> Stage:
        alt = _("Weights of one row, hidden in four ways")
        return Stage([Plot("ways", self.figure(), alt, width=2), Block(lambda: sums_of_rows(self))])

    def actions(self) -> None:
        choose_row(self)

    def below(self) -> None:
        note(self, "hiding")
        visible, row = self.visible, self.row
        scores = self.scores
        theirs = scores.masked_fill(~visible[row], -torch.inf).softmax(-1)
        theirs = theirs if visible[row].any() else torch.zeros(len(scores))
        ours = self.weights["infinity"]
        checked_against([Check("torch.softmax", largest_difference(ours, theirs), 1e-6)])
        empty_row(self)


def choose_row(view: HowToHide) -> None:
    """The query by its word; a click in the lab sets the same one."""
    state, key, labels = st.session_state, view.keys()["query"], view.trace.labels
    widget = f"{key}_widget"
    state[widget] = view.query if 0 <= view.query < len(labels) else -1

    def take() -> None:
        state[key] = state[widget]

    def label_of(index: int) -> str:
        return f"{index} · {labels[index]}" if index >= 0 else _("the middle of the text")

    st.selectbox(
        _("Query"),
        [-1, *range(len(labels))],
        format_func=label_of,
        key=widget,
        on_change=take,
    )


def sums_of_rows(view: HowToHide) -> None:
    """What each way makes of the row's sum, and how much it leaves on hidden keys."""
    visible, row = view.visible, view.row
    heads = _("How"), _("Sum of the row"), _("Weight on hidden keys")
    lines = [
        f"| {' | '.join(heads)} |",
        "|---|---|---|",
        *(
            f"| {way_label(way)} | {weights.sum():.4f} | {weights[~visible[row]].sum():.4f} |"
            for way, weights in view.weights.items()
        ),
    ]
    label = view.trace.labels[row].replace("`", "ˋ")
    st.markdown(_("The row of `{query}` (token {row}):").format(query=label, row=row))
    st.markdown("\n".join(lines))
    if row in empty_rows(visible):
        st.caption(_("This query sees nothing: its weights stand as zeros. What others do is shown below."))


@st.cache_data(max_entries=32, show_spinner=False)
def outcomes(network: str, text: str, layer: int, row: int) -> list[tuple[str, Outcome, float]]:
    """Each implementation's name, what it gives, and the length of its first head's output."""
    record = traced(network, text).layers[layer]
    keys = record.key_of_head
    results = fully_masked_row(record.query, record.key[keys], record.value[keys], record.scale, row)
    return [(entry.name, entry.outcome, float(entry.output[0].norm())) for entry in results]


def empty_row(view: HowToHide) -> None:
    """The same query, hidden from every key, as each library computes it now."""
    st.markdown("##### " + _("When this query may read nothing at all"))
    rows = pd.DataFrame(
        {
            _("Computed by"): name,
            _("Output"): outcome_label(outcome),
            _("Length of head 0's output"): f"{length:.4f}",
        }
        for name, outcome, length in outcomes(view.network_name, view.text, view.layer, view.row)
    )
    st.dataframe(rows, hide_index=True)
    note(view, "empty")
    take_with_you(
        view, lambda: rows, view.figure, snippet(view.network_name, view.text, view.layer, view.row)
    )


def snippet(network: str, text: str, layer: int, row: int) -> str:
    """Python that repeats the table."""
    return f"""from models.masks.hiding import fully_masked_row
from models.networks.loading import load
from models.networks.tracing import trace

record = trace(load({network!r}), {text!r}).layers[{layer}]
keys = record.key_of_head
rows = fully_masked_row(record.query, record.key[keys], record.value[keys], record.scale, {row})
for row in rows:
    print(row.name, row.outcome, float(row.output[0].norm()))
"""
