"""Figures of a quantized matrix: its levels, its error, and formats at equal cost."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from components.figures.attention import HATCH
from components.figures.style import (
    BLUE,
    DASHES,
    GREY,
    INK,
    LETTER,
    MARGIN,
    MARKERS,
    ORANGE,
    RED,
    SEQUENTIAL,
    SERIES,
    SKY,
    drawing,
    narrow,
)
from components.words import _

CELLS = 96  # most rows and columns of the error map
BINS = 120


def level_histogram(
    counts: np.ndarray, limit: float, levels: np.ndarray, title: str, height: int = 330
) -> go.Figure:
    """How often each weight occurs, as a share, and the levels of the first group under it."""
    centres = ((np.arange(len(counts)) + 0.5) / len(counts) * 2 - 1) * limit
    top = float(counts.max()) * 1.05
    bars = go.Bar(
        x=narrow(centres),
        y=narrow(counts),
        name=_("weights"),
        width=2 * limit / len(counts),
        marker={"color": SKY, "line": {"width": 0}},
        hovertemplate="%{x:.4f}: %{y:.4f}<extra></extra>",
    )
    inside = narrow(levels[np.abs(levels) <= limit * 1.02])
    stems = go.Scatter(
        x=np.repeat(inside, 3),
        y=np.tile(np.array([0, top, np.nan], np.float32), len(inside)),
        mode="lines",
        name=_("levels of the first group"),
        line={"color": ORANGE, "width": 1.5 if len(inside) < 40 else 0.6},
        hovertemplate="%{x:.5f}<extra></extra>",
    )
    return drawing(
        [bars, stems],
        height,
        title={"text": title, "font": {"size": 14}, "x": 0, "xref": "paper", "y": 0.985},
        xaxis={"title": {"text": _("Weight")}, "range": [-1.02 * limit, 1.02 * limit]},
        yaxis={"title": {"text": _("Share of weights")}, "range": [0, top]},
        margin=MARGIN | {"t": 62},
        bargap=0,
    )


def staircase(before: np.ndarray, after: np.ndarray, limit: float, height: int = 330) -> go.Figure:
    """Weights of the first group before and after: a point on the diagonal has no error."""
    diagonal = go.Scatter(
        x=[-limit, limit],
        y=[-limit, limit],
        mode="lines",
        line={"color": GREY, "dash": "dot"},
        name=_("no error"),
        hoverinfo="skip",
    )
    points = go.Scatter(
        x=narrow(before),
        y=narrow(after),
        mode="markers",
        name=_("weights of the first row"),
        marker={"color": BLUE, "size": 6, "opacity": 0.7},
        hovertemplate="%{x:.5f} → %{y:.5f}<extra></extra>",
    )
    span = [-1.05 * limit, 1.05 * limit]
    return drawing(
        [diagonal, points],
        height,
        xaxis={"title": {"text": _("Weight")}, "range": span},
        yaxis={"title": {"text": _("After quantization")}, "range": span},
    )


def pooled(values: np.ndarray, most: int = CELLS) -> np.ndarray:
    """A matrix of at most ``most`` rows and columns, each cell the root mean square of what it covers."""
    rows, columns = values.shape
    squares: np.ndarray = narrow(values) ** 2
    for axis, size in ((0, rows), (1, columns)):
        if size > most:
            edges = np.linspace(0, size, most + 1).astype(int)
            shape = [1, 1]
            shape[axis] = -1
            sizes = narrow(np.diff(edges)).reshape(shape)
            squares = np.add.reduceat(squares, edges[:-1], axis) / sizes
    return np.sqrt(squares)


def error_map(error: np.ndarray, shape: tuple[int, int], top: float, height: int = 330) -> go.Figure:
    """Where the error is: rows are outputs, columns inputs, each cell the RMS of the weights it covers."""
    rows, columns = error.shape
    heatmap = go.Heatmap(
        z=np.ascontiguousarray(error, dtype=np.float32),
        y0=shape[0] / rows / 2,
        dy=shape[0] / rows,
        x0=shape[1] / columns / 2,
        dx=shape[1] / columns,
        zmin=0,
        zmax=top,
        colorscale=SEQUENTIAL,
        colorbar={"title": {"text": _("RMS error"), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate=_("output") + " %{y:.0f} · " + _("input") + " %{x:.0f}<br>%{z:.3g}<extra></extra>",
    )
    return drawing(
        [heatmap],
        height,
        xaxis={"title": {"text": _("Input channel")}, "showgrid": False, "zeroline": False},
        yaxis={
            "title": {"text": _("Output channel")},
            "autorange": "reversed",
            "showgrid": False,
            "zeroline": False,
        },
    )


def bits_against_quality(
    curves: dict[str, tuple[np.ndarray, np.ndarray]],
    now: tuple[float, float],
    slope: float,
    height: int = 330,
) -> go.Figure:
    """SQNR against bits really spent: named curves, this setting, and the line of a normal source."""
    line = go.Scatter(
        x=[0, 9.5],
        y=[0, 9.5 * slope],
        mode="lines",
        name=_("bound, 6.02 dB per bit"),
        line={"color": GREY, "dash": "dot"},
        hoverinfo="skip",
    )
    traces = [
        go.Scatter(
            x=narrow(x),
            y=narrow(y),
            name=name,
            mode="lines+markers",
            line={"color": SERIES[index], "dash": DASHES[index]},
            marker={"symbol": MARKERS[index], "size": 8},
            hovertemplate=f"{name}<br>%{{x:.3f}} · %{{y:.2f}} dB<extra></extra>",
        )
        for index, (name, (x, y)) in enumerate(curves.items())
    ]
    point = go.Scatter(
        x=[now[0]],
        y=[now[1]],
        mode="markers",
        name=_("this setting"),
        marker={"color": RED, "size": 16, "symbol": "star", "line": {"color": "white", "width": 1}},
        hovertemplate="%{x:.3f} · %{y:.2f} dB<extra></extra>",
    )
    return drawing(
        [line, *traces, point],
        height,
        xaxis={"title": {"text": _("Effective bits per weight")}, "range": [0.5, 9.5]},
        yaxis={"title": {"text": "SQNR (dB)"}, "range": [0, 56]},
        margin=MARGIN | {"t": 12},
        legend={"x": 1, "y": 0.01, "xanchor": "right", "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
    )


def _next_ten(decibels: float) -> int:
    """The end of an axis that has room for a bound; it stays while the bound moves a little."""
    return 10 * math.ceil((decibels + 1) / 10)


def duel(
    names: Sequence[str],
    bits: Sequence[float],
    series: dict[str, np.ndarray],
    bound: float,
    height: int = 520,
) -> go.Figure:
    """SQNR of formats that cost the same, on named data; the bound for a normal source as a line."""
    rows = [f"{name} · {cost:.2f}" for name, cost in zip(names, bits, strict=True)]
    patterns = ("", "/", "x")
    bars = [
        go.Bar(
            y=rows,
            x=narrow(values),
            orientation="h",
            name=name,
            marker={"color": SERIES[index], "pattern": HATCH | {"shape": patterns[index % 3]}},
            hovertemplate=f"{name}<br>%{{y}}: %{{x:.2f}} dB<extra></extra>",
        )
        for index, (name, values) in enumerate(series.items())
    ]
    line = {"type": "line", "x0": bound, "x1": bound, "y0": 0, "y1": 1, "yref": "paper"}
    label = {
        "x": bound,
        "y": 0,
        "yref": "paper",
        "yanchor": "bottom",
        "xanchor": "right",
        "showarrow": False,
        "text": _("6.02 dB per bit") + " ",
        "font": {"size": 12},
    }
    return drawing(
        bars,
        height,
        barmode="group",
        bargap=0.3,
        xaxis={"title": {"text": "SQNR (dB)"}, "range": [0, _next_ten(bound)]},
        yaxis={"autorange": "reversed"},
        margin=MARGIN | {"l": round(24 + LETTER * max([20, *map(len, rows)]))},
        shapes=[line | {"line": {"color": INK, "dash": "dot", "width": 2}}],
        annotations=[label],
    )
