"""Entropy and rank by layer, with and without residual connections and MLPs."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.attention import entropy_strip, lines
from components.lesson_parts import note
from components.panels.attention.settings import AttentionHead
from components.panels.network.heads import head_title
from components.settings import one_of
from components.stage import Plot, Stage
from components.takeaway import take_with_you
from components.traces import traced_with
from components.words import _, mark
from models.attention.depth import attention_entropy, causal_rank, largest_entropy, rank_one_residual
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


def distance_label(distance: str) -> str:
    return _("the best rank-1 matrix") if distance == "best" else _("all tokens alike (1·meanᵀ)")


@dataclass(frozen=True)
class EntropyAndRank(AttentionHead):
    """How alike the tokens become from layer to layer, and how widely each head spreads its weight."""

    page, name = "attention", "depth"
    distance: Distance = one_of(
        DISTANCES, label=mark("Distance from"), label_of=distance_label, style="radio"
    )

    @property
    def curves(self) -> dict[str, np.ndarray]:
        return rank_curves(self.network_name, self.text, self.distance)

    def stage(self) -> Stage:
        trace = self.trace
        entropies = [attention_entropy(record.probabilities).mean(-1).numpy() for record in trace.layers]
        masks = [record.visible.reshape(-1, *record.visible.shape[-2:])[0] for record in trace.layers]
        largest = max(map(largest_entropy, masks))  # layers with a window see fewer keys
        return Stage(
            [
                Plot(
                    "rank",
                    curve_figure(self.curves),
                    _("Distance of the residual stream from rank 1 by layer"),
                ),
                Plot(
                    "entropy",
                    entropy_strip(entropies, largest, height=420),
                    _("Mean attention entropy of every head by layer"),
                ),
            ]
        )

    def below(self) -> None:
        curves = self.curves
        note(self, "depth")
        rank_of_head(self)
        take_with_you(
            self,
            lambda: pd.DataFrame(curves).rename_axis("blocks_passed"),
            lambda: curve_figure(curves),
            snippet(self.network_name, self.text, self.distance),
        )


def curve_figure(curves: dict[str, np.ndarray]) -> go.Figure:
    return lines(
        {variant_label(name): (np.arange(len(curve)), curve) for name, curve in curves.items()},
        _("Blocks passed"),
        _("Distance from rank 1, relative"),
        y_range=(0, 1.02),
        height=420,
    )


def snippet(network: str, text: str, distance: Distance) -> str:
    """Python that repeats the numbers of the curves."""
    return f"""from models.attention.depth import rank_one_residual
from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.tracing import trace

network = load({network!r})
for residual in (True, False):
    for mlp in (True, False):
        traced = trace(network, {text!r}, Intervention(residual=residual, mlp=mlp))
        print(residual, mlp, [rank_one_residual(state, {distance!r}) for state in traced.hidden])
"""


def rank_of_head(view: EntropyAndRank) -> None:
    """Is a causal attention matrix of full rank? Of the head that is open in the first view."""
    layer, head = view.layer, view.open_head
    record = view.trace.layers[layer]
    if record.probabilities[head].triu(1).any():
        return
    rank = causal_rank(record.probabilities[head])
    st.markdown(
        "**"
        + head_title(layer, head)
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
