"""Figures of the optimizers page: paths over a contour plot, and what became of them by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.frames import Scrubbing
from components.figures.line_ends import Scale, end_of, margin_for, named_ends
from components.figures.style import DASHES, GREY, MARKERS, RED, SEQUENTIAL, SERIES, drawing, narrow
from components.words import _

HEIGHT = 460  # pixels off the stage
BELOW = 112  # pixels for axis and scrubber
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
    short: str = ""  # the optimizer's name alone, where ``name`` says more

    @property
    def label(self) -> str:
        if self.diverged_at is None:
            return self.name
        return self.name + " " + _("(diverged at step {step})").format(step=self.diverged_at)


# The most used first: the six colours are theirs. Those that are compared most have other colours.
_ORDER = """sgd momentum rmsprop adam adamw lion radam nesterov nadam adamax adagrad adafactor
adadelta rprop lbfgs free_sgd free_adamw muon"""
ORDER = tuple(_ORDER.split())


def place_of(kind: str) -> int:
    """An optimizer's place in the order of looks."""
    return ORDER.index(kind)


def look_of(place: int) -> dict[str, Any]:
    """Line and marker of an optimizer, the same on every figure of the page.

    Of 36 places no two are alike, and neighbours differ in dash as well as in colour.
    """
    turn = place // len(SERIES)
    return {
        "line": {
            "color": SERIES[place % len(SERIES)],
            "dash": DASHES[(place + turn) % len(DASHES)],
            "width": 2.5,
        },
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
    *,
    has_scrubber: bool = False,
) -> go.Figure:
    """The surface ``values`` [y, x] with all paths; each marker stands at ``step``.

    ``has_scrubber`` leaves room for a slider below.
    """
    shown = np.log10(np.maximum(values, 1e-3)) if is_log else values
    x, y = axes
    traces: list[Any] = [
        go.Contour(
            z=narrow(shown),
            x=narrow(x),
            y=narrow(y),
            customdata=narrow(values),
            colorscale=SEQUENTIAL,
            ncontours=26,
            opacity=0.55,
            contours={"coloring": "heatmap"},
            line={"width": 1, "color": "rgba(255,255,255,.55)"},
            colorbar={
                "title": {"text": "log₁₀ f" if is_log else "f", "side": "right"},
                "thickness": 10,
                "outlinewidth": 0,
                "xpad": 4,
            },
            hovertemplate="x %{x:.3f}<br>y %{y:.3f}<br>f %{customdata:.4g}<extra></extra>",
        )
    ]
    for path in paths:
        traces.append(
            go.Scatter(
                x=narrow(path.points[:, 0]),
                y=narrow(path.points[:, 1]),
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
        HEIGHT,
        hovermode="closest",
        xaxis={"title": {"text": "x", "standoff": 4}, "range": [x[0], x[-1]], "zeroline": False},
        yaxis={"title": {"text": "y", "standoff": 4}, "range": [y[0], y[-1]], "zeroline": False},
        margin={"l": 48, "r": 8, "t": 48, "b": BELOW if has_scrubber else 44},
    )


def _minima(minima: Sequence[tuple[float, float]]) -> go.Scatter:
    """A star at each, and a word at the first."""
    return go.Scatter(
        x=[point[0] for point in minima],
        y=[point[1] for point in minima],
        mode="markers+text",
        text=[_("minimum"), *[""] * (len(minima) - 1)],
        textposition="top right",
        showlegend=False,
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
    return Scrubbing("paths", frames, active, _("Step"), "▶", "❚❚")


def progress_curves(
    paths: Sequence[Path], step: int, limits: tuple[float, float] | None = None
) -> go.Figure:
    """Loss against the step, and below it the distance to the nearest minimum where one is known.

    Both are logarithmic, the loss above the lowest value; where none is known, it is linear between
    ``limits``. A cross marks divergence, a dotted line the step; names stand at the lines' ends.
    """
    has_distances = all(path.distances is not None for path in paths)
    steps = max(len(path.losses) for path in paths) - 1
    x = Scale(0, steps).with_room()
    traces: list[Any] = []
    axes: dict[str, Any] = {"xaxis": _step_axis(x, "y2" if has_distances else "y")}
    if has_distances:
        traces += _panel(paths, [path.distances for path in paths], x, _log_scale(1.0), "y2", 0.42)
        axes["yaxis2"] = _value_axis(_log_scale(1.0), _("Distance to minimum"), (0, 0.45))
    largest = max([1.0, *(float(np.nan_to_num(path.losses[0])) for path in paths)])
    y = _log_scale(largest) if limits is None else Scale(*limits)
    title = _("f − lowest f") if limits is None else "f"
    traces += _panel(paths, [path.losses for path in paths], x, y, "y", 0.42 if has_distances else 0.9)
    axes["yaxis"] = _value_axis(y, title, (0.55, 1) if has_distances else (0, 1))
    traces.append(_cursor(step))
    return drawing(
        traces,
        HEIGHT,
        showlegend=False,
        **axes,
        yaxis3={"overlaying": "y", "range": [0, 1], "domain": [0, 1], "visible": False, "fixedrange": True},
        margin={"l": 64, "r": margin_for([path.short or path.name for path in paths]), "t": 14, "b": 44},
    )


def _log_scale(largest: float) -> Scale:
    return Scale(-6.0, float(np.log10(largest)) + 1.5, True)


def _step_axis(x: Scale, anchor: str) -> dict[str, Any]:
    return {"title": {"text": _("Step"), "standoff": 4}, "range": [x.low, x.high], "anchor": anchor}


def _value_axis(y: Scale, title: str, domain: tuple[float, float]) -> dict[str, Any]:
    axis = {"title": {"text": title, "standoff": 4}, "range": [y.low, y.high], "domain": list(domain)}
    return axis | ({"type": "log", "exponentformat": "power", "dtick": 2} if y.is_log else {})


def _panel(
    paths: Sequence[Path], values: Sequence[np.ndarray | None], x: Scale, y: Scale, axis: str, share: float
) -> list[go.Scatter]:
    """One value of all paths against the step. ``share``: of the figure's height."""
    traces, ends = [], []
    for path, given in zip(paths, values, strict=True):
        if given is None:
            continue
        shown = narrow(np.maximum(given, SMALLEST) if y.is_log else given)
        line = look_of(path.place)["line"]
        traces.append(
            go.Scatter(
                y=shown,
                yaxis=axis,
                name=path.label,
                mode="lines",
                line=line,
                hovertemplate=f"{path.name}<br>" + _("step") + " %{x}<br>%{y:.4g}<extra></extra>",
            )
        )
        if path.diverged_at is not None:
            traces.append(_lost(path, shown, axis))
        ends.append(end_of(path.short or path.name, np.arange(len(shown)), shown, line, y))
    known = [end for end in ends if end is not None]
    return [*traces, *named_ends(known, x, y, share * HEIGHT, yaxis=axis)]


def _lost(path: Path, shown: np.ndarray, axis: str) -> go.Scatter:
    last = (path.diverged_at or 1) - 1
    return go.Scatter(
        x=[last],
        y=[shown[last]],
        yaxis=axis,
        showlegend=False,
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
        yaxis="y3",
        mode="lines",
        showlegend=False,
        line={"color": GREY, "dash": "dot"},
        hoverinfo="skip",
    )


def progress_scrubbing(figure: go.Figure, steps: int) -> Scrubbing:
    """Frames that move the dotted line of ``progress_curves``; another figure has the slider."""
    last = len(figure.data) - 1
    frames = [
        {"name": str(number), "data": [{"x": [number, number]}], "traces": [last]}
        for number in shown_steps(steps)
    ]
    return Scrubbing("paths", frames, 0)


def parts_of_step(parts: Mapping[str, np.ndarray], height: int = 260) -> go.Figure:
    """What a step is made of: x and y of each part, as shares of the larger of the two."""
    names = list(parts)
    values = np.array(list(parts.values()), dtype=np.float64)
    shares = values / np.maximum(np.abs(values).max(axis=1, keepdims=True), SMALLEST)
    bars = [
        go.Bar(
            x=names,
            y=narrow(shares[:, axis]),
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
