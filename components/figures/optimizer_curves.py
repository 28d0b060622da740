"""Curves of the optimizers page that know their optimizer, and its two heatmaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.curves import LEGEND_BELOW
from components.figures.line_ends import Scale, end_of, margin_for, named_ends
from components.figures.optimizers import HEIGHT, look_of
from components.figures.style import DASHES, DIVERGING, INK, RED, SEQUENTIAL, drawing, narrow
from components.words import _


@dataclass(frozen=True, eq=False)
class Curve:
    """A named curve; ``place`` decides its look, ``mark`` a point that is made large."""

    name: str
    place: int
    x: np.ndarray
    y: np.ndarray
    mark: int | None = None
    is_faint: bool = False


def curves(
    given: Sequence[Curve],
    x_title: str,
    y_title: str,
    *,
    y_range: tuple[float, float],
    x_log: bool = False,
    y_log: bool = False,
    x_range: tuple[float, float] | None = None,
    x_now: float | None = None,
    y_line: tuple[float, str] | None = None,
    title: str = "",
    **layout: Any,
) -> go.Figure:
    """Curves against a common x, with their names at their ends.

    Ranges are in the axis's own numbers (log₁₀ on a logarithmic one); without ``x_range`` the axis
    reaches from the smallest x to the largest.
    """
    is_named = any(curve.name for curve in given)
    x, y = Scale(*(x_range or _reach(given, x_log)), x_log), Scale(*y_range, y_log)
    x = x.with_room() if is_named else x
    traces: list[Any] = [trace for curve in given for trace in _drawn(curve, x_title)]
    names: list[str] = []
    if is_named:
        ends = [end_of(curve.name, curve.x, curve.y, _line_of(curve), y) for curve in given]
        traces += named_ends([end for end in ends if end is not None], x, y)
        names = [curve.name for curve in given]
    shapes = [] if x_now is None else [_line(x=x_now)]
    notes = []
    if y_line is not None:
        shapes.append(_line(y=y_line[0]))
        notes.append(_note(*y_line, y_log))
    if title:
        layout["title"] = {"text": title, "x": 0.5, "y": 0.98, "yanchor": "top", "font": {"size": 14}}
    return drawing(
        traces,
        HEIGHT,
        shapes=shapes,
        annotations=notes,
        showlegend=False,
        xaxis=_axis(x_title, x_log, (x.low, x.high)),
        yaxis=_axis(y_title, y_log, y_range),
        margin={
            "l": 68,
            "r": max(14, margin_for(names) if names else 0),
            "t": 34 if title else 16,
            "b": 48,
        },
        **layout,
    )


def _reach(given: Sequence[Curve], is_log: bool) -> tuple[float, float]:
    """The smallest and the largest x, in the axis's own numbers."""
    ends = [float(edge) for curve in given for edge in (curve.x.min(), curve.x.max())] if given else [0, 1]
    low, high = min(ends), max(ends)
    return (float(np.log10(low)), float(np.log10(high))) if is_log else (low, max(high, low + 1e-9))


def _line_of(curve: Curve) -> dict[str, Any]:
    return look_of(curve.place)["line"]


def _drawn(curve: Curve, x_title: str) -> list[go.Scatter]:
    """The line, and its mark."""
    line = go.Scatter(
        x=np.asarray(curve.x, dtype=np.float32),
        y=np.asarray(curve.y, dtype=np.float32),
        name=curve.name,
        mode="lines",
        opacity=0.35 if curve.is_faint else 1.0,
        line=_line_of(curve),
        hovertemplate=f"{curve.name}<br>{x_title} %{{x:.4g}}<br>%{{y:.4g}}<extra></extra>",
    )
    return [line] if curve.mark is None else [line, _marked(curve, look_of(curve.place)["marker"])]


def _axis(title: str, is_log: bool, limits: tuple[float, float]) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": title, "standoff": 4},
        "zeroline": False,
        "range": list(limits),
    }
    if is_log:
        is_short = limits[1] - limits[0] <= 6
        axis |= {"type": "log", "exponentformat": "power", "dtick": 1 if is_short else 2}
    return axis


def _marked(curve: Curve, marker: dict[str, Any]) -> go.Scatter:
    assert curve.mark is not None
    return go.Scatter(
        x=[float(curve.x[curve.mark])],
        y=[float(curve.y[curve.mark])],
        mode="markers",
        marker=marker | {"size": 14},
        showlegend=False,
        hoverinfo="skip",
    )


