"""Figures of number formats: their bits, the numbers they hold, and what weights become in training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.attention import HATCH
from components.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MARGIN,
    ORANGE,
    RED,
    SKY,
    drawing,
    escaped,
    narrow,
)
from components.words import _

SIGN, EXPONENT, MANTISSA, INTEGER = 0, 1, 2, 3  # kinds of bits
KIND_COLOURS = (RED, ORANGE, SKY, GREY)


def bit_fields(
    names: Sequence[str], bits: Sequence[np.ndarray], kinds: Sequence[np.ndarray], stored: Sequence[str]
) -> go.Figure:
    """Each format's bits as cells with 0 or 1 in them, and the number that is stored at the right."""
    widest = max(len(row) for row in bits)
    colours = np.full((len(names), widest), np.nan, dtype=np.float32)
    shown = [["" for _ in range(widest)] for _ in names]
    for row, (values, kind) in enumerate(zip(bits, kinds, strict=True)):
        colours[row, : len(values)] = kind
        shown[row][: len(values)] = ["1" if bit else "0" for bit in values]
    edges = [index / 4 for index in (0, 1, 1, 2, 2, 3, 3, 4)]
    scale = [[edge, KIND_COLOURS[index // 2]] for index, edge in enumerate(edges)]
    cells = go.Heatmap(
        z=colours,
        text=shown,
        texttemplate="%{text}",
        colorscale=scale,
        zmin=-0.5,
        zmax=3.5,
        xgap=2,
        ygap=4,
        showscale=False,
        hoverongaps=False,
        hoverinfo="skip",
        textfont={"size": 12, "color": "#111"},
    )
    words = go.Scatter(
        x=np.full(len(names), widest),
        y=np.arange(len(names)),
        mode="text",
        text=list(stored),
        textposition="middle right",
        hoverinfo="skip",
    )
    legend = [
        go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=square(colour))
        for name, colour in zip(
            (_("sign"), _("exponent"), _("mantissa"), _("integer")), KIND_COLOURS, strict=True
        )
    ]
    return drawing(
        [cells, words, *(trace.update(showlegend=True) for trace in legend)],
        80 + 27 * len(names),
        xaxis={"range": [-0.7, widest + 11], "visible": False},
        yaxis={
            "autorange": "reversed",
            "tickvals": list(range(len(names))),
            "ticktext": [escaped(name) for name in names],
            "showgrid": False,
            "zeroline": False,
        },
        margin={"l": 84, "r": 8, "t": 30, "b": 8},
        showlegend=True,
    ).update_traces(showlegend=False, selector={"mode": "text"})


def square(colour: str) -> dict[str, Any]:
    return {"color": colour, "symbol": "square", "size": 12}


def number_line(
    names: Sequence[str], values: Sequence[np.ndarray | None], value: float, window: tuple[float, float]
) -> go.Figure:
    """The numbers of each format in a window around a value; None is drawn as a line without gaps."""
    traces = []
    for row, found in enumerate(values):
        colour = BLUE
        if found is None:
            line = {"color": colour, "width": 7}
            place = {"x": list(window), "mode": "lines", "line": line}
            hover = _("closer together than can be drawn")
        else:
            marker = {"color": colour, "symbol": "line-ns-open", "size": 15, "line": {"width": 2}}
            place = {"x": found, "mode": "markers", "marker": marker}
            hover = "%{x:.9g}"
        count = 2 if found is None else len(found)
        name = escaped(names[row])
        traces.append(
            go.Scatter(**place, y=np.full(count, row), hovertemplate=f"{name}<br>{hover}<extra></extra>")
        )
    line = {"type": "line", "x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "paper"}
    return drawing(
        traces,
        90 + 30 * len(names),
        showlegend=False,
        xaxis={"title": {"text": _("Numbers around the value")}, "range": list(window)},
        yaxis={
            "range": [len(names) - 0.5, -0.5],
            "tickvals": list(range(len(names))),
            "ticktext": [escaped(name) for name in names],
            "zeroline": False,
        },
        margin=MARGIN | {"l": 84, "t": 12},
        shapes=[line | {"line": {"color": INK, "dash": "dot", "width": 2}}],
    )


def ranges(
    names: Sequence[str],
    subnormal: np.ndarray,
    normal: np.ndarray,
    largest: np.ndarray,
    digits: Sequence[str],
) -> go.Figure:
    """From the smallest to the largest number of each format in powers of ten; subnormal ones hatched."""
    rows = [escaped(name) for name in names]

    def bar(low: np.ndarray, high: np.ndarray, name: str, **marker: Any) -> go.Bar:
        return go.Bar(
            y=rows,
            base=np.log10(low),
            x=np.log10(high) - np.log10(low),
            orientation="h",
            name=name,
            marker=marker,
            customdata=np.stack([low, high], 1),
            hovertemplate=f"%{{y}} {name}: %{{customdata[0]:.3g}} – %{{customdata[1]:.3g}}<extra></extra>",
        )

    text = go.Scatter(
        x=np.log10(largest) + 1,
        y=rows,
        mode="text",
        text=list(digits),
        textposition="middle right",
        hoverinfo="skip",
        showlegend=False,
    )
    return drawing(
        [
            bar(subnormal, normal, _("subnormal"), color=GREY, pattern=HATCH | {"shape": "/"}),
            bar(normal, largest, _("normal"), color=BLUE),
            text,
        ],
        90 + 30 * len(names),
        barmode="overlay",
        xaxis={"title": {"text": _("Power of ten of the magnitude")}, "range": [-47, 52]},
        yaxis={"autorange": "reversed"},
        margin=MARGIN | {"l": 84},
    )


WEIGHT_LOOK = {  # how each way to keep a weight is drawn, in every figure
    "float32": (GREY, "solid"),
    "float16": (ORANGE, "dash"),
    "bfloat16": (BLUE, "dot"),
    "stochastic": (GREEN, "dashdot"),
}


def _line_of(index: int, width: float = 3) -> dict[str, Any]:
    colour, dash = list(WEIGHT_LOOK.values())[index]
    return {"color": colour, "dash": dash, "width": width}


def paths(curves: dict[str, np.ndarray], y_title: str, height: int = 330) -> go.Figure:
    """A weight's way under equal steps, kept as WEIGHT_LOOK orders them."""
    traces = [
        go.Scatter(
            y=narrow(values),
            name=escaped(name),
            mode="lines",
            line=_line_of(index),
            hovertemplate=f"{escaped(name)}<br>%{{x}}: %{{y:.9g}}<extra></extra>",
        )
        for index, (name, values) in enumerate(curves.items())
    ]
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": _("Step")}, "range": [0, len(next(iter(curves.values()))) - 1]},
        yaxis={"title": {"text": y_title}, "exponentformat": "power"},
        margin=MARGIN | {"l": 76, "t": 56},
    )


def lost_steps(
    weights: np.ndarray, half: dict[str, np.ndarray], now: tuple[float, float], height: int = 330
) -> go.Figure:
    """Half the spacing of each format against the weight: a step below a line is lost in that format.

    ``now`` is the weight at the start and the step, drawn as a point.
    """
    traces = [
        go.Scatter(
            x=narrow(weights),
            y=narrow(values),
            name=name,
            mode="lines",
            line=_line_of(index, 2.5),
            hovertemplate=f"{name}<br>%{{x:.3g}}: %{{y:.3g}}<extra></extra>",
        )
        for index, (name, values) in enumerate(half.items())
    ]
    point = go.Scatter(
        x=np.array(now[:1], np.float32),
        y=np.array(now[1:], np.float32),
        mode="markers",
        name=_("this weight and step"),
        marker={"color": RED, "size": 15, "symbol": "star", "line": {"color": "white", "width": 1}},
        hovertemplate="%{x:.4g}: %{y:.3g}<extra></extra>",
    )
    logarithmic = {"type": "log", "dtick": 1, "exponentformat": "power"}
    return drawing(
        [*traces, point],
        height,
        xaxis=logarithmic | {"title": {"text": _("Weight")}, "range": [-3.05, 1]},
        yaxis=logarithmic | {"title": {"text": _("Half the spacing, step")}, "range": [-11.2, -0.6]},
        margin=MARGIN | {"l": 70, "t": 56},
    )
