"""Figures of the mixture-of-experts page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType

from components.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MARGIN,
    MARKERS,
    ORANGE,
    RED,
    SEQUENTIAL,
    SERIES,
    SKY,
    cell_frame,
    drawing,
    escaped,
    narrow,
)
from components.words import _

HATCH = {"fillmode": "overlay", "fgcolor": "rgba(0,0,0,0.45)", "size": 7}
# Sixteen light tints on which dark letters can be read; the expert's number stands on every tile.
TINTS = (
    "#9fd0f0",
    "#f5cf80",
    "#8fd6bd",
    "#eab98f",
    "#e3bcd2",
    "#c9ccd1",
    "#f2ea8c",
    "#b5b3e8",
    "#63a9d8",
    "#dba63a",
    "#55b595",
    "#cf8a55",
    "#c68aab",
    "#9aa0a8",
    "#cfc44e",
    "#8784cc",
)
ROOM_FOR_NAMES = 1.25  # of the furthest point, as names stand to the right of some points
TALLEST_LOAD = 3.0  # times the mean: where the colours of a load end


def token_tiles(
    labels: Sequence[str], experts: np.ndarray, columns: int, selected: int, height: int = 420
) -> go.Figure:
    """The text as tiles, left to right and down, each in the colour and with the number of its expert."""
    rows = -(-len(labels) // columns)
    z = np.full((rows, columns), np.nan, np.float32)
    z.flat[: len(labels)] = experts % len(TINTS)
    words = [
        f"{escaped(label[:7])}<br><b>{expert}</b>" for label, expert in zip(labels, experts, strict=True)
    ]
    text = [*words, *[""] * (rows * columns - len(words))]
    heatmap = go.Heatmap(
        z=z,
        zmin=-0.5,
        zmax=len(TINTS) - 0.5,
        colorscale=steps_of(TINTS),
        showscale=False,
        text=[text[row * columns : (row + 1) * columns] for row in range(rows)],
        texttemplate="%{text}",
        textfont={"color": "#10151c", "size": 10},
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=False,
        xgap=2,
        ygap=2,
    )
    hidden = {"visible": False, "fixedrange": True}
    return drawing(
        [heatmap],
        height,
        xaxis=hidden,
        yaxis=hidden | {"autorange": "reversed"},
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        shapes=[cell_frame(*divmod(selected, columns))],
    )


def steps_of(colours: Sequence[str]) -> list[list[Any]]:
    """A colour scale in as many flat steps as there are colours."""
    count = len(colours)
    return [[(index + end) / count, colour] for index, colour in enumerate(colours) for end in (0, 1)]


def gate_bars(
    scores: np.ndarray,
    chosen: np.ndarray,
    wanted: np.ndarray | None,
    silenced: frozenset[int],
    height: int = 420,
) -> go.Figure:
    """Every expert's score for one token; the chosen ones hatched, and scores with the bias as marks."""
    experts = np.arange(len(scores))
    is_chosen = np.isin(experts, chosen)
    bars: list[BaseTraceType] = [
        go.Bar(
            x=experts[part],
            y=narrow(scores[part]),
            name=name,
            marker={"color": colour, "pattern": HATCH | {"shape": shape}},
            hovertemplate=_("expert") + " %{x}<br>%{y:.4f}<extra></extra>",
        )
        for part, name, colour, shape in (
            (~is_chosen, _("not chosen"), GREY, ""),
            (is_chosen, _("chosen expert"), ORANGE, "/"),
        )
    ]
    if wanted is not None and not np.array_equal(wanted, scores):
        bars.append(
            go.Scatter(
                x=experts,
                y=narrow(wanted),
                mode="markers",
                name=_("score + bias"),
                marker={"symbol": "line-ew-open", "size": 14, "color": RED, "line": {"width": 2}},
                hovertemplate=_("expert") + " %{x}<br>%{y:.4f}<extra></extra>",
            )
        )
    crosses = [
        {"x": expert, "y": 0.02, "text": "✕", "showarrow": False, "font": {"size": 16}}
        for expert in silenced
    ]
    return drawing(
        bars,
        height,
        barmode="overlay",
        xaxis={
            "title": {"text": _("Expert")},
            "dtick": 1 if len(scores) <= 16 else 8,
            "range": [-0.6, len(scores) - 0.4],
        },
        yaxis={
            "title": {"text": _("Score")},
            "range": [min(0.0, float(min(0, *(wanted if wanted is not None else [0])))), 1.05],
        },
        annotations=crosses,
    )


