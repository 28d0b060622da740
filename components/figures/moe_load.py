"""Figures of loads over many experts: dropped tokens, a grid of experts, pairs, all measures."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from components.figures.moe import TALLEST_LOAD
from components.figures.style import MARGIN, SEQUENTIAL, SKY, drawing, escaped, narrow
from components.words import _


def dropped_tokens(
    dropped: np.ndarray,
    rows: Sequence[str],
    tokens: Sequence[Sequence[str]],
    chosen: int,
    height: int = 380,
) -> go.Figure:
    """How many of a token's K experts had no room for it: sequences down, positions across."""
    heatmap = go.Heatmap(
        z=np.ascontiguousarray(dropped, dtype=np.uint8),
        y=list(rows),
        zmin=0,
        zmax=chosen,
        colorscale=SEQUENTIAL,
        customdata=[[escaped(token) for token in row] for row in tokens],
        colorbar={
            "title": {"text": _("experts without room"), "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
            "dtick": 1,
        },
        hovertemplate="%{y} · %{x} · %{customdata}<br>"
        + _("experts without room")
        + " %{z}<extra></extra>",
        ygap=3,
    )
    return drawing(
        [heatmap],
        height,
        xaxis={"title": {"text": _("Position in the sequence")}, "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
        margin=MARGIN | {"l": 24 + 7 * max(len(row) for row in rows), "t": 8},
    )


def expert_grid(load: np.ndarray, groups: int, height: int = 330) -> go.Figure:
    """Load of every expert over the mean: a row for each device, its experts across."""
    relative = narrow((load / max(float(load.mean()), 1e-9)).reshape(groups, -1))
    heatmap = go.Heatmap(
        z=relative,
        zmin=0,
        zmax=TALLEST_LOAD,
        colorscale=SEQUENTIAL,
        colorbar={"title": {"text": _("load ÷ mean"), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate=_("group") + " %{y} · " + _("expert") + " %{x}<br>%{z:.3f}<extra></extra>",
        ygap=3,
    )
    return drawing(
        [heatmap],
        height,
        xaxis={"title": {"text": _("Expert within its group")}, "showgrid": False},
        yaxis={"title": {"text": _("Group")}, "autorange": "reversed", "showgrid": False, "dtick": 1},
        margin=MARGIN | {"t": 8},
    )


def pair_matrix(values: np.ndarray, top: float, title: str, bar_title: str, height: int = 380) -> go.Figure:
    """A square matrix over experts or blocks of them; the diagonal stays empty."""
    z = narrow(values)
    np.fill_diagonal(z, np.nan)
    heatmap = go.Heatmap(
        z=z,
        zmin=0,
        zmax=top,
        colorscale=SEQUENTIAL,
        hoverongaps=False,
        colorbar={"title": {"text": bar_title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate="%{y} → %{x}<br>%{z:.3f}<extra></extra>",
    )
    return drawing(
        [heatmap],
        height,
        xaxis={"title": {"text": title}, "showgrid": False, "constrain": "domain"},
        yaxis={"title": {"text": title}, "autorange": "reversed", "showgrid": False},
        margin=MARGIN | {"t": 8},
    )


def measure_bars(
    shares: Sequence[float], names: Sequence[str], texts: Sequence[str], height: int = 300
) -> go.Figure:
    """Measures as shares of what each can reach, with their values written beside them."""
    bar = go.Bar(
        y=list(names),
        x=np.clip(np.asarray(shares, np.float32), 0, 1),
        orientation="h",
        text=list(texts),
        textposition="outside",
        cliponaxis=False,
        marker={"color": SKY},
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    return drawing(
        [bar],
        height,
        xaxis={
            "range": [0, 1.25],
            "title": {"text": _("share of what it can reach")},
            "tickformat": ".0%",
            "tickvals": [0, 0.5, 1],
        },
        yaxis={"autorange": "reversed"},
        margin=MARGIN | {"l": 24 + 7 * max(len(name) for name in names), "t": 8},
    )
