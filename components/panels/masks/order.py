"""Can a causal network tell the order of its tokens without position encodings?"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import whole_number
from components.figures.masks import by_depth
from components.live.figure import live_figure
from components.page import Page, take_with_you
from components.panels import panel
from components.panels.network.text import Choice
from components.take.masks import order as order_script
from components.traces import token_labels, traced
from components.words import _
from models.masks.order import TRIALS, OrderTrial, order_distances, shuffled
from models.networks.loading import load

SMALLEST = 1e-8  # of the logarithmic axis: below float32's rounding


def trial_label(trial: OrderTrial) -> str:
    if trial.positions:
        return _("causal, with positions")
    return _("causal, no positions") if trial.causal else _("bidirectional, no positions")


@st.cache_data(max_entries=32, show_spinner=False)
def distances(network: str, text: str, seed: int) -> list[np.ndarray]:
    """For each trial, how far the last token's vector moves at each depth when the others are shuffled."""
    ids = traced(network, text).token_ids
    return [order_distances(load(network), ids, seed, trial).numpy() for trial in TRIALS]


@panel
def order(page: Page, choice: Choice) -> None:
    left, right = st.columns([1, 4], gap="medium")
    with left:
        seed = whole_number(_("Seed"), 0, 9_999, f"{page.name}_seed", 0)
    with right:
        ids = shuffled(choice.trace.token_ids, seed).tolist()
        words = " ".join(token_labels(choice.network, ids[:40]))
        st.caption(_("Shuffled, the two ends in place:") + " " + words)
    found = distances(choice.network, choice.text, seed)
    alt = _("How far the last token's vector moves when the others change places")
    live_figure(order_figure(found), f"{page.name}_order", alt)
    page.note("order")
    table = pd.DataFrame({trial_label(trial): curve for trial, curve in zip(TRIALS, found, strict=True)})
    table = table.rename_axis("blocks_passed").reset_index()
    take_with_you(
        f"{page.name}_order",
        lambda: table,
        lambda: order_figure(found),
        lambda: order_script(choice.network, choice.trace, seed, [curve.tolist() for curve in found]),
    )


def order_figure(found: list[np.ndarray]) -> go.Figure:
    """After each block; before the first the last token has not read anything yet."""
    return by_depth(
        {
            trial_label(trial): np.maximum(curve[1:], SMALLEST)
            for trial, curve in zip(TRIALS, found, strict=True)
        },
        y_title=_("Change of the last token's vector, relative"),
    )
