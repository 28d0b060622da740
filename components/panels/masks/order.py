"""Can a causal network tell the order of its tokens without position encodings?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.masks import by_depth
from components.lesson_parts import note
from components.panels.network.reading import ReadsText
from components.settings import number
from components.stage import Block, Plot, Row, Stage
from components.takeaway import take_with_you
from components.traces import token_labels, traced
from components.words import _, mark
from models.masks.order import TRIALS, OrderTrial, order_distances
from models.networks.loading import load
from models.numerics.permutation import permutation

SMALLEST = 1e-8  # of the logarithmic axis: below float32's rounding
MOST_WORDS = 40  # of the shuffled text on the stage


def trial_label(trial: OrderTrial) -> str:
    if trial.positions:
        return _("causal, with positions")
    return _("causal, no positions") if trial.causal else _("bidirectional, no positions")


@st.cache_data(max_entries=32, show_spinner=False)
def distances(network: str, text: str, seed: int) -> list[np.ndarray]:
    """For each trial, how far the last token's vector moves at each depth when the others are shuffled."""
    ids = traced(network, text).token_ids
    return [order_distances(load(network), ids, seed, trial).numpy() for trial in TRIALS]


@dataclass(frozen=True)
class Order(ReadsText):
    """The last token's vector when the others change places, with and without positions and a mask."""

    page, name = "masks", "order"
    seed: int = number(0, 9_999, 0, label=mark("Seed"))

    def figure(self) -> go.Figure:
        return order_figure(distances(self.network_name, self.text, self.seed))

    def stage(self) -> Stage:
        alt = _("How far the last token's vector moves when the others change places")
        return Stage(
            Plot("order", self.figure(), alt), Row([Block(lambda: shuffled_words(self))], pixels=44)
        )

    def below(self) -> None:
        note(self, "order")
        curves = distances(self.network_name, self.text, self.seed)
        table = pd.DataFrame({trial_label(trial): c for trial, c in zip(TRIALS, curves, strict=True)})
        take_with_you(
            self,
            lambda: table.rename_axis("blocks_passed"),
            self.figure,
            snippet(self.network_name, self.text, self.seed),
        )


def shuffled_words(view: Order) -> None:
    """The text in its new order."""
    ids = view.trace.token_ids
    mixed = ids[permutation(len(ids), view.seed, fixed_ends=True)].tolist()
    words = " ".join(token_labels(view.network_name, mixed[:MOST_WORDS]))
    st.caption(_("Shuffled, the two ends in place:") + " " + words)


def order_figure(curves: list[np.ndarray]) -> go.Figure:
    """After each block; before the first the last token has not read anything yet."""
    return by_depth(
        {
            trial_label(trial): np.maximum(curve[1:], SMALLEST)
            for trial, curve in zip(TRIALS, curves, strict=True)
        },
        y_title=_("Change of the last token's vector, relative"),
    )


def snippet(network: str, text: str, seed: int) -> str:
    """Python that repeats the numbers of the curves."""
    return f"""from models.networks.loading import load
from models.networks.tracing import trace
from models.masks.order import TRIALS, order_distances

network = load({network!r})
ids = trace(network, {text!r}).token_ids
for trial in TRIALS:
    print(trial, order_distances(network, ids, {seed}, trial))
"""
