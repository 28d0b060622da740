"""Figures of the quantization page on a whole network: the way down, sensitivity, budget, cache."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.attention import HATCH
from components.figures.style import (
    BLUE,
    DASHES,
    GREY,
    MARGIN,
    MARKERS,
    ORANGE,
    RED,
    SEQUENTIAL,
    SERIES,
    drawing,
    escaped,
    narrow,
    token_axis,
    token_categories,
)
from components.words import _


def errors_by_module(
    labels: Sequence[str], weight: np.ndarray, output: np.ndarray, top: float, height: int = 320
) -> go.Figure:
    """Relative error of each matrix and of what it writes."""
    pairs = ((_("of the weights"), weight, BLUE, "circle"), (_("of the output"), output, ORANGE, "diamond"))
    traces = [
        go.Scatter(
            x=np.arange(len(values)),
            y=narrow(values),
            name=name,
            mode="markers+lines",
            marker={"color": colour, "symbol": symbol, "size": 8},
            line={"color": colour, "width": 1, "dash": "dot"},
            customdata=list(labels),
            hovertemplate=f"%{{customdata}}<br>{name}: %{{y:.2%}}<extra></extra>",
        )
        for name, values, colour, symbol in pairs
    ]
    step = max(1, -(-len(labels) // 30))
    return drawing(
        traces,
        height,
        xaxis={
            "tickvals": list(range(0, len(labels), step)),
            "ticktext": list(labels)[::step],
            "tickangle": -60,
            "tickfont": {"size": 11},
            "zeroline": False,
            "range": [-0.6, len(labels) - 0.4],
        },
        yaxis={"title": {"text": _("Relative error")}, "tickformat": ".0%", "range": [0, top]},
        margin=MARGIN | {"b": 96},
    )


STREAM_TOPS = (0.3, 0.6, 1.3)


def stream(errors: np.ndarray, height: int = 320) -> go.Figure:
    """How the error grows along the residual stream, on one of three scales."""
    top = next(
        (top for top in STREAM_TOPS if float(np.nan_to_num(errors).max()) < 0.95 * top), STREAM_TOPS[-1]
    )
    line = go.Scatter(
        y=narrow(errors),
        mode="lines+markers",
        line={"color": BLUE, "width": 3},
        marker={"size": 9},
        hovertemplate="%{x}: %{y:.2%}<extra></extra>",
    )
    return drawing(
        [line],
        height,
        xaxis={"title": {"text": _("Blocks passed")}, "dtick": max(1, len(errors) // 8)},
        yaxis={
            "title": {"text": _("Error of the stream")},
            "tickformat": ".0%",
            "range": [0, top],
        },
        margin=MARGIN | {"t": 16},
    )


def kl_bars(labels: Sequence[str], kl: np.ndarray, flipped: np.ndarray, height: int = 320) -> go.Figure:
    """KL of the next token after each token; where the greedy choice flips, hatched and another colour."""
    shown = narrow(np.maximum(kl, 1e-6))
    traces = [
        go.Bar(
            x=token_categories(labels),
            y=np.where(mask, shown, np.nan),
            name=name,
            marker={"color": colour, "pattern": HATCH | {"shape": shape}},
            hovertemplate="%{x}<br>KL %{y:.3g} nats<extra></extra>",
        )
        for name, mask, colour, shape in (
            (_("same next token"), ~flipped, BLUE, ""),
            (_("another next token"), flipped, RED, "/"),
        )
    ]
    return drawing(
        traces,
        height,
        barmode="overlay",
        xaxis=token_axis(labels, "", tickangle=-60),
        yaxis={
            "title": {"text": _("KL (nats)")},
            "type": "log",
            "exponentformat": "power",
            "range": [-6, 1.3],
        },
        margin=MARGIN | {"b": 96},
    )


def loss_bars(names: Sequence[str], losses: Sequence[float], title: str, height: int = 320) -> go.Figure:
    """Losses side by side, with their values; the axis ends at a multiple of 4 nats."""
    top = 4 * math.ceil(1.15 * max(losses) / 4)
    bars = go.Bar(
        x=list(names),
        y=np.array(losses, np.float32),
        text=[f"{loss:.4f}" for loss in losses],
        textposition="outside",
        marker={"color": [GREY, ORANGE, BLUE, *SERIES][: len(names)]},
        width=0.6,
        hovertemplate="%{x}: %{y:.4f}<extra></extra>",
    )
    return drawing(
        [bars],
        height,
        title={"text": title, "font": {"size": 14}, "x": 0, "xref": "paper", "y": 0.97},
        xaxis={},
        yaxis={"title": {"text": _("Loss (nats per token)")}, "range": [0, top]},
        showlegend=False,
        margin=MARGIN | {"t": 56},
    )


def names_at(names: Sequence[str], *, down: bool = False) -> dict[str, Any]:
    """An axis with one named cell after another, there also while the cells are empty."""
    ends = [-0.5, len(names) - 0.5]
    return {
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "range": ends[::-1] if down else ends,
        "showgrid": False,
        "zeroline": False,
    }


def _short(value: float) -> str:
    """Two digits, or one and a power of ten: what a cell has room for."""
    if np.isnan(value):
        return ""
    return f"{value:.2g}" if value >= 1e-3 or value == 0 else f"{value:.0e}".replace("e-0", "e-")


def sensitivity_map(
    values: np.ndarray, layers: Sequence[int], modules: Sequence[str], title: str, height: int = 360
) -> go.Figure:
    """Layers down, modules across; matrices that are not measured yet are empty."""
    top = float(np.nanmax(values)) if not np.isnan(values).all() else 1.0
    shown = [[_short(value) for value in row] for row in values]
    heatmap = go.Heatmap(
        z=narrow(values),
        text=shown,
        texttemplate="%{text}",
        textfont={"size": 11},
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=top or 1.0,
        hoverongaps=False,
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        customdata=np.array([[f"{layer} · {module}" for module in modules] for layer in layers]),
        hovertemplate="%{customdata}<br>%{z:.5f}<extra></extra>",
    )
    return drawing(
        [heatmap],
        height,
        xaxis=names_at([module.split(".")[-1] for module in modules]) | {"side": "top", "tickangle": -40},
        yaxis=names_at([str(layer) for layer in layers], down=True) | {"title": {"text": _("Layer")}},
        margin={"l": 48, "r": 8, "t": 66, "b": 12},
    )


def allocations(
    parts: Sequence[str], named: Mapping[str, Sequence[int]], effects: Mapping[str, str], height: int = 360
) -> go.Figure:
    """Bits of each part under several allocations; what each really costs stands in its name."""
    patterns = ("", "/", "x", ".")
    bars = [
        go.Bar(
            x=list(parts),
            y=np.array(bits, np.float32),
            name=f"{name} · {effects.get(name, '…')}",
            marker={"color": SERIES[index], "pattern": HATCH | {"shape": patterns[index % 4]}},
            text=[str(value) for value in bits],
            textposition="outside",
            hovertemplate=f"{name}<br>%{{x}}: %{{y}}<extra></extra>",
        )
        for index, (name, bits) in enumerate(named.items())
    ]
    return drawing(
        bars,
        height,
        barmode="group",
        xaxis={"title": {"text": _("Layers")}, "type": "category"},
        yaxis={"title": {"text": _("Bits")}, "range": [0, 9]},
        margin=MARGIN | {"t": 90},
    )


def cost_curves(costs: dict[str, tuple[Sequence[int], np.ndarray]], height: int = 360) -> go.Figure:
    """KL of each part alone against its bits."""
    traces: list[Any] = [
        go.Scatter(
            x=list(bits),
            y=narrow(np.maximum(values, 1e-7)),
            name=escaped(name),
            mode="lines+markers",
            line={"color": SERIES[index % 6], "dash": DASHES[index % 6]},
            marker={"symbol": MARKERS[index % 6], "size": 9},
            hovertemplate=f"{escaped(name)}<br>%{{x}} bits: KL %{{y:.3g}}<extra></extra>",
        )
        for index, (name, (bits, values)) in enumerate(costs.items())
    ]
    return drawing(
        traces,
        height,
        showlegend=True,
        xaxis={"title": {"text": _("Bits of this part, all others exact")}, "range": [1.7, 8.3]},
        yaxis={
            "title": {"text": _("KL (nats)")},
            "type": "log",
            "exponentformat": "power",
            "range": [-6.5, 1.2],
        },
    )


def cache_look(name: str) -> tuple[str, dict[str, Any]]:
    """Words, colour, dash and marker of a cache, the same in every figure."""
    words, index = {
        "exact": (_("exact cache"), 5),
        "quantized": (_("quantized cache"), 1),
        "swapped": (_("axes of keys and values exchanged"), 2),
    }[name]
    return words, {
        "line": {"color": SERIES[index], "dash": DASHES[index], "width": 2.5},
        "marker": {"symbol": MARKERS[index], "size": 7},
    }


def loss_by_position(curves: dict[str, np.ndarray], y_title: str, height: int = 360) -> go.Figure:
    """Means over the passages along the text, averaged over runs of eight positions."""
    traces = []
    for kind, losses in curves.items():
        count = len(losses) // 8
        means = losses[: 8 * count].reshape(count, 8).mean(1)
        name, look = cache_look(kind)
        traces.append(
            go.Scatter(
                x=np.arange(count) * 8 + 4,
                y=narrow(means),
                name=name,
                mode="lines+markers",
                hovertemplate=f"{name}<br>" + _("position") + " %{x}: %{y:.3f}<extra></extra>",
                **look,
            )
        )
    return drawing(
        traces,
        height,
        showlegend=True,
        xaxis={"title": {"text": _("Position in the text")}},
        yaxis={"title": {"text": y_title}, "rangemode": "tozero"},
        margin=MARGIN | {"t": 62},
    )
