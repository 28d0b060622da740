"""Figures of preference losses: rewards and gradients by pair, and the plane of both log-ratios."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.attention import HATCH
from components.figures.style import (
    BLUE,
    GREY,
    INK,
    LETTER,
    MARGIN,
    ORANGE,
    RED,
    SEQUENTIAL,
    SKY,
    drawing,
    escaped,
    narrow,
)
from components.words import _

MOST_BARS = 24  # pairs; more are drawn as lines
MOST_DRAWN = 256  # pairs in a figure; the numbers below it are of all
ARROW = 0.8  # longest arrow, as a share of the distance between two
HEAD = 0.32  # of its length


def octave(values: np.ndarray, least: float = 1e-3) -> float:
    """The power of two that holds all values: an axis that stays while a slider moves them a little."""
    top = float(np.nanmax(np.abs(values), initial=least))
    return 2.0 ** math.ceil(math.log2(max(top, least) * 1.05))


def pair_axis(count: int) -> dict[str, Any]:
    return {
        "title": {"text": _("Pair"), "standoff": 6},
        "range": [0.4, count + 0.6],
        "dtick": max(1, -(-count // 16)),
        "zeroline": False,
    }


def implicit_rewards(
    chosen: np.ndarray, rejected: np.ndarray, title: str = "", height: int = 330
) -> go.Figure:
    """Rewards of both answers of every pair, joined; pairs in the wrong order have a dotted line."""
    chosen, rejected = narrow(chosen[:MOST_DRAWN]), narrow(rejected[:MOST_DRAWN])
    place = np.arange(1, len(chosen) + 1, dtype=np.float32)
    gap = np.full_like(chosen, np.nan)
    joined = np.stack([chosen, rejected, gap], 1)
    right = (chosen > rejected)[:, None]
    lines = [
        go.Scatter(
            x=np.repeat(place, 3),
            y=np.where(mask, joined, np.nan).ravel(),
            mode="lines",
            name=name,
            line={"color": colour, "dash": dash, "width": 2},
            hoverinfo="skip",
        )
        for name, mask, colour, dash in (
            (_("right order"), right, GREY, "solid"),
            (_("wrong order"), ~right, RED, "dot"),
        )
    ]
    points = [
        go.Scatter(
            x=place,
            y=values,
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 10},
            hovertemplate=f"{name} %{{x}}: %{{y:.4f}}<extra></extra>",
        )
        for name, values, colour, symbol in (
            (_("chosen"), chosen, BLUE, "circle"),
            (_("rejected"), rejected, ORANGE, "square"),
        )
    ]
    top = octave(np.concatenate([chosen, rejected]))
    return drawing(
        [*lines, *points],
        height,
        xaxis=pair_axis(len(chosen)),
        yaxis={"title": {"text": title or _("Implicit reward β·Δ (nats)")}, "range": [-top, top]},
    )


def loss_and_gradient(
    loss: np.ndarray, by_chosen: np.ndarray, by_rejected: np.ndarray, height: int = 330
) -> go.Figure:
    """Above, each pair's loss; below, what it asks of both log-probabilities: up is above zero."""
    loss = narrow(loss[:MOST_DRAWN])
    place = np.arange(1, len(loss) + 1, dtype=np.float32)
    asked = [-narrow(values[:MOST_DRAWN]) for values in (by_chosen, by_rejected)]
    parts = (
        (_("loss"), loss, GREY, "", 0.0, "y2"),
        (_("push on chosen"), asked[0], BLUE, "", -0.16, "y"),
        (_("push on rejected"), asked[1], ORANGE, "/", 0.16, "y"),
    )
    draw = pair_bars if len(loss) <= MOST_BARS else pair_stems
    bars = [draw(place, *part) for part in parts]
    top, most = octave(np.concatenate(asked)), octave(loss)
    return drawing(
        bars,
        height,
        barmode="group",
        xaxis=pair_axis(len(loss)) | {"anchor": "y"},
        yaxis={"title": {"text": "−∂L/∂log π"}, "range": [-top, top], "domain": [0, 0.56]},
        yaxis2={
            "title": {"text": _("Loss (nats)")},
            "range": [min(0.0, -most * float(loss.min() < 0)), most],
            "domain": [0.66, 1],
            "anchor": "x",
        },
    )


def pair_bars(
    place: np.ndarray, name: str, values: np.ndarray, colour: str, shape: str, _offset: float, axis: str
) -> go.Bar:
    return go.Bar(
        x=place,
        y=values,
        name=name,
        marker={"color": colour, "pattern": HATCH | {"shape": shape}},
        yaxis=axis,
        hovertemplate=f"{name} %{{x}}: %{{y:.5f}}<extra></extra>",
    )


def pair_stems(
    place: np.ndarray, name: str, values: np.ndarray, colour: str, shape: str, offset: float, axis: str
) -> go.Scatter:
    """The same for many pairs: one path of lines, where bars would be drawn one by one."""
    gap = np.full_like(values, np.nan)
    return go.Scatter(
        x=np.repeat(place + np.float32(offset), 3),
        y=np.stack([np.zeros_like(values), values, gap], 1).ravel(),
        mode="lines",
        name=name,
        line={"color": colour, "width": 2, "dash": "dot" if shape else "solid"},
        yaxis=axis,
        hovertemplate=f"{name} %{{x:.0f}}: %{{y:.5f}}<extra></extra>",
    )


