"""Figures of the optimizers page: paths over a contour plot, and what became of them by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.frames import Scrubbing
from components.figures.style import DASHES, GREY, MARKERS, RED, SEQUENTIAL, SERIES, drawing
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
