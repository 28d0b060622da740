"""Figures of the positions page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import get_colorscale

from components.figures.attention import shrink
from components.figures.style import (
    BLUE,
    DASHES,
    DIVERGING,
    INK,
    MARGIN,
    ORANGE,
    SEQUENTIAL,
    SERIES,
    drawing,
    escaped,
    narrow,
)
from components.words import _

NARROW_MARGIN = MARGIN | {"l": 56, "r": 8, "t": 30}
MOST_TILE_TOKENS = 64
# The sequential scale, its colours at the squares of their places: they follow a weight's square root.
ROOT_SCALE = [[part**2, colour] for part, colour in get_colorscale(SEQUENTIAL)]


def scatter(**properties: Any) -> dict[str, Any]:
    return {"type": "scatter", **properties}


def bar(**properties: Any) -> dict[str, Any]:
    return {"type": "bar", **properties}


def heatmap(
    values: np.ndarray,
    x_title: str,
    y_title: str,
    value_title: str,
    *,
    height: int = 420,
    rows: np.ndarray | None = None,
    row_now: int | None = None,
) -> go.Figure:
    """Numbers between −1 and 1, rows down; ``rows`` says where each stands, else 0, 1, 2, ….

    A dotted line stands in ``row_now``; it is a trace, so that it moves without a new layout.
    """
    trace = go.Heatmap(
        z=np.ascontiguousarray(values, dtype=np.float32),
        y=None if rows is None else narrow(rows),
        zmin=-1,
        zmax=1,
        colorscale=DIVERGING,
        colorbar={"title": {"text": value_title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate=f"{y_title} %{{y}}<br>{x_title} %{{x}}<br>%{{z:.4f}}<extra></extra>",
    )
    count, columns = values.shape
    ends = (0, count - 1) if rows is None else (float(rows[0]), float(rows[-1]))
    half = 0.5 * (ends[1] - ends[0]) / max(1, count - 1) or 0.5
    across = (-0.5, columns - 0.5)
    line = [] if row_now is None else [_now_line(across, (row_now, row_now))]
    plain = {"showgrid": False, "zeroline": False}
    return drawing(
        [trace, *line],
        height,
        showlegend=False,
        margin=NARROW_MARGIN | {"t": 12},
        xaxis={"title": {"text": x_title}, "range": list(across), **plain},
        yaxis={"title": {"text": y_title}, "range": [ends[1] + half, ends[0] - half], **plain},
    )


def _now_line(x: tuple[float, float], y: tuple[float, float], **options: Any) -> dict[str, Any]:
    """A dotted line where a control stands."""
    line = {"color": INK, "dash": "dot", "width": 2}
    return scatter(
        x=np.array(x, np.float32),
        y=np.array(y, np.float32),
        line=line,
        showlegend=False,
        hoverinfo="skip",
        **({"mode": "lines"} | options),
    )


def titled(figure: go.Figure, *lines: str) -> go.Figure:
    """A figure with a heading of its own, in as many lines as there are words for."""
    words = [line for line in lines if line]
    layout = figure.layout.to_plotly_json()
    margin = layout["margin"]
    heading = _heading("<br>".join(words), margin["t"], -margin["l"] + 4)
    layout |= {"annotations": [heading], "margin": margin | {"t": margin["t"] + 18 * len(words)}}
    return go.Figure(data=figure.data, layout=layout, _validate=False)


def _heading(words: str, above: int, left: int = 0) -> dict[str, Any]:
    """Words over a plot, so many pixels above it."""
    return {
        "text": words,
        "align": "left",
        "showarrow": False,
        **{"xref": "paper", "x": 0, "xanchor": "left", "xshift": left},
        **{"yref": "paper", "y": 1, "yanchor": "bottom", "yshift": above},
        "font": {"size": 13},
    }


def horizontal_line(y: float) -> dict[str, Any]:
    """A dotted line over the whole width, where a control stands."""
    line = {"color": INK, "dash": "dot", "width": 2}
    return {"type": "line", "y0": y, "y1": y, "x0": 0, "x1": 1, "xref": "paper", "line": line}


def wavelength_points(
    wavelength: np.ndarray, still: np.ndarray, length: int, height: int = 250
) -> go.Figure:
    """Positions to a full turn for each pair, over a line at the length that is looked at."""
    traces = []
    for name, chosen, colour, symbol in (
        (_("turns within the length"), ~still, BLUE, "circle"),
        (_("nearly constant: less than 1/16 of a turn"), still, ORANGE, "x"),
    ):
        index = np.flatnonzero(chosen)
        traces.append(
            scatter(
                x=narrow(index),
                y=narrow(wavelength[index]),
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": 8},
                hovertemplate=_("pair") + " %{x}<br>%{y:,.4g} " + _("positions") + "<extra></extra>",
            )
        )
    top = np.log10(max(float(wavelength.max()), length)) + 0.3
    return drawing(
        traces,
        height,
        margin=NARROW_MARGIN | {"t": 14 + 20 * legend_rows([trace["name"] for trace in traces])},
        xaxis={"title": {"text": _("Pair of dimensions p")}, "range": [-1, len(wavelength)]},
        yaxis={
            "title": {"text": _("Positions per turn")},
            "type": "log",
            "range": [0.5, top],
            "dtick": 1,
        },
        shapes=[horizontal_line(length)],
    )


def curves(
    named: dict[str, np.ndarray],
    x_title: str,
    y_title: str,
    *,
    x: np.ndarray | None = None,
    x_now: float | None = None,
    y_range: tuple[float, float],
    now: str = "",
    height: int = 300,
) -> go.Figure:
    """Named curves over 0, 1, 2, … or ``x``; a dotted line at ``x_now``, with the words ``now``."""
    count = max(len(values) for values in named.values())
    places = np.arange(count, dtype=np.float32) if x is None else np.asarray(x, np.float32)
    traces = [
        scatter(
            x=places[: len(values)],
            y=np.asarray(values, dtype=np.float32),
            name=name,
            mode="lines",
            line={"color": SERIES[index % 6], "dash": DASHES[index % 6], "width": 2.5},
            hovertemplate=f"{name}<br>{x_title} %{{x}}<br>%{{y:.4g}}<extra></extra>",
        )
        for index, (name, values) in enumerate(named.items())
    ]
    if x_now is not None:
        is_left = x_now <= (places[0] + places[-1]) / 2
        words = {
            "mode": "lines+text",
            "text": ["", now],
            "textposition": "bottom right" if is_left else "bottom left",
        }
        traces.append(_now_line((x_now, x_now), y_range, **words))
    rows = legend_rows(list(named)) if len(named) > 1 else 0
    return drawing(
        traces,
        height,
        showlegend=len(named) > 1,
        margin=NARROW_MARGIN | {"t": 14 + 20 * rows},
        xaxis={
            "title": {"text": x_title},
            "zeroline": False,
            "range": [float(places[0]), max(float(places[-1]), float(places[0]) + 1)],
        },
        yaxis={"title": {"text": y_title}, "zeroline": True, "range": list(y_range)},
    )


def legend_rows(names: Sequence[str], width: int = 340) -> int:
    """Rows of a legend above a figure that is half a stage wide, Chinese letters being wider."""
    longest = max(sum(13 if letter > "\u2e7f" else 7 for letter in name) for name in names)
    return -(-len(names) // max(1, width // (longest + 50)))


def attention_tiles(
    maps: dict[str, np.ndarray],
    top: float = 1.0,
    height: int = 520,
    *,
    columns: int = 3,
    words: str = "",
) -> go.Figure:
    """Several heads' weights, ``columns`` in a row under their names, on one scale from 0 to ``top``.

    ``words`` stand above them all. Colours follow the square root, so that small weights can be seen;
    of more than MOST_TILE_TOKENS tokens, each cell shows the largest weight of its block.
    """
    names = list(maps)
    tiles = shrink(np.stack([maps[name] for name in names]), MOST_TILE_TOKENS)
    tokens = tiles.shape[1]
    across, down = tokens + max(2, tokens // 16), tokens + max(3, tokens // 6)
    rows = -(-len(names) // columns)
    canvas = np.full((rows * down, columns * across), np.nan, dtype=np.float32)
    notes = []
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        y, x = (row + 1) * down - tokens, column * across
        canvas[y : y + tokens, x : x + tokens] = tiles[index]
        notes.append(_tile_name(name, x + tokens / 2 - 0.5, y - 1))
    trace = go.Heatmap(
        z=canvas,
        zmin=0,
        zmax=top,
        colorscale=ROOT_SCALE,
        colorbar={"title": {"text": _("Weight"), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        meta="picture",  # no numbers in its cells: they are small, and many of them gaps
        hoverongaps=False,
        hovertemplate=_("weight") + " %{z:.4f}<extra></extra>",
    )
    hidden = {"visible": False, "showgrid": False}
    notes += [_heading(words, 2)] if words else []
    return drawing(
        [trace],
        height,
        margin={"l": 4, "r": 4, "t": 26 if words else 4, "b": 4},
        annotations=notes,
        xaxis={**hidden, "range": [-0.5, columns * across - 0.5]},
        yaxis={**hidden, "range": [rows * down - 0.5, -0.5]},
    )


def _tile_name(name: str, x: float, y: float) -> dict[str, Any]:
    return {"text": escaped(name), "x": x, "y": y, "showarrow": False, "yanchor": "bottom"}


def change_by_layer(series: dict[str, np.ndarray], chosen: str, height: int = 420) -> go.Figure:
    """Relative change of the tokens' vectors behind each block; nothing changes where rounding ends."""
    traces = [
        scatter(
            x=np.arange(len(values), dtype=np.float32),
            y=narrow(np.maximum(values, 1e-8)),
            mode="lines+markers",
            name=name,
            line={
                "color": SERIES[index],
                "dash": DASHES[index],
                "width": 5 if name == chosen else 2,
            },
            marker={"symbol": ("circle", "square", "diamond", "x")[index], "size": 9},
            hovertemplate=f"{name}<br>" + _("block") + " %{x}: %{y:.2g}<extra></extra>",
        )
        for index, (name, values) in enumerate(series.items())
    ]
    return drawing(
        traces,
        height,
        margin=NARROW_MARGIN | {"t": 14 + 20 * legend_rows(list(series))},
        xaxis={"title": {"text": _("Blocks passed")}, "dtick": 1},
        yaxis={
            "title": {"text": _("Change of the tokens' vectors")},
            "type": "log",
            "range": [-8.2, 0.6],
            "dtick": 2,
            "exponentformat": "power",
        },
    )