def plane(
    axis: np.ndarray,
    loss: np.ndarray,
    arrows: tuple[np.ndarray, np.ndarray, np.ndarray],
    points: tuple[np.ndarray, np.ndarray],
    limits: tuple[float, float],
    selected: int,
    height: int = 560,
) -> go.Figure:
    """Loss over Δ_w (across) and Δ_l (up), the way that descent pushes, and the pairs.

    ``arrows`` holds places on the axis and the push on both answers, one cell a place.
    """
    low, high = limits
    step = float(axis[1] - axis[0])
    contour = go.Contour(
        z=np.ascontiguousarray(loss, dtype=np.float32),
        x0=float(axis[0]),
        dx=step,
        y0=float(axis[0]),
        dy=step,
        zmin=low,
        zmax=high,
        colorscale=SEQUENTIAL,
        contours={"start": low, "end": high, "size": (high - low) / 10},
        line={"width": 0.6, "color": "rgba(255,255,255,.55)"},
        colorbar={"title": {"text": _("Loss (nats)"), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate="Δ_w %{x:.2f}<br>Δ_l %{y:.2f}<br>" + _("loss") + " %{z:.4g}<extra></extra>",
    )
    edge = [float(axis[0]), float(axis[-1])]
    diagonal = go.Scatter(
        x=edge,
        y=edge,
        mode="lines",
        line={"color": INK, "dash": "dot", "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    return drawing(
        [contour, diagonal, *arrow_traces(*arrows), *pair_points(*points, selected)],
        height,
        xaxis={
            "title": {"text": _("Δ_w: log π(chosen) − log π_ref(chosen)")},
            "range": edge,
            "zeroline": True,
        },
        yaxis={"title": {"text": _("Δ_l: log π(rejected) − log π_ref(rejected)")}, "range": edge},
        margin=MARGIN | {"t": 44},
    )


def arrow_traces(places: np.ndarray, chosen: np.ndarray, rejected: np.ndarray) -> list[go.Scatter]:
    """Arrows whose length grows with the root of the push; those that lower the chosen answer apart.

    Heads are drawn as lines: markers that are turned one by one take longer than all the rest.
    """
    x, y = (grid.ravel() for grid in np.meshgrid(places, places))
    chosen, rejected = chosen.ravel(), rejected.ravel()
    size = np.hypot(chosen, rejected)
    length = ARROW * float(places[1] - places[0]) * np.sqrt(size / max(float(size.max()), 1e-30))
    turn = np.arctan2(rejected, chosen)
    end = x + length * np.cos(turn), y + length * np.sin(turn)
    left, right = (
        (
            end[0] - HEAD * length * np.cos(turn + side),
            end[1] - HEAD * length * np.sin(turn + side),
        )
        for side in (-0.5, 0.5)
    )
    gap = np.full_like(x, np.nan)
    across, up = (
        np.stack([start, tip, a, tip, b, gap], 1)
        for start, tip, a, b in ((x, end[0], left[0], right[0]), (y, end[1], left[1], right[1]))
    )
    down, shown = chosen < -1e-9 * size, size > 1e-9
    return [
        go.Scatter(
            x=narrow(np.where(mask[:, None], across, np.nan).ravel()),
            y=narrow(np.where(mask[:, None], up, np.nan).ravel()),
            mode="lines",
            name=name,
            line={"color": colour, "width": 2},
            hoverinfo="skip",
        )
        for name, mask, colour in (
            (_("push: chosen up or kept"), shown & ~down, SKY),
            (_("push: chosen down"), shown & down, RED),
        )
    ]


def pair_points(chosen: np.ndarray, rejected: np.ndarray, selected: int) -> list[go.Scatter]:
    """The table's pairs on the plane, and a star around the selected one."""
    hover = _("pair") + " %{customdata}<br>Δ_w %{x:.3f}<br>Δ_l %{y:.3f}<extra></extra>"
    every, one = np.arange(min(len(chosen), MOST_DRAWN)), np.array([selected])
    return [
        go.Scatter(
            x=narrow(chosen[which]),
            y=narrow(rejected[which]),
            mode="markers",
            name=name,
            customdata=which + 1,
            marker={
                "symbol": symbol,
                "size": size,
                "color": ORANGE,
                "line": {"width": 1, "color": "black"},
            },
            hovertemplate=hover,
        )
        for name, which, symbol, size in (
            (_("pairs of the table"), every, "circle", 9),
            (_("the explained one"), one, "star", 18),
        )
    ]


def pushes(names: Sequence[str], chosen: np.ndarray, rejected: np.ndarray, height: int = 620) -> go.Figure:
    """Every loss at one place: the direction of its push, as shares of its length."""
    size = np.hypot(chosen, rejected)
    unit = np.where(size > 0, size, 1.0)
    rows = [escaped(name) for name in names]
    bars = [
        go.Bar(
            y=rows,
            x=narrow(values / unit),
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": HATCH | {"shape": shape}},
            customdata=values,
            hovertemplate=f"%{{y}}, {name}: −∂L/∂log π = %{{customdata:.4g}}<extra></extra>",
        )
        for name, values, colour, shape in (
            (_("chosen"), chosen, BLUE, ""),
            (_("rejected"), rejected, ORANGE, "/"),
        )
    ]
    return drawing(
        bars,
        height,
        barmode="group",
        bargap=0.35,
        xaxis={
            "title": {"text": _("← down · push · up →")},
            "range": [-1.05, 1.05],
        },
        yaxis={"autorange": "reversed"},
        margin=MARGIN | {"l": round(24 + LETTER * max(map(len, rows)))},
    )
