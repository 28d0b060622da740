"""Figures of batches, packed rows and streams: tokens with what belongs to them, and their losses."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.attention import HATCH, vertical_line
from components.figures.style import (
    DASHES,
    GREY,
    INK,
    MARGIN,
    MARKERS,
    ORANGE,
    RED,
    SERIES,
    SKY,
    drawing,
    narrow,
    room_for,
    token_axis,
    token_categories,
)
from components.words import _

PALE, DARK = "#d5d8dd", "#1b1e24"  # cells of padding, and what is written in cells
PASTELS = ("#9fd0f0", "#f3cf85", "#8fd6bf", "#e3bcd2", "#efac84", "#c3c6cc", "#7fb8d8", "#e9e08a")
SMALLEST = 1e-8  # a difference of exactly 0 on a logarithmic axis
CHANGES = (-8.0, 2.3)  # powers of ten
STEP = 5  # nats: the axis of losses ends at a multiple of it, so that it seldom changes
MOST_CELLS = 96  # along each side of the picture of a cache


def token_rows(
    labels: Sequence[str], rows: Mapping[str, Sequence[object]], group: np.ndarray, height: int = 150
) -> go.Figure:
    """What belongs to each token, written in cells under it; cells of one ``group`` share a colour.

    Group −1 is padding.
    """
    values = np.tile(narrow(np.where(group < 0, 0, 1 + group % len(PASTELS))), (len(rows), 1))
    colours = (PALE, *PASTELS)
    scale = [
        [(index + end) / len(colours), colour] for index, colour in enumerate(colours) for end in (0, 1)
    ]
    wide = [name if name.isascii() else 2 * name for name in rows]  # Chinese letters take twice the room
    heatmap = go.Heatmap(
        z=values,
        x=token_categories(labels),
        y=list(rows),
        text=[[str(value) for value in row] for row in rows.values()],
        texttemplate="%{text}",
        textfont={"color": DARK, "size": 12 if len(labels) <= 32 else 9},
        zmin=-0.5,
        zmax=len(colours) - 0.5,
        colorscale=scale,
        showscale=False,
        xgap=1,
        ygap=2,
        hovertemplate="%{x}<br>%{y}: %{text}<extra></extra>",
    )
    return drawing(
        [heatmap],
        height,
        xaxis=token_axis(labels, "", side="top", tickangle=-60),
        yaxis={"autorange": "reversed", "showgrid": False, "zeroline": False, "type": "category"},
        margin={"l": 14 + room_for(wide), "r": 8, "t": 14 + room_for(labels), "b": 8},
    )


def changes_by_token(
    changes: Mapping[str, tuple[np.ndarray, np.ndarray]], rounding: float, height: int = 330
) -> go.Figure:
    """The largest change of a logit at each column of a batch, for each prompt, on a log axis.

    Below the dotted line lies what float arithmetic alone may do.
    """
    traces = [
        go.Scatter(
            x=narrow(columns),
            y=narrow(np.maximum(values, SMALLEST)),
            name=name,
            mode="lines+markers",
            line={"color": SERIES[index], "dash": DASHES[index], "width": 2},
            marker={"symbol": MARKERS[index], "size": 9},
            hovertemplate=f"{name}<br>" + _("column") + " %{x}<br>%{y:.2e}<extra></extra>",
        )
        for index, (name, (columns, values)) in enumerate(changes.items())
    ]
    line = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": rounding, "y1": rounding}
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": _("Column of the batch")}, "rangemode": "tozero"},
        yaxis={
            "title": {"text": _("Largest change of a logit")},
            "type": "log",
            "range": list(CHANGES),
            "dtick": 2,
            "exponentformat": "power",
        },
        shapes=[line | {"line": {"color": INK, "dash": "dot", "width": 2}}],
        margin=MARGIN | {"l": 92},
    )


def packed_mask(
    visible: np.ndarray, documents: np.ndarray, labels: Sequence[str], height: int = 460
) -> go.Figure:
    """Who reads whom in a packed row: each conversation is framed, so that what leaks lies outside."""
    same = documents[:, None] == documents[None, :]
    values = narrow(np.where(visible, np.where(same, 0.0, 1.0), np.nan))
    heatmap = go.Heatmap(
        z=values,
        x=token_categories(labels),
        y=token_categories(labels),
        zmin=0,
        zmax=1,
        colorscale=[[0, SKY], [1, RED]],
        showscale=False,
        hoverongaps=False,
        hovertemplate=_("Query") + " %{y}<br>" + _("Key") + " %{x}<extra></extra>",
    )
    return drawing(
        [heatmap],
        height,
        xaxis=token_axis(labels, _("Key"), side="top", tickangle=-60),
        yaxis=token_axis(labels, _("Query"), autorange="reversed"),
        margin={"l": 22 + room_for(labels), "r": 8, "t": 30 + room_for(labels), "b": 8},
        shapes=[_frame(documents, document) for document in np.unique(documents)],
    )


def _frame(documents: np.ndarray, document: int) -> dict[str, Any]:
    places = np.flatnonzero(documents == document)
    start, end = int(places[0]) - 0.5, int(places[-1]) + 0.5
    corners = {"x0": start, "x1": end, "y0": start, "y1": end}
    return {"type": "rect", **corners, "line": {"color": INK, "width": 2}}


def losses_by_token(
    labels: Sequence[str], separate: np.ndarray, packed: np.ndarray, height: int = 460
) -> go.Figure:
    """The loss of each learned token, in a row of its own and packed."""
    names = token_categories(labels)
    bars = [
        go.Bar(
            x=names,
            y=np.asarray(values, dtype=np.float32),
            name=name,
            marker={"color": colour, "pattern": HATCH | {"shape": shape}},
            hovertemplate=f"%{{x}}<br>{name} %{{y:.4f}}<extra></extra>",
        )
        for values, name, colour, shape in (
            (separate, _("in a row of its own"), GREY, ""),
            (packed, _("packed, as it is set"), ORANGE, "/"),
        )
    ]
    largest = float(np.nanmax(np.concatenate([separate, packed]), initial=STEP))
    return drawing(
        bars,
        height,
        barmode="group",
        bargap=0.15,
        xaxis=token_axis(labels, "", tickangle=-60),
        yaxis={"title": {"text": _("Loss −ln p (nats)")}, "range": [0, STEP * math.ceil(largest / STEP)]},
        margin=MARGIN | {"b": 14 + room_for(labels)},
    )


def sampled(tokens: int) -> np.ndarray:
    """Places of a text, all of them or so many as a picture of the cache has cells."""
    return np.unique(np.linspace(0, tokens - 1, min(tokens, MOST_CELLS)).astype(int))


def cache_shape(
    visible: np.ndarray,
    places: np.ndarray,
    sinks: int,
    *,
    prefill: int,
    title: str,
    height: int = 330,
) -> go.Figure:
    """Which keys each token finds in its cache, at the ``places`` of the text for which it is given.

    Above the dotted line, ``prefill`` tokens are read in one pass; below it one after another.
    """
    values = narrow(np.where(visible, np.where(places[None, :] < sinks, 1.0, 0.0), np.nan))
    heatmap = go.Heatmap(
        z=values,
        x=narrow(places),
        y=narrow(places),
        zmin=0,
        zmax=1,
        colorscale=[[0, SKY], [1, ORANGE]],
        showscale=False,
        hoverongaps=False,
        hovertemplate=_("Query") + " %{y}<br>" + _("Key") + " %{x}<extra></extra>",
    )
    return drawing(
        [heatmap],
        height,
        xaxis={"title": {"text": _("Key: place in the text (tokens)")}, "showgrid": False},
        yaxis={
            "title": {"text": _("Query: place in the text (tokens)")},
            "range": [float(places[-1]) + 0.5, -0.5],
            "showgrid": False,
        },
        shapes=[
            {
                "type": "line",
                "x0": 0,
                "x1": 1,
                "xref": "paper",
                "y0": prefill - 0.5,
                "y1": prefill - 0.5,
                "line": {"color": INK, "dash": "dot", "width": 2},
            }
        ],
        annotations=[
            {
                "x": 0.98,
                "xref": "paper",
                "y": prefill - 0.5,
                "text": _("prefill"),
                "showarrow": False,
                "xanchor": "right",
                "yanchor": "bottom",
                "font": {"size": 11},
            }
        ],
        title={
            "text": title,
            "font": {"size": 13},
            "x": 0,
            "xref": "paper",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 10},
        },
    )


def losses_by_place(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    marks: Mapping[str, float],
    y_range: tuple[float, float],
    *,
    y_title: str,
    height: int = 380,
) -> go.Figure:
    """Loss by place in the text, for several caches; ``marks`` are named vertical lines."""
    traces = [
        go.Scatter(
            x=np.asarray(x, dtype=np.float32),
            y=np.asarray(y, dtype=np.float32),
            name=name,
            mode="lines",
            line={"color": SERIES[index % 6], "dash": DASHES[index % 6], "width": 2.5},
            hovertemplate=f"{name}<br>"
            + _("Place in the text (tokens)")
            + " %{x}<br>%{y:.3f} nats<extra></extra>",
        )
        for index, (name, (x, y)) in enumerate(curves.items())
    ]
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": _("Place in the text (tokens)")}, "rangemode": "tozero"},
        yaxis={"title": {"text": y_title}, "range": list(y_range)},
        shapes=[vertical_line(x) for x in marks.values()],
        annotations=[_mark(name, x, level) for level, (name, x) in enumerate(marks.items())],
    )


def _mark(name: str, x: float, level: int) -> dict[str, Any]:
    return {
        "x": x,
        "y": 0.02 + 0.07 * level,
        "yref": "paper",
        "text": name,
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"size": 11},
    }


def decoded_losses(
    place: np.ndarray, full: np.ndarray, decoded_place: np.ndarray, decoded: np.ndarray, height: int = 300
) -> go.Figure:
    """The full pass as a line, and every decoded token as a point that should lie on it."""
    line = go.Scatter(
        x=narrow(place),
        y=narrow(full),
        name=_("one full pass under the mask"),
        mode="lines",
        line={"color": GREY, "width": 1.5},
        hovertemplate="%{x}: %{y:.5f}<extra></extra>",
    )
    points = go.Scatter(
        x=narrow(decoded_place),
        y=narrow(decoded),
        name=_("decoded with the cache"),
        mode="markers",
        marker={"color": ORANGE, "size": 6, "symbol": "diamond"},
        hovertemplate="%{x}: %{y:.5f}<extra></extra>",
    )
    return drawing(
        [line, points],
        height,
        xaxis={"title": {"text": _("Place in the text (tokens)")}, "range": [0, float(place[-1]) + 1]},
        yaxis={"title": {"text": _("Loss −ln p (nats)")}, "rangemode": "tozero"},
    )