def load_table(
    load: np.ndarray, rows: Sequence[str], columns: Sequence[str], column_title: str, height: int = 260
) -> go.Figure:
    """Loads in units of their row's mean: 1 is balance, a number in each cell where there is room."""
    relative = narrow(load / np.maximum(load.mean(1, keepdims=True), 1e-9))
    has_room = load.shape[1] <= 32
    heatmap = go.Heatmap(
        z=relative,
        x=list(columns),
        y=list(rows),
        zmin=0,
        zmax=TALLEST_LOAD,
        colorscale=SEQUENTIAL,
        texttemplate="%{z:.1f}" if has_room else None,
        colorbar={"title": {"text": _("load ÷ mean"), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate="%{y} · %{x}<br>" + _("load ÷ mean") + " %{z:.3f}<extra></extra>",
        xgap=1,
        ygap=1,
    )
    return drawing(
        [heatmap],
        height,
        xaxis={"title": {"text": column_title, "standoff": 6}, "type": "category", "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
        margin=MARGIN | {"l": 24 + 7 * max(len(row) for row in rows), "t": 8},
    )


def load_over_time(load: np.ndarray, every: int, steps: int, height: int = 330) -> go.Figure:
    """Load of each expert [time, experts] in units of the mean; time that has not come stays empty."""
    heatmap = go.Heatmap(
        z=np.ascontiguousarray(load.T, dtype=np.float32),
        x0=every / 2,
        dx=every,
        zmin=0,
        zmax=TALLEST_LOAD,
        colorscale=SEQUENTIAL,
        hoverongaps=False,
        colorbar={"title": {"text": _("load ÷ mean"), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate=_("step") + " %{x:.0f} · " + _("expert") + " %{y}<br>%{z:.2f}<extra></extra>",
    )
    return drawing(
        [heatmap],
        height,
        meta={"begun": bool(np.isfinite(load).any())},  # Plotly drops an empty heatmap: draw anew after it
        xaxis={"title": {"text": _("Training step")}, "range": [0, steps], "showgrid": False},
        yaxis={"title": {"text": _("Expert")}, "autorange": "reversed", "showgrid": False, "dtick": 2},
        margin=MARGIN | {"t": 8},
    )


def curves_over_time(
    curves: dict[str, np.ndarray],
    every: int,
    steps: int,
    y_title: str,
    top: float,
    turned: Sequence[int] = (),
    height: int = 260,
) -> go.Figure:
    """Named curves over training steps on fixed axes; dotted lines where a knob was turned."""
    line = {"color": INK, "dash": "dot", "width": 1}
    return drawing(
        [
            go.Scatter(
                x=(np.arange(len(curve), dtype=np.float32) + 1) * every,
                y=np.asarray(curve, np.float32),
                name=name,
                mode="lines",
                line={"color": (BLUE, ORANGE)[index], "dash": ("solid", "dash")[index], "width": 2},
                hovertemplate=f"{name}<br>%{{x:.0f}}: %{{y:.3f}}<extra></extra>",
            )
            for index, (name, curve) in enumerate(curves.items())
        ],
        height,
        showlegend=len(curves) > 1,
        xaxis={"title": {"text": _("Training step")}, "range": [0, steps]},
        yaxis={"title": {"text": y_title}, "range": [0, top]},
        shapes=[
            {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": line}
            for at in turned
        ],
    )


def duel(
    points: dict[str, tuple[np.ndarray, np.ndarray]],
    names: Sequence[str],
    x_title: str,
    y_title: str,
    height: int = 420,
) -> go.Figure:
    """Networks as points: balance across, loss up; one marker for each text, the last one large."""
    sizes = [10] * (len(names) - 1) + [18]
    furthest = max(float(np.max(x)) for x, _y in points.values()) or 1.0
    traces = [
        go.Scatter(
            x=np.asarray(x, np.float32),
            y=np.asarray(y, np.float32),
            name=name,
            mode="markers+text",
            text=list(names),
            textposition=("middle right", "top center", "bottom center")[index % 3],
            marker={"color": SERIES[index % 6], "symbol": MARKERS[index % 6], "size": sizes},
            hovertemplate=f"{name} · %{{text}}<br>MaxVio %{{x:.3f}}<br>%{{y:.4f}}<extra></extra>",
        )
        for index, (name, (x, y)) in enumerate(points.items())
    ]
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": x_title}, "range": [0, furthest * ROOM_FOR_NAMES]},
        yaxis={"title": {"text": y_title}},
    )


def grouped_bars(
    series: dict[str, np.ndarray],
    categories: Sequence[str],
    x_title: str,
    y_title: str,
    *,
    top: float | None = None,
    line: tuple[float, str] | None = None,
    stacked: bool = False,
    y_log: bool = False,
    height: int = 380,
) -> go.Figure:
    """Named bars over categories, told apart by colour and hatching; ``line`` is a level with its name."""
    bars: list[BaseTraceType] = [
        go.Bar(
            x=list(categories),
            y=np.asarray(values, np.float32),
            name=name,
            marker={
                "color": (SKY, ORANGE, GREEN, GREY)[index % 4],
                "pattern": HATCH | {"shape": ("", "/", "x", ".")[index % 4]},
            },
            hovertemplate=f"{name}<br>%{{x}}: %{{y:.4g}}<extra></extra>",
        )
        for index, (name, values) in enumerate(series.items())
    ]
    if line is not None:
        level, name = line
        bars.append(
            go.Scatter(
                x=list(categories),
                y=[level] * len(categories),
                name=name,
                mode="lines",
                line={"color": RED, "dash": "dash", "width": 2},
                hoverinfo="skip",
            )
        )
    y_axis: dict[str, Any] = {"title": {"text": y_title}, "type": "log" if y_log else "linear"}
    if top is not None:
        y_axis["range"] = [0, top]
    return drawing(
        bars,
        height,
        barmode="stack" if stacked else "group",
        xaxis={"title": {"text": x_title}, "type": "category"},
        yaxis=y_axis,
    )


def against_chance(
    values: np.ndarray,
    null: np.ndarray,
    names: Sequence[str],
    x_title: str,
    y_title: str,
    height: int = 380,
) -> go.Figure:
    """A measure of each expert beside the same measure under the null: its mean and largest draw."""
    top = null.max(0)
    bars: list[BaseTraceType] = [
        go.Bar(
            x=list(names),
            y=np.asarray(values, np.float32),
            name=_("measured"),
            marker={"color": SKY},
            hovertemplate="%{x}: %{y:.4f}<extra></extra>",
        ),
        go.Scatter(
            x=list(names),
            y=narrow(null.mean(0)),
            error_y={
                "type": "data",
                "symmetric": False,
                "array": top - null.mean(0),
                "arrayminus": null.mean(0) - null.min(0),
                "thickness": 2,
                "width": 6,
            },
            mode="markers",
            name=_("by chance: mean and range of {draws} shuffles").format(draws=len(null)),
            marker={"color": ORANGE, "symbol": "diamond", "size": 9},
            hovertemplate="%{x}: %{y:.4f}<extra></extra>",
        ),
    ]
    return drawing(
        bars,
        height,
        xaxis={"title": {"text": x_title}, "type": "category"},
        yaxis={"title": {"text": y_title}, "rangemode": "tozero"},
    )


def names_of(count: int) -> list[str]:
    """The numbers of experts as categories."""
    return [str(index) for index in range(count)]
