"""Figures of the positions page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import get_colorscale

from components.figures.attention import shrink, vertical_line
from components.figures.style import (
    BLUE,
    DASHES,
    DIVERGING,
    GREY,
    INK,
    MARGIN,
    ORANGE,
    PURPLE,
    RED,
    SEQUENTIAL,
    SERIES,
    drawing,
    escaped,
)
from components.words import _

NARROW_MARGIN = MARGIN | {"l": 56, "r": 8, "t": 30}
CIRCLE = np.exp(1j * np.linspace(0, 2 * np.pi, 33))
GAP = np.complex64(complex(np.nan, np.nan))  # lifts the pen between two lines of one trace
MOST_TILE_TOKENS = 64
# The sequential scale, its colours at the squares of their places: they follow a weight's square root.
ROOT_SCALE = [[part**2, colour] for part, colour in get_colorscale(SEQUENTIAL)]
PITCH = 2.5  # between the centres of two circles of radius 1


def heatmap(
    values: np.ndarray,
    x_title: str,
    y_title: str,
    value_title: str,
    *,
    height: int = 420,
    lines: Sequence[dict[str, Any]] = (),
    rows: np.ndarray | None = None,
) -> go.Figure:
    """Numbers between −1 and 1, rows down; ``rows`` says where each stands, else 0, 1, 2, …."""
    trace = go.Heatmap(
        z=np.ascontiguousarray(values, dtype=np.float32),
        y=None if rows is None else rows.astype(np.float32),
        zmin=-1,
        zmax=1,
        colorscale=DIVERGING,
        colorbar={"title": {"text": value_title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate=f"{y_title} %{{y}}<br>{x_title} %{{x}}<br>%{{z:.4f}}<extra></extra>",
    )
    return drawing(
        [trace],
        height,
        margin=NARROW_MARGIN | {"t": 12},
        xaxis={"title": {"text": x_title}, "showgrid": False, "zeroline": False},
        yaxis={
            "title": {"text": y_title},
            "autorange": "reversed",
            "showgrid": False,
            "zeroline": False,
        },
        shapes=list(lines),
    )


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
            go.Scatter(
                x=index.astype(np.float32),
                y=wavelength[index].astype(np.float32),
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
        margin=NARROW_MARGIN | {"t": 40},
        xaxis={"title": {"text": _("Pair of dimensions p")}, "range": [-1, len(wavelength)]},
        yaxis={
            "title": {"text": _("Positions a turn")},
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
    y_range: tuple[float, float] | None = None,
    points: frozenset[str] = frozenset(),
    height: int = 300,
) -> go.Figure:
    """Named curves over 0, 1, 2, … or ``x``; those in ``points`` are markers without a line."""
    traces = []
    for index, (name, values) in enumerate(named.items()):
        places = np.arange(len(values), dtype=np.float32) if x is None else np.asarray(x, np.float32)
        is_points = name in points
        traces.append(
            go.Scatter(
                x=places[: len(values)],
                y=np.asarray(values, dtype=np.float32),
                name=name,
                mode="markers" if is_points else "lines",
                line={"color": SERIES[index % 6], "dash": DASHES[index % 6], "width": 2.5},
                marker={"color": SERIES[index % 6], "size": 5, "symbol": "diamond"},
                hovertemplate=f"{name}<br>{x_title} %{{x}}<br>%{{y:.4g}}<extra></extra>",
            )
        )
    y_axis: dict[str, Any] = {"title": {"text": y_title}, "zeroline": True}
    if y_range is not None:
        y_axis["range"] = list(y_range)
    return drawing(
        traces,
        height,
        showlegend=len(named) > 1,
        margin=NARROW_MARGIN | {"t": 30 + 18 * (len(named) > 1) + 18 * (len(named) > 3)},
        xaxis={"title": {"text": x_title}, "zeroline": False},
        yaxis=y_axis,
        shapes=[] if x_now is None else [vertical_line(x_now)],
    )


# The microscope ------------------------------------------------------------------------------------


def columns_of(pairs: int) -> int:
    """How many circles stand beside one another."""
    return max(1, int(np.ceil(np.sqrt(pairs))))


def centres(pairs: int) -> np.ndarray:
    """The middle of each pair's circle as a complex number, rows downwards."""
    row, column = np.divmod(np.arange(pairs), columns_of(pairs))
    return (PITCH * (column - 1j * row)).astype(np.complex64)