def _line(x: float | None = None, y: float | None = None) -> dict[str, Any]:
    style = {"type": "line", "line": {"color": INK, "dash": "dot", "width": 2}}
    if x is not None:
        return style | {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    return style | {"y0": y, "y1": y, "x0": 0, "x1": 1, "xref": "paper"}


def _note(height: float, text: str, is_log: bool) -> dict[str, Any]:
    return {
        "text": text,
        "x": 1,
        "xref": "paper",
        "xanchor": "right",
        "y": np.log10(height) if is_log else height,
        "yanchor": "bottom",
        "showarrow": False,
    }


def convergence_heatmap(
    rates: np.ndarray,
    betas: np.ndarray,
    factors: np.ndarray,
    edge: np.ndarray,
    critical: Sequence[tuple[np.ndarray, np.ndarray, str]],
    points: Sequence[tuple[float, float, str]],
) -> go.Figure:
    """Factor per step over (α, β), empty where it diverges; lines for the edge and critical damping.

    Points carry their names; those of the lines stand below.
    """
    heatmap = go.Heatmap(
        z=narrow(np.where(factors < 1, factors, np.nan)),
        x=narrow(rates),
        y=narrow(betas),
        customdata=narrow(factors),
        zmin=0.3,
        zmax=1,
        hoverongaps=False,
        colorscale=SEQUENTIAL,
        colorbar={"title": {"text": "max |σ|", "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate="α %{x:.4g}<br>β %{y:.3f}<br>|σ| %{customdata:.4f}<extra></extra>",
    )
    boundary = _named_line(edge, betas, _("stability edge αλ = 2 + 2β"), {"color": RED, "width": 4})
    damping = [
        _named_line(x, y, name, {"color": "white", "width": 2.5, "dash": DASHES[1 + number]})
        for number, (x, y, name) in enumerate(critical)
    ]
    spots = [
        _spot(*point, number, _towards_middle(point[0] / rates[-1], point[1]))
        for number, point in enumerate(points)
    ]
    return drawing(
        [heatmap, boundary, *damping, *spots],
        HEIGHT,
        xaxis={"title": {"text": _("Learning rate α"), "standoff": 4}, "range": [rates[0], rates[-1]]},
        yaxis={"title": {"text": _("Momentum β"), "standoff": 4}, "range": [betas[0], betas[-1]]},
        legend=LEGEND_BELOW | {"bgcolor": "rgba(128,128,128,.35)"},
        margin={"l": 64, "r": 12, "t": 16, "b": 92},
    )


def _named_line(x: np.ndarray, y: np.ndarray, name: str, line: dict[str, Any]) -> go.Scatter:
    return go.Scatter(x=narrow(x), y=narrow(y), mode="lines", name=name, line=line, hoverinfo="skip")


SPOTS = (1, 20, 0)  # places of looks: momentum, a variant, gradient descent
SPOT_SYMBOLS = ("circle", "star", "square")


def _towards_middle(across: float, up: float) -> str:
    """Where a point's name stands: on the map, beside its point."""
    row = "top" if up < 0.06 else "bottom" if up > 0.94 else "middle"
    return f"{row} {'right' if across < 0.4 else 'left'}"


def _spot(rate: float, beta: float, name: str, number: int, position: str) -> go.Scatter:
    return go.Scatter(
        x=[rate],
        y=[beta],
        mode="markers+text",
        text=[f"<b>{name}</b>"],
        textposition=position,
        cliponaxis=False,
        textfont={"color": "white", "size": 13, "shadow": "0 0 3px black, 0 0 3px black"},
        showlegend=False,
        marker={
            "symbol": SPOT_SYMBOLS[number],
            "size": 15,
            "color": look_of(SPOTS[number])["line"]["color"],
            "line": {"color": "white", "width": 2},
        },
        hoverinfo="skip",
    )


def matrix_heatmaps(matrices: Mapping[str, np.ndarray], limit: float, height: int = 220) -> go.Figure:
    """Small matrices side by side on one diverging scale."""
    traces, layout = [], {}
    width = 1 / len(matrices)
    for number, (name, values) in enumerate(matrices.items()):
        suffix = str(number + 1) if number else ""
        traces.append(
            go.Heatmap(
                z=narrow(values),
                zmin=-limit,
                zmax=limit,
                colorscale=DIVERGING,
                xaxis=f"x{suffix}",
                yaxis=f"y{suffix}",
                showscale=number == len(matrices) - 1,
                colorbar={"thickness": 12, "outlinewidth": 0},
                hovertemplate=f"{name}<br>%{{y}}, %{{x}}: %{{z:.4g}}<extra></extra>",
            )
        )
        layout[f"xaxis{suffix}"] = {
            "domain": [number * width + 0.01, (number + 1) * width - 0.03],
            "title": {"text": name, "standoff": 4},
            "showticklabels": False,
            "ticks": "",
        }
        layout[f"yaxis{suffix}"] = {
            "autorange": "reversed",
            "showticklabels": False,
            "ticks": "",
            "anchor": f"x{suffix}",
        }
    return drawing(traces, height, margin={"l": 8, "r": 8, "t": 12, "b": 40}, **layout)


@dataclass(frozen=True, eq=False)
class NeededSteps:
    """Steps of one optimizer at each angle; NaN where it does not get there."""

    name: str
    place: int
    steps: np.ndarray


def needed_steps(
    given: Sequence[NeededSteps], angles: np.ndarray, number: int, most: int, tolerance: str
) -> go.Figure:
    """Steps to a tolerance against the angle; who does not get there within ``most`` runs along the top.

    The band above ``most`` says so; the lines in it keep a little apart.
    """
    band = 0.04 * most
    lines = []
    for row, line in enumerate(given):
        above = most + band * (1.5 + row)
        shown = np.where(np.isnan(line.steps), above, line.steps)
        lines.append(Curve(line.name, line.place, angles, shown, number))
    top = most + band * (1.5 + len(given))
    figure = curves(
        lines,
        _("Angle of the ravine (degrees)"),
        _("Steps until f ≤ {tolerance}").format(tolerance=tolerance),
        x_range=(-2, 92),
        y_range=(0, top),
        x_now=float(angles[number]),
    )
    region = {"type": "rect", "x0": 0, "x1": 1, "xref": "paper", "y0": most + band / 2, "y1": top}
    figure.layout.shapes += (region | {"fillcolor": "rgba(128,128,128,.15)", "line": {"width": 0}},)
    ticks = [*range(0, most + 1, 100), (most + top) / 2]
    never = _("not within {steps}").format(steps=most).replace(" ", "<br>", 1)
    figure.layout.yaxis.update(tickvals=ticks, ticktext=[*map(str, range(0, most + 1, 100)), never])
    return figure
