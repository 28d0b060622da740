"""The rotary microscope: each pair of a query and a key on its circle, and what it adds to the score."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.positions import NARROW_MARGIN, bar, scatter
from components.figures.style import BLUE, GREY, INK, ORANGE, PURPLE, RED, drawing, narrow
from components.words import _

CIRCLE = np.exp(1j * np.linspace(0, 2 * np.pi, 33))
GAP = np.complex64(complex(np.nan, np.nan))  # lifts the pen between two lines of one trace
PITCH = 2.5  # between the centres of two circles of radius 1


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


def _pen(paths: np.ndarray, name: str, line: dict[str, Any], symbol: str | None = None) -> dict[str, Any]:
    """Several paths, one a row of complex numbers, as one trace; ``symbol`` marks their ends."""
    broken = np.concatenate([paths, np.full((len(paths), 1), GAP)], axis=1).astype(np.complex64)
    sizes = np.zeros(broken.shape[1], dtype=np.float32)
    sizes[-2] = 9  # the end of a path; the gap behind it is not drawn
    marker = {"symbol": symbol, "size": np.tile(sizes, len(broken)), "color": line["color"]}
    return scatter(
        x=broken.real.ravel(),
        y=broken.imag.ravel(),
        mode="lines" if symbol is None else "lines+markers",
        name=name,
        showlegend=bool(name),
        line=line,
        marker=None if symbol is None else marker,
        hoverinfo="skip",
    )


def _numbers(middle: np.ndarray) -> dict[str, Any]:
    """The pair's number beside each circle."""
    return scatter(
        x=middle.real - 1.05,
        y=middle.imag + 1.0,
        mode="text",
        text=[str(pair) for pair in range(len(middle))],
        showlegend=False,
        hoverinfo="skip",
    )


def _clickable(middle: np.ndarray) -> dict[str, Any]:
    """A point in the middle of each circle that is not seen and takes hover and clicks."""
    return scatter(
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
    return int(np.abs(centres(pairs).astype(np.complex128) - complex(x, y)).argmin())


def pair_bars(
    here: np.ndarray, unturned: np.ndarray, rest: float, limit: float, total: float, height: int = 250
) -> go.Figure:
    """What each pair adds to the score, now and without rotation; the last bar is not rotated.

    Signs are two traces and the sum is a word above them, so that all that moves is put in place.
    """
    names = [str(index) for index in range(len(here))] + ([_("rest")] if rest else [])
    tail = [rest] if rest else []
    now = narrow(np.append(here, tail))
    traces = [
        *(
            bar(
                y=np.where(mask, now, np.float32(0)),
                marker={"color": colour},
                name=_("rotated"),
                showlegend=False,
                hovertemplate=_("pair") + " %{x}<br>%{y:.4f}<extra></extra>",
            )
            for mask, colour in ((now >= 0, BLUE), (now < 0, RED))
        ),
        scatter(
            x=np.array([len(names) - 0.5], np.float32),
            y=np.array([limit], np.float32),
            mode="text",
            text=[_("the sum is {total}").format(total=f"{total:.3f}")],
            textposition="top left",
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        ),
        scatter(
            y=narrow(np.append(unturned, tail)),
            mode="markers",
            marker={"symbol": "line-ew-open", "size": 12, "color": PURPLE, "line": {"width": 2}},
            name=_("without rotation"),
            hovertemplate=_("pair") + " %{x}<br>%{y:.4f}<extra></extra>",
        ),
    ]
    return drawing(
        traces,
        height,
        showlegend=True,
        barmode="overlay",
        margin=NARROW_MARGIN | {"t": 28, "r": 30},
        xaxis={
            "title": {"text": _("Pair p")},
            "range": [-0.6, len(names) - 0.4],
            "tickvals": list(range(len(names)))[:: 1 + len(names) // 24],
            "ticktext": names[:: 1 + len(names) // 24],
        },
        yaxis={"title": {"text": _("Adds to q·k")}, "range": [-limit, limit], "zeroline": True},
    )
