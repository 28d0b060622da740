"""Curves of the optimizers page that know their optimizer, and its two heatmaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.optimizers import look_of
from components.figures.style import DASHES, GREEN, INK, RED, SEQUENTIAL, SERIES, drawing
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
    x_log: bool = False,
    y_log: bool = False,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    x_now: float | None = None,
    y_line: tuple[float, str] | None = None,
    height: int = 420,
    **layout: Any,
) -> go.Figure:
    """Curves against a common x. Ranges are in the axis's own numbers (log₁₀ on a logarithmic one)."""
    traces: list[Any] = []
    for curve in given:
        look = look_of(curve.place)
        traces.append(
            go.Scatter(
                x=np.asarray(curve.x, dtype=np.float32),
                y=np.asarray(curve.y, dtype=np.float32),
                name=curve.name,
                mode="lines",
                opacity=0.35 if curve.is_faint else 1.0,
                line=look["line"],
                hovertemplate=f"{curve.name}<br>{x_title} %{{x:.4g}}<br>%{{y:.4g}}<extra></extra>",
            )
        )
        if curve.mark is not None:
            traces.append(_marked(curve, look["marker"]))
    shapes = [] if x_now is None else [_line(x=x_now)]
    notes = []
    if y_line is not None:
        shapes.append(_line(y=y_line[0]))
        notes.append(_note(*y_line, y_log))
    return drawing(
        traces,
        height,
        shapes=shapes,
        annotations=notes,
        showlegend=len(given) > 1,
        xaxis=_axis(x_title, x_log, x_range),
        yaxis=_axis(y_title, y_log, y_range),
        margin={"l": 68, "r": 14, "t": 62 if len(given) > 4 else 40, "b": 48},
        **layout,
    )


def _axis(title: str, is_log: bool, limits: tuple[float, float] | None) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": title, "standoff": 4}, "zeroline": False}
    if is_log:
        decades = 8 if limits is None else limits[1] - limits[0]
        axis |= {"type": "log", "exponentformat": "power", "dtick": 1 if decades <= 6 else 2}
    if limits is not None:
        axis["range"] = list(limits)
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
    height: int = 560,
) -> go.Figure:
    """Factor a step over (α, β), empty where it diverges; lines for the edge and critical damping."""
    heatmap = go.Heatmap(
        z=np.where(factors < 1, factors, np.nan).astype(np.float32),
        x=rates.astype(np.float32),
        y=betas.astype(np.float32),
        customdata=factors.astype(np.float32),
        zmin=0.3,
        zmax=1,
        hoverongaps=False,
        colorscale=SEQUENTIAL,
        colorbar={"title": {"text": "max |σ|", "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate="α %{x:.4g}<br>β %{y:.3f}<br>|σ| %{customdata:.4f}<extra></extra>",
    )
    boundary = go.Scatter(
        x=edge.astype(np.float32),
        y=betas.astype(np.float32),
        mode="lines",
        name=_("stability edge αλ = 2 + 2β"),
        line={"color": RED, "width": 4},
        hoverinfo="skip",
    )
    damping = [
        go.Scatter(
            x=x.astype(np.float32),
            y=y.astype(np.float32),
            mode="lines",
            name=name,
            line={"color": "white", "width": 2.5, "dash": DASHES[1 + number]},
            hoverinfo="skip",
        )
        for number, (x, y, name) in enumerate(critical)
    ]
    return drawing(
        [heatmap, boundary, *damping, *(_spot(*point, number) for number, point in enumerate(points))],
        height,
        xaxis={"title": {"text": _("Learning rate α"), "standoff": 4}, "range": [rates[0], rates[-1]]},
        yaxis={"title": {"text": _("Momentum β"), "standoff": 4}, "range": [betas[0], betas[-1]]},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "bgcolor": "rgba(128,128,128,.35)",
        },
        margin={"l": 64, "r": 12, "t": 66, "b": 48},
    )


def _spot(rate: float, beta: float, name: str, number: int) -> go.Scatter:
    return go.Scatter(
        x=[rate],
        y=[beta],
        mode="markers",
        name=name,
        marker={
            "symbol": ("circle", "star", "square")[number % 3],
            "size": 15,
            "color": (SERIES[1], GREEN, SERIES[3])[number % 3],
            "line": {"color": "white", "width": 2},
        },
        hoverinfo="skip",
    )


def matrix_heatmaps(matrices: Mapping[str, np.ndarray], limit: float, height: int = 260) -> go.Figure:
    """Small matrices side by side on one diverging scale."""
    traces, layout = [], {}
    width = 1 / len(matrices)
    for number, (name, values) in enumerate(matrices.items()):
        suffix = str(number + 1) if number else ""
        traces.append(
            go.Heatmap(
                z=values.astype(np.float32),
                zmin=-limit,
                zmax=limit,
                colorscale="PuOr",
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
        }
        layout[f"yaxis{suffix}"] = {
            "autorange": "reversed",
            "showticklabels": False,
            "anchor": f"x{suffix}",
        }
    return drawing(traces, height, margin={"l": 8, "r": 8, "t": 12, "b": 40}, **layout)
