"""Entropy and rank by layer, with and without residual connections and MLPs."""

import math
from typing import Literal, get_args

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import choose
from components.figures.attention import entropy_strip, lines
from components.live.figure import live_figure
from components.page import Page, take_with_you
from components.panels import panel
from components.panels.network.text import Choice
from components.take.attention import rank_by_depth
from components.traces import traced_with
from components.words import _
from models.attention.depth import attention_entropy, causal_rank, rank_one_residual
from models.networks.interventions import Intervention

VARIANTS = {
    "whole": Intervention(),
    "no_mlp": Intervention(mlp=False),
    "no_residual": Intervention(residual=False),
    "neither": Intervention(residual=False, mlp=False),
}
Distance = Literal["best", "mean"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def variant_label(variant: str) -> str:
    return {
        "whole": _("the network as it is"),
        "no_mlp": _("without MLPs"),
        "no_residual": _("without skip connections"),
        "neither": _("with neither: attention alone"),
    }[variant]


@st.cache_data(max_entries=32, show_spinner=False)
def rank_curves(network: str, text: str, distance: Distance) -> dict[str, np.ndarray]:
    """Relative distance from rank 1 before each block and after the last, for each variant."""
    return {
        variant: np.array(
            [rank_one_residual(state, distance) for state in traced_with(network, text, change).hidden]
        )
        for variant, change in VARIANTS.items()
    }


@panel
def depth(page: Page, choice: Choice) -> None:
    distance = choose(
        _("Distance from"),
        DISTANCES,
        f"{page.name}_distance",
        lambda kind: _("the best rank-1 matrix") if kind == "best" else _("all tokens alike (1·meanᵀ)"),
        default="best",
        style="segments",
    )
    left, right = st.columns(2, gap="medium")
    with left:
        curves = rank_curves(choice.network, choice.text, distance)
        live_figure(
            curve_figure(curves),
            f"{page.name}_rank",
            _("Distance of the residual stream from rank 1 by layer"),
        )
    with right:
        trace = choice.trace
        entropies = [attention_entropy(record.probabilities).mean(-1).numpy() for record in trace.layers]
        seen = trace.layers[0].visible.reshape(-1, *trace.layers[0].visible.shape[-2:])[0].sum(-1)
        largest = float(seen.double().log().mean())
        live_figure(
            entropy_strip(entropies, largest, height=420),
            f"{page.name}_entropy",
            _("Mean attention entropy of every head by layer"),
        )
    page.note("depth")
    rank_of_head(page, choice)
    take_with_you(
        f"{page.name}_depth",
        lambda: pd.DataFrame(curves).rename_axis("blocks_passed").reset_index(),
        lambda: curve_figure(curves),
        lambda: rank_by_depth(
            choice.network, trace, {name: curve.tolist() for name, curve in curves.items()}, distance
        ),
    )


def curve_figure(curves: dict[str, np.ndarray]) -> go.Figure:
    return lines(
        {variant_label(name): (np.arange(len(curve)), curve) for name, curve in curves.items()},
        _("Blocks passed"),
        _("Distance from rank 1, relative"),
        y_range=(0, 1.02),
        height=420,
    )


def rank_of_head(page: Page, choice: Choice) -> None:
    """Is a causal attention matrix of full rank? Of the head that is open in the first view."""
    layer = min(
        st.session_state.get(f"{page.name}_layer", page.default("layer")), len(choice.trace.layers) - 1
    )
    record = choice.trace.layers[layer]
    head = min(st.session_state.get(f"{page.name}_head", page.default("head")), len(record.query) - 1)
    if record.probabilities[head].triu(1).any():
        return
    rank = causal_rank(record.probabilities[head])
    st.markdown(
        "**"
        + _("Layer {layer}, head {head}").format(layer=layer, head=head)
        + "** · "
        + _(
            "the smallest weight on the diagonal is {diagonal}, so the determinant is not zero "
            "(ln|det| = {determinant}) and the matrix has full rank {size} in exact arithmetic; "
            "counted with rounding, its rank is {rank}."
        ).format(
            diagonal=f"{rank.smallest_diagonal:.1e}",
            determinant=f"{rank.log_abs_determinant:.0f}"
            if math.isfinite(rank.log_abs_determinant)
            else "−∞",
            size=rank.size,
            rank=rank.rank,
        )
    )
