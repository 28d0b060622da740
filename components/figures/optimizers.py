"""Figures of the optimizers page: paths over a contour plot, and curves that know their optimizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.frames import Scrubbing
from components.figures.style import DASHES, GREEN, GREY, INK, MARKERS, RED, SEQUENTIAL, SERIES, drawing
from components.words import _

MOST_FRAMES = 250
SMALLEST = 1e-12  # what a logarithmic axis shows of a zero


@dataclass(frozen=True, eq=False)
class Path:
    """One optimizer's way: its name, its place in the list of all, points [steps + 1, 2], loss."""

    name: str
    place: int
    points: np.ndarray
    losses: np.ndarray  # counted from the lowest known value
    distances: np.ndarray | None
    diverged_at: int | None

    @property
    def label(self) -> str:
        if self.diverged_at is None:
            return self.name
        return self.name + " " + _("(diverged at step {step})").format(step=self.diverged_at)


# The most used first: the six colours are theirs, and later ones differ by dash and marker too.
_ORDER = """sgd momentum rmsprop adam adamw lion nesterov adagrad nadam radam adamax adafactor
adadelta rprop lbfgs free_sgd free_adamw muon"""
ORDER = tuple(_ORDER.split())


def place_of(kind: str) -> int:
    """An optimizer's place in the order of looks."""
    return ORDER.index(kind)


def look_of(place: int) -> dict[str, Any]:
    """Line and marker of an optimizer: the same on every figure of the page."""
    turn = place // len(SERIES)
    return {
        "line": {"color": SERIES[place % len(SERIES)], "dash": DASHES[turn % len(DASHES)], "width": 2.5},
        "marker": {
            "symbol": MARKERS[(place + turn) % len(MARKERS)],
            "color": SERIES[place % len(SERIES)],
            "size": 12,
            "line": {"color": "white", "width": 1.5},
        },
    }