def pair_circles(
    query: tuple[np.ndarray, np.ndarray],
    key: tuple[np.ndarray, np.ndarray],
    selected: int,
    height: int = 520,
) -> go.Figure:
    """Each pair of a query and a key on its circle, before and after rotation.

    Vectors are complex numbers, (before, after); a circle's radius is the longer of its two vectors.
    """
    middle = centres(len(query[0]))
    radius = np.maximum(np.maximum(np.abs(query[0]), np.abs(key[0])), 1e-9)
    traces = [_pen(middle[:, None] + CIRCLE, "", {"color": GREY, "width": 1})]
    for vectors, name, colour, symbol in (
        (query, _("query"), BLUE, "circle"),
        (key, _("key"), ORANGE, "diamond"),
    ):
        for place, (values, when) in enumerate(zip(vectors, (_("before"), _("rotated")), strict=True)):
            tip = middle + values / radius
            line = {"color": colour, "width": (1.5, 3.5)[place], "dash": ("dot", "solid")[place]}
            ends = np.stack([middle, tip], axis=1)
            traces.append(_pen(ends, f"{name}, {when}", line, (None, symbol)[place]))
    traces += [_numbers(middle), _clickable(middle)]
    columns = columns_of(len(middle))
    rows = -(-len(middle) // columns)
    hidden = {"visible": False, "showgrid": False}
    return drawing(
        traces,
        height,
        margin={"l": 4, "r": 4, "t": 46, "b": 4},
        xaxis={**hidden, "range": [-1.45, PITCH * (columns - 1) + 1.45]},
        yaxis={**hidden, "range": [-PITCH * (rows - 1) - 1.45, 1.45], "scaleanchor": "x"},
        shapes=[_ring(complex(middle[selected]))],
    )


def _ring(middle: complex) -> dict[str, Any]:
    """Around the pair that is explained."""
    x, y, radius = middle.real, middle.imag, 1.15
    corners = {"x0": x - radius, "x1": x + radius, "y0": y - radius, "y1": y + radius}
    return {"type": "circle", **corners, "line": {"color": INK, "width": 2}}


def _pen(paths: np.ndarray, name: str, line: dict[str, Any], symbol: str | None = None) -> go.Scatter:
    """Several paths, one a row of complex numbers, as one trace; ``symbol`` marks their ends."""
    broken = np.concatenate([paths, np.full((len(paths), 1), GAP)], axis=1).astype(np.complex64)
    sizes = np.zeros(broken.shape[1], dtype=np.float32)
    sizes[-2] = 9  # the end of a path; the gap behind it is not drawn
    marker = {"symbol": symbol, "size": np.tile(sizes, len(broken)), "color": line["color"]}
    return go.Scatter(
        x=broken.real.ravel(),
        y=broken.imag.ravel(),
        mode="lines" if symbol is None else "lines+markers",
        name=name,
        showlegend=bool(name),
        line=line,
        marker=None if symbol is None else marker,
        hoverinfo="skip",
    )


def _numbers(middle: np.ndarray) -> go.Scatter:
    """The pair's number beside each circle."""
    return go.Scatter(
        x=middle.real - 1.05,
        y=middle.imag + 1.0,
        mode="text",
        text=[str(pair) for pair in range(len(middle))],
        showlegend=False,
        hoverinfo="skip",
    )


def _clickable(middle: np.ndarray) -> go.Scatter:
    """A point in the middle of each circle that is not seen and takes hover and clicks."""
    return go.Scatter(
        x=middle.real,
        y=middle.imag,
        mode="markers",
        marker={"size": 44, "opacity": 0},
        customdata=np.arange(len(middle)),
        showlegend=False,
        hovertemplate=_("pair") + " %{customdata}<extra></extra>",
    )


def pair_at(x: float, y: float, pairs: int) -> int:
    """The pair whose circle is nearest to a point of ``pair_circles``."""
    return int(np.abs(centres(pairs) - complex(x, y)).argmin())


def pair_bars(
    here: np.ndarray, unturned: np.ndarray, rest: float, limit: float, total: float, height: int = 250
) -> go.Figure:
    """What each pair adds to the score, now and without rotation; the last bar is not rotated.

    Signs are two traces and the sum is a word in the plot, so that all that moves is put in place.
    """
    names = [str(index) for index in range(len(here))] + ([_("rest")] if rest else [])
    tail = [rest] if rest else []
    now = np.append(here, tail).astype(np.float32)
    traces = [
        *(
            go.Bar(
                y=np.where(mask, now, np.float32(0)),
                marker={"color": colour},
                name=_("rotated"),
                hovertemplate=_("pair") + " %{x}<br>%{y:.4f}<extra></extra>",
            )
            for mask, colour in ((now >= 0, BLUE), (now < 0, RED))
        ),
        go.Scatter(
            x=[len(names) - 0.5],
            y=[0.9 * limit],
            mode="text",
            text=[_("the sum is {total}").format(total=f"{total:.3f}")],
            textposition="middle left",
            hoverinfo="skip",
        ),
        go.Scatter(
            y=np.append(unturned, tail).astype(np.float32),
            mode="markers",
            marker={"symbol": "line-ew-open", "size": 12, "color": PURPLE, "line": {"width": 2}},
            name=_("without rotation"),
            hovertemplate=_("pair") + " %{x}<br>%{y:.4f}<extra></extra>",
        ),
    ]
    return drawing(
        traces,
        height,
        showlegend=False,
        barmode="overlay",
        margin=NARROW_MARGIN | {"t": 8},
        xaxis={
            "title": {"text": _("Pair p")},
            "range": [-0.6, len(names) - 0.4],
            "tickvals": list(range(len(names)))[:: 1 + len(names) // 24],
            "ticktext": names[:: 1 + len(names) // 24],
        },
        yaxis={"title": {"text": _("Adds to q·k")}, "range": [-limit, limit], "zeroline": True},
    )


# Tiles -------------------------------------------------------------------------------------------


def attention_tiles(maps: dict[str, np.ndarray], top: float = 1.0, height: int = 520) -> go.Figure:
    """Several heads' weights, three in a row under their names, on one scale from 0 to ``top``.

    Colours follow the square root, so that small weights can be seen; of more than MOST_TILE_TOKENS
    tokens, each cell shows the largest weight of its block.
    """
    names = list(maps)
    tiles = shrink(np.stack([maps[name] for name in names]), MOST_TILE_TOKENS)
    tokens = tiles.shape[1]
    across, down = tokens + max(2, tokens // 16), tokens + max(3, tokens // 6)
    columns = 3
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
        showscale=False,
        hoverongaps=False,
        hovertemplate=_("weight") + " %{z:.4f}<extra></extra>",
    )
    hidden = {"visible": False, "showgrid": False}
    return drawing(
        [trace],
        height,
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        annotations=notes,
        xaxis=hidden,
        yaxis={**hidden, "autorange": "reversed"},
    )


def _tile_name(name: str, x: float, y: float) -> dict[str, Any]:
    return {"text": escaped(name), "x": x, "y": y, "showarrow": False, "yanchor": "bottom"}


def change_by_layer(series: dict[str, np.ndarray], chosen: str, height: int = 420) -> go.Figure:
    """Relative change of the tokens' vectors behind each block; nothing changes where rounding ends."""
    traces = [
        go.Scatter(
            x=np.arange(len(values), dtype=np.float32),
            y=np.maximum(values, 1e-8).astype(np.float32),
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
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "entrywidth": 230},
        margin=NARROW_MARGIN | {"t": 70},
        xaxis={"title": {"text": _("Blocks passed")}, "dtick": 1},
        yaxis={
            "title": {"text": _("Change of the tokens' vectors")},
            "type": "log",
            "range": [-8.2, 0.6],
            "dtick": 2,
            "exponentformat": "power",
        },
    )
