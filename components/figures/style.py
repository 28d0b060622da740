"""One look for all figures: colours, sizes, margins, and the heatmap that most pages use.

Ink and paper are not set here: the live figure takes them from the person's theme.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import plotly.graph_objects as go
import plotly.io
from plotly.basedatatypes import BaseTraceType

plotly.io.templates.default = None  # the default template would add 7 KB to every redraw

# Okabe & Ito (2008): told apart by colour-blind eyes, on white and on black.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#8a8f98",
)
SERIES = (SKY, ORANGE, GREEN, PURPLE, RED, GREY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # beside colour, never alone
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
SEQUENTIAL = "Cividis"
DIVERGING = "PuOr"
FAINT = 0.4  # opacity
INK = "#010203"  # stands for the theme's text colour, which the live figure puts in its place
MOST_TICKS = 48
MARGIN = {"l": 64, "r": 12, "t": 36, "b": 48}
LETTER = 6.2  # pixels across, of a tick label; labels are cut where they would take too much room
LONGEST_LABEL = 14


# A dictionary with its "type" is not checked, and is made in a quarter of the time.
Trace: TypeAlias = BaseTraceType | dict[str, Any]


def narrow(values: Any) -> np.ndarray:
    """Values in float32, half as many bytes for the browser; what float32 cannot hold is a gap there."""
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32)


def drawing(traces: Sequence[Trace], height: int, **layout: Any) -> go.Figure:
    """Traces under the common layout; ``uirevision`` keeps zoom while a control moves.

    The figure is put together in one call: every later ``update_…`` or ``add_…`` checks all of it
    again, which costs more than the figure itself while a slider is dragged. Margins are fixed for
    the same reason: measuring labels makes plotly.js lay the figure out several times over. What
    Plotly would check here at every redraw, tests check of every figure that they look at.
    """
    common = {
        "height": height,
        "margin": MARGIN,
        "uirevision": "kept",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    return go.Figure(data=list(traces), layout=common | layout, _validate=False)


def pale(figure: go.Figure, faint: bool) -> go.Figure:
    """The figure, its traces pale where it shows what was recorded and not what the person ran.

    Names that are traces of their own stay legible.
    """
    if faint:
        figure.update_traces(
            opacity=FAINT, selector=lambda trace: "text" not in (getattr(trace, "mode", None) or "")
        )
    return figure


def escaped(label: str) -> str:
    """A token as text: Plotly reads a few HTML tags in labels."""
    return label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def token_axis(labels: Sequence[str], title: str, **options: Any) -> dict[str, Any]:
    """An axis with one category a token: the position makes equal tokens different categories."""
    step = max(1, -(-len(labels) // MOST_TICKS))
    shown = range(0, len(labels), step)
    return {
        "title": {"text": title, "standoff": 6},
        "type": "category",
        "tickmode": "array",
        "tickvals": list(shown),
        "ticktext": [short(labels[index]) for index in shown],
        "tickfont": {"size": 9 if len(labels) > 40 else 11},
        "ticks": "",
        "showgrid": False,
        "zeroline": False,
        **options,
    }


def token_categories(labels: Sequence[str]) -> list[str]:
    return [f"{index} · {escaped(label)}" for index, label in enumerate(labels)]


def room_for(labels: Sequence[str]) -> int:
    """Pixels that tick labels need."""
    return round(10 + LETTER * max(min(len(label), LONGEST_LABEL + 1) for label in labels))


def short(label: str) -> str:
    return escaped(label if len(label) <= LONGEST_LABEL else label[:LONGEST_LABEL] + "…")


def token_heatmap(
    values: np.ndarray,
    query_labels: Sequence[str],
    key_labels: Sequence[str],
    *,
    query_title: str,
    key_title: str,
    value_title: str,
    limits: tuple[float, float],
    diverging: bool = False,
    selected: tuple[int, int] | None = None,
    height: int = 500,
) -> go.Figure:
    """Queries down, keys across, one cell a pair. NaN cells stay empty; ``selected`` is framed."""
    heatmap = go.Heatmap(
        z=np.ascontiguousarray(values, dtype=np.float32),
        x=token_categories(key_labels),
        y=token_categories(query_labels),
        zmin=limits[0],
        zmax=limits[1],
        colorscale=DIVERGING if diverging else SEQUENTIAL,
        hoverongaps=False,
        colorbar={"title": {"text": value_title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate=(
            f"{query_title} %{{y}}<br>{key_title} %{{x}}<br>{value_title} %{{z:.4g}}<extra></extra>"
        ),
    )
    return drawing(
        [heatmap],
        height,
        xaxis=token_axis(key_labels, key_title, side="top", tickangle=-60),
        yaxis=token_axis(query_labels, query_title, autorange="reversed"),
        margin={"l": 22 + room_for(query_labels), "r": 8, "t": 30 + room_for(key_labels), "b": 8},
        shapes=[] if selected is None else [cell_frame(*selected)],
    )


def cell_frame(row: int, column: int) -> dict[str, Any]:
    """A frame around one cell of a heatmap."""
    corners = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", **corners, "line": {"color": RED, "width": 3}}