def shown_steps(steps: int) -> list[int]:
    """The steps that have a frame: all, or as many as a browser scrubs through smoothly."""
    stride = -(-steps // MOST_FRAMES)
    return [*range(0, steps, stride), steps]


def contour_paths(
    values: np.ndarray,
    axes: tuple[np.ndarray, np.ndarray],
    minima: Sequence[tuple[float, float]],
    paths: Sequence[Path],
    step: int,
    is_log: bool,
    height: int = 620,
) -> go.Figure:
    """The surface ``values`` [y, x] with all paths; each marker stands at ``step``."""
    shown = np.log10(np.maximum(values, 1e-3)) if is_log else values
    x, y = axes
    traces: list[Any] = [
        go.Contour(
            z=shown.astype(np.float32),
            x=x.astype(np.float32),
            y=y.astype(np.float32),
            customdata=values.astype(np.float32),
            colorscale=SEQUENTIAL,
            ncontours=26,
            opacity=0.55,
            contours={"coloring": "heatmap"},
            line={"width": 1, "color": "rgba(255,255,255,.55)"},
            colorbar={
                "title": {"text": "log₁₀ f" if is_log else "f", "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
            hovertemplate="x %{x:.3f}<br>y %{y:.3f}<br>f %{customdata:.4g}<extra></extra>",
        )
    ]
    for path in paths:
        traces.append(
            go.Scatter(
                x=path.points[:, 0].astype(np.float32),
                y=path.points[:, 1].astype(np.float32),
                mode="lines",
                name=path.label,
                line=look_of(path.place)["line"],
                hoverinfo="skip",
            )
        )
    if minima:
        traces.append(_minima(minima))
    traces.append(heads(paths, step))
    return drawing(
        traces,
        height,
        hovermode="closest",
        xaxis={"title": {"text": "x", "standoff": 4}, "range": [x[0], x[-1]], "zeroline": False},
        yaxis={"title": {"text": "y", "standoff": 4}, "range": [y[0], y[-1]], "zeroline": False},
        margin={"l": 48, "r": 8, "t": 62, "b": 118},
    )


def _minima(minima: Sequence[tuple[float, float]]) -> go.Scatter:
    return go.Scatter(
        x=[point[0] for point in minima],
        y=[point[1] for point in minima],
        mode="markers",
        name=_("minimum"),
        marker={"symbol": "star", "size": 15, "color": "white", "line": {"color": "black", "width": 1.5}},
        hoverinfo="skip",
    )


def heads(paths: Sequence[Path], step: int) -> go.Scatter:
    """Where each optimizer is at ``step``."""
    looks = [look_of(path.place)["marker"] for path in paths]
    here = _heads_at(paths, step)
    return go.Scatter(
        x=here["x"],
        y=here["y"],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={
            "symbol": [look["symbol"] for look in looks],
            "color": [look["color"] for look in looks],
            "size": 13,
            "line": {"color": "white", "width": 2},
        },
    )


def _heads_at(paths: Sequence[Path], step: int) -> dict[str, list[float | None]]:
    """Points for a frame; after divergence there is none."""
    points = [path.points[min(step, len(path.points) - 1)] for path in paths]
    return {
        name: [round(float(point[axis]), 5) if np.isfinite(point[axis]) else None for point in points]
        for axis, name in enumerate("xy")
    }


def contour_scrubbing(figure: go.Figure, paths: Sequence[Path], steps: int, step: int) -> Scrubbing:
    """Frames that move the markers of ``contour_paths``, and the slider that shows them."""
    last = len(figure.data) - 1
    shown = shown_steps(steps)
    frames = [
        {"name": str(number), "data": [_heads_at(paths, number)], "traces": [last]} for number in shown
    ]
    active = min(range(len(shown)), key=lambda index: abs(shown[index] - step))
    return Scrubbing("paths", frames, active, _("Step"), "▶ " + _("Play"), "❚❚")


def loss_curves(
    paths: Sequence[Path],
    step: int,
    of: str,
    limits: tuple[float, float] | None = None,
    height: int = 300,
) -> go.Figure:
    """Loss, or distance to the nearest minimum, against the step; a cross marks divergence.

    Logarithmic above the lowest value; where none is known, linear between ``limits``.
    """
    traces: list[Any] = []
    title = _("f − lowest f") if of == "loss" else _("Distance to the nearest minimum")
    largest = 1.0
    for path in paths:
        values = path.losses if of == "loss" else path.distances
        if values is None:
            continue
        shown = (np.maximum(values, SMALLEST) if limits is None else values).astype(np.float32)
        largest = max(largest, float(np.nan_to_num(shown[0])))
        traces.append(
            go.Scatter(
                y=shown,
                name=path.label,
                mode="lines",
                line=look_of(path.place)["line"],
                hovertemplate=f"{path.name}<br>" + _("step") + " %{x}<br>%{y:.4g}<extra></extra>",
            )
        )
        if path.diverged_at is not None:
            traces.append(_lost(path, shown))
    traces.append(_cursor(step))
    return drawing(
        traces,
        height,
        showlegend=False,
        xaxis={"title": {"text": _("Step"), "standoff": 4}},
        yaxis={
            "title": {"text": title, "standoff": 4},
            "type": "log",
            "exponentformat": "power",
            "dtick": 2,
        }
        | {"range": [-6, np.log10(largest) + 1.5]}
        if limits is None
        else {"title": {"text": "f", "standoff": 4}, "range": list(limits)},
        yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
        margin={"l": 64, "r": 12, "t": 14, "b": 44},
    )


def _lost(path: Path, shown: np.ndarray) -> go.Scatter:
    last = (path.diverged_at or 1) - 1
    return go.Scatter(
        x=[last],
        y=[shown[last]],
        mode="markers+text",
        text=["∞"],
        textposition="top center",
        marker={"symbol": "x", "size": 12, "color": RED},
        hoverinfo="skip",
    )


def _cursor(step: int) -> go.Scatter:
    return go.Scatter(
        x=[step, step],
        y=[0, 1],
        yaxis="y2",
        mode="lines",
        line={"color": GREY, "dash": "dot"},
        hoverinfo="skip",
    )


def loss_scrubbing(figure: go.Figure, steps: int) -> Scrubbing:
    """Frames that move the dotted line of ``loss_curves``; another figure has the slider."""
    last = len(figure.data) - 1
    frames = [
        {"name": str(number), "data": [{"x": [number, number]}], "traces": [last]}
        for number in shown_steps(steps)
    ]
    return Scrubbing("paths", frames, 0)


def parts_of_step(parts: Mapping[str, np.ndarray], height: int = 300) -> go.Figure:
    """What a step is made of: x and y of each part, as shares of the larger of the two."""
    names = list(parts)
    values = np.array(list(parts.values()), dtype=np.float64)
    shares = values / np.maximum(np.abs(values).max(axis=1, keepdims=True), SMALLEST)
    bars = [
        go.Bar(
            x=names,
            y=shares[:, axis].astype(np.float32),
            customdata=values[:, axis],
            name=letter,
            marker={"color": SERIES[axis], "pattern": {"shape": ("", "/")[axis]}},
            hovertemplate=f"%{{x}} ({letter})<br>%{{customdata:.6g}}<extra></extra>",
        )
        for axis, letter in enumerate("xy")
    ]
    return drawing(
        bars,
        height,
        barmode="group",
        xaxis={"type": "category"},
        yaxis={
            "title": {"text": _("Share of the larger coordinate"), "standoff": 4},
            "range": [-1.1, 1.1],
        },
        margin={"l": 64, "r": 12, "t": 36, "b": 40},
    )


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
