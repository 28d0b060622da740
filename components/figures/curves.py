"""Lines that are compared with one another, with bands over their seeds and a level to reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.style import DASHES, INK, MARGIN, MARKERS, SERIES, drawing, narrow

LEGEND_BELOW = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"}
LEGEND_BESIDE = {"x": 1.02, "y": 1, "xanchor": "left", "yanchor": "top", "font": {"size": 11}}


@dataclass(frozen=True)
class Curve:
    """A named line; ``low`` and ``high`` draw a band around it. ``place`` gives colour, dash and marker.

    ``written`` stands beside its last point, on that ``side`` of it; such a curve is in no legend.
    """

    name: str
    place: int
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    markers: bool = False
    written: str = ""
    side: str = "top left"


def look(place: int) -> dict[str, Any]:
    """Colour, dash and marker of the n-th thing that is compared: no two of twelve are alike."""
    shift = place + place // 6
    return {
        "line": {"color": SERIES[place % 6], "dash": DASHES[shift % 6], "width": 2.5},
        "marker": {"symbol": MARKERS[shift % 6], "size": 8, "color": SERIES[place % 6]},
    }


def curves(
    shown: Sequence[Curve],
    x_title: str,
    y_title: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    x_log: bool = False,
    y_log: bool = False,
    x_step: float | None = None,
    level: tuple[float, str] | None = None,
    legend_beside: bool = False,
    height: int = 400,
) -> go.Figure:
    """Curves with bands over their seeds; ``level`` is a named horizontal line; ranges are plain.

    ``x_step`` is the distance of two ticks, where there is nothing between them. ``legend_beside`` is for
    many names in a low figure.
    """
    traces: list[go.Scatter] = []
    for curve in shown:
        if curve.low is not None and curve.high is not None:
            traces.append(_band(curve))
        traces.append(
            go.Scatter(
                x=narrow(curve.x),
                y=narrow(curve.y),
                name=curve.name,
                hovertemplate=f"{curve.name}<br>{x_title} %{{x:.4g}}<br>%{{y:.4g}}<extra></extra>",
                **look(curve.place),
                **_drawn(curve),
            )
        )
    named = [curve.name for curve in shown if not curve.written]
    return drawing(
        traces,
        height,
        showlegend=len(named) > 1,
        legend=LEGEND_BESIDE if legend_beside else LEGEND_BELOW,
        xaxis=_axis(x_title, x_log, x_range) | ({} if x_step is None else {"dtick": x_step}),
        yaxis=_axis(y_title, y_log, y_range),
        margin=MARGIN | ({"t": 16} if legend_beside else {"b": 52 + 20 * _legend_rows(named), "t": 16}),
        shapes=[] if level is None else [_level(level[0])],
        annotations=[] if level is None else [_level_name(*level, y_log)],
    )


def _drawn(curve: Curve) -> dict[str, Any]:
    """A line, with markers or without; or words at its last point."""
    if not curve.written:
        return {"mode": "lines+markers" if curve.markers else "lines"}
    return {
        "mode": "markers+text",
        "text": [*[""] * (len(curve.x) - 1), curve.written],
        "textposition": curve.side,
        "textfont": {"size": 13},
        "showlegend": False,
        "cliponaxis": False,
    }


def _legend_rows(names: Sequence[str]) -> int:
    """Rows of a legend below a figure of half a page's width."""
    across = 2 if max((len(name) for name in names), default=0) > 18 else 3
    return -(-len(names) // across)


def _band(curve: Curve) -> go.Scatter:
    """Least to largest over the seeds, as a filled outline."""
    if curve.low is None or curve.high is None:
        raise ValueError("A band needs both its edges.")
    return go.Scatter(
        x=narrow(np.concatenate([curve.x, curve.x[::-1]])),
        y=narrow(np.concatenate([curve.low, curve.high[::-1]])),
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=SERIES[curve.place % 6],
        opacity=0.18,
        hoverinfo="skip",
        showlegend=False,
    )


def _axis(title: str, is_log: bool, limits: tuple[float, float] | None) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": title}, "type": "log" if is_log else "linear"}
    if is_log:
        axis |= {"dtick": 1, "exponentformat": "power"}
    if limits is not None:
        axis["range"] = [float(np.log10(limit)) if is_log else limit for limit in limits]
    return axis


def _level(y: float) -> dict[str, Any]:
    line = {"color": INK, "dash": "dot", "width": 1.5}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _level_name(y: float, name: str, is_log: bool) -> dict[str, Any]:
    height = float(np.log10(y)) if is_log else y
    return {
        "xref": "paper",
        "x": 1,
        "xanchor": "right",
        "y": height,
        "yanchor": "bottom",
        "text": name,
        "showarrow": False,
        "font": {"size": 11},
    }
