"""Figures of the quantization page on one layer: outliers and their remedies, GPTQ column by column."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.attention import HATCH
from components.figures.style import (
    DASHES,
    DIVERGING,
    GREEN,
    GREY,
    INK,
    MARGIN,
    MARKERS,
    ORANGE,
    PURPLE,
    RED,
    SERIES,
    SKY,
    drawing,
    narrow,
)
from components.words import _

REMEDY_LOOK = {  # colour, dash, marker and hatch of each way to treat activations, in every figure
    "tensor": (GREY, "longdashdot", "x", ""),
    "token": (SKY, "solid", "circle", "."),
    "llm_int8": (RED, "longdash", "cross", "x"),
    "smoothquant": (ORANGE, "dash", "square", "/"),
    "hadamard": (GREEN, "dot", "diamond", "\\"),
    "awq": (PURPLE, "dashdot", "triangle-up", "-"),
}
ERROR_TICKS = [step * 10.0**power for power in range(-4, 1) for step in (1, 2, 5)]


def error_axis(title: str, **options: Any) -> dict[str, Any]:
    """A logarithmic axis of relative errors in per cent."""
    return {"title": {"text": title}, "type": "log", "tickformat": ".1~%", **options}


def channel_peaks(
    series: Mapping[Any, tuple[str, np.ndarray]], threshold: float, channel: int, height: int = 360
) -> go.Figure:
    """The largest magnitude of each input channel, as it is and as a remedy leaves it.

    ``series``: for keys of REMEDY_LOOK a name and the magnitudes.
    """
    traces = [
        go.Scatter(
            y=narrow(values),
            name=name,
            mode="lines",
            line={"color": REMEDY_LOOK[kind][0], "dash": REMEDY_LOOK[kind][1], "width": 1.5},
            hovertemplate=f"{name}<br>" + _("channel") + " %{x}: %{y:.3g}<extra></extra>",
        )
        for kind, (name, values) in series.items()
    ]
    _name, first = next(iter(series.values()))
    marked = go.Scatter(
        x=[channel],
        y=[first[channel]],
        mode="markers",
        name=_("the chosen channel"),
        marker={"color": RED, "size": 12, "symbol": "diamond-open", "line": {"width": 3}},
        hoverinfo="skip",
    )
    line = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": threshold, "y1": threshold}
    return drawing(
        [*traces, marked],
        height,
        xaxis={"title": {"text": _("Input channel")}, "range": [-1, len(first)]},
        yaxis={
            "title": {"text": _("Largest magnitude over the text")},
            "type": "log",
            "range": [-1.5, 3],
            "dtick": 1,
        },
        shapes=[line | {"line": {"color": INK, "dash": "dot", "width": 2}}],
        margin=MARGIN | {"t": 62},
    )


def remedy_bars(
    names: Mapping[Any, str], errors: np.ndarray, notes: Sequence[str], height: int = 360
) -> go.Figure:
    """Output error under each remedy, on a fixed logarithmic scale, with a note beside each bar."""
    bars = go.Bar(
        y=list(names.values()),
        x=narrow(errors),
        orientation="h",
        text=list(notes),
        textposition="auto",
        insidetextfont={"color": "#111"},
        marker={
            "color": [REMEDY_LOOK[kind][0] for kind in names],
            "pattern": HATCH | {"shape": [REMEDY_LOOK[kind][3] for kind in names], "fgopacity": 0.35},
        },
        hovertemplate="%{y}<br>%{x:.3%}<extra></extra>",
    )
    return drawing(
        [bars],
        height,
        xaxis=error_axis(_("Output error"), range=[-3, 0.1], tickvals=[0.001, 0.01, 0.1, 1]),
        yaxis={"autorange": "reversed"},
        margin=MARGIN | {"l": 120, "t": 12},
    )


def exponent_curves(
    alphas: np.ndarray, series: Mapping[Any, tuple[str, np.ndarray]], now: float, height: int = 360
) -> go.Figure:
    """Output error against the exponent, for keys of REMEDY_LOOK; a line at SmoothQuant's present one."""
    traces = [
        go.Scatter(
            x=narrow(alphas),
            y=narrow(errors),
            name=name,
            mode="lines+markers",
            line={"color": REMEDY_LOOK[kind][0], "dash": REMEDY_LOOK[kind][1]},
            marker={"symbol": REMEDY_LOOK[kind][2], "size": 7},
            hovertemplate=f"{name}<br>α %{{x:.2f}}: %{{y:.3%}}<extra></extra>",
        )
        for kind, (name, errors) in series.items()
    ]
    line = {"type": "line", "x0": now, "x1": now, "y0": 0, "y1": 1, "yref": "paper"}
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": "α"}, "range": [-0.03, 1.03]},
        yaxis=error_axis(_("Output error"), tickvals=ERROR_TICKS),
        shapes=[line | {"line": {"color": INK, "dash": "dot", "width": 2}}],
        margin=MARGIN | {"t": 62},
    )


def pushed_error(
    moved: np.ndarray, done: Sequence[int], column: int, top: float, height: int = 440
) -> go.Figure:
    """W now − W as it was: columns that are rounded are framed, the last of them heavily."""
    heatmap = go.Heatmap(
        z=narrow(moved),
        zmin=-top,
        zmax=top,
        colorscale=DIVERGING,
        colorbar={
            "title": {"text": _("change of the weight"), "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
        },
        hovertemplate=_("output") + " %{y} · " + _("input") + " %{x}<br>%{z:.4f}<extra></extra>",
    )
    rounded = go.Scatter(
        x=list(done),
        y=np.full(len(done), -1.2),
        mode="markers",
        hoverinfo="skip",
        marker={
            "symbol": "triangle-down",
            "size": 9,
            "color": [RED if c == column else GREY for c in done],
        },
    )
    rows, columns = moved.shape
    return drawing(
        [heatmap, rounded],
        height,
        showlegend=False,
        xaxis={
            "title": {"text": _("Input channel (▾ rounded)")},
            "range": [-0.5, columns - 0.5],
            "showgrid": False,
            "zeroline": False,
        },
        yaxis={
            "title": {"text": _("Output channel")},
            "range": [rows - 0.5, -2],
            "showgrid": False,
            "zeroline": False,
        },
        margin=MARGIN | {"t": 12},
    )


def growing_error(curves: dict[str, np.ndarray], now: int, height: int = 440) -> go.Figure:
    """Output error after each rounded column, for several ways; a line where the stepper stands."""
    traces = [
        go.Scatter(
            x=np.arange(1, len(values) + 1),
            y=narrow(values),
            name=name,
            mode="lines+markers",
            line={"color": SERIES[index], "dash": DASHES[index]},
            marker={"symbol": MARKERS[index], "size": 6},
            hovertemplate=f"{name}<br>%{{x}}: %{{y:.2%}}<extra></extra>",
        )
        for index, (name, values) in enumerate(curves.items())
    ]
    line = {"type": "line", "x0": now, "x1": now, "y0": 0, "y1": 1, "yref": "paper"}
    top = max([0.05, *(float(np.nanmax(values)) for values in curves.values())])
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": _("Columns rounded")}},
        yaxis={
            "title": {"text": _("Output error")},
            "tickformat": ".0%",
            "range": [0, 1.1 * top],
        },
        shapes=[line | {"line": {"color": INK, "dash": "dot", "width": 2}}],
    )
