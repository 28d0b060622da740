"""Figures of the policy page: grids of answers, strips of tokens, bars beside one another."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.style import DIVERGING, INK, MARKERS, SERIES, cell_frame, drawing, escaped, narrow
from components.words import _

MOST_WRITTEN = 12  # columns of cells that have room for their number
TOKENS_A_TICK = 5
LETTERS = 6  # of a token in its cell; hover gives it whole
INK_ON_CELL = "#b30000"
PATTERNS = ("", "/", ".", "x", "-", "|")
HATCHES = "rgba(0, 0, 0, 0.55)"
ROOM_FOR_WORDS = 0.4  # steps of an axis beyond its outermost value
LINE_SHARE = 0.1  # of a figure's height, for the line under its map
HIDDEN_AXIS = {
    "range": [0, 1],
    "fixedrange": True,
    "showgrid": False,
    "zeroline": False,
    "showticklabels": False,
    "visible": False,
}
LINE_AXIS = HIDDEN_AXIS | {"domain": [0, LINE_SHARE - 0.02], "anchor": "x2"}


def answer_grid(
    values: np.ndarray,
    value_title: str,
    limit: float,
    *,
    dead: Sequence[bool] = (),
    selected: tuple[int, int] | None = None,
    number: str = "+.2f",
    line: str = "",
    height: int = 360,
) -> go.Figure:
    """Groups down, answers across, on a diverging scale centred on 0; dead groups are marked.

    ``number`` is how a cell's value is written (d3-format); ``line`` stands under the map, as points
    whose text moves in place.
    """
    groups, answers = values.shape
    marks = [f"{row + 1} ✕" if row < len(dead) and dead[row] else str(row + 1) for row in range(groups)]
    group, answer = _("Group"), _("Answer")
    written: dict[str, Any] = {"texttemplate": f"%{{z:{number}}}"} if answers <= MOST_WRITTEN else {}
    heatmap = go.Heatmap(
        z=np.ascontiguousarray(values, dtype=np.float32),
        zmin=-limit,
        zmax=limit,
        colorscale=DIVERGING,
        hoverongaps=False,
        colorbar={"title": {"text": value_title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate=f"{group} %{{y}}<br>{answer} %{{x}}<br>{value_title} %{{z:.5g}}<extra></extra>",
        **written,
    )
    across = {"tickvals": list(range(answers)), "ticktext": [str(place + 1) for place in range(answers)]}
    down = {"tickvals": list(range(groups)), "ticktext": marks}
    return drawing(
        [heatmap] if not line else [heatmap, _line_below(line)],
        height,
        xaxis={"title": {"text": answer, "standoff": 4}, "side": "top", "showgrid": False, **across},
        yaxis={
            "title": {"text": group},
            "autorange": "reversed",
            "showgrid": False,
            "domain": [LINE_SHARE if line else 0.0, 1.0],
            **down,
        },
        margin={"l": 62, "r": 8, "t": 56, "b": 8},
        shapes=[] if selected is None else [cell_frame(*selected)],
        **({"xaxis2": HIDDEN_AXIS | {"anchor": "y2"}, "yaxis2": LINE_AXIS} if line else {}),
    )


def _line_below(line: str) -> go.Scatter:
    """Text in a strip of its own under the figure."""
    return go.Scatter(
        x=np.array([0.0], dtype=np.float32),
        y=np.array([0.5], dtype=np.float32),
        xaxis="x2",
        yaxis="y2",
        mode="text",
        text=[line],
        textposition="middle right",
        textfont={"size": 14},
        hoverinfo="skip",
        showlegend=False,
    )


def token_strip(
    values: np.ndarray,
    words: Sequence[Sequence[str]],
    rows: Sequence[str],
    bound: np.ndarray,
    value_title: str,
    limit: float,
    height: int = 380,
) -> go.Figure:
    """Answers down, their tokens across, coloured by what each does; ✕ where a clip takes the gradient.

    NaN cells lie behind the answer's end. ``bound`` is not 0 where the clip binds.
    """
    answers, tokens = values.shape
    full = [[*map(escaped, row), *[""] * (tokens - len(row))] for row in words]
    text = [[word if len(word) <= LETTERS else word[: LETTERS - 1] + "…" for word in row] for row in full]
    heatmap = go.Heatmap(
        z=np.ascontiguousarray(values, dtype=np.float32),
        zmin=-limit,
        zmax=limit,
        colorscale=DIVERGING,
        hoverongaps=False,
        text=text,
        texttemplate="%{text}",
        textfont={"size": 10},
        customdata=full,
        colorbar={"title": {"text": value_title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate=f"%{{customdata}}<br>{value_title} %{{z:.4g}}<extra></extra>",
    )
    where = np.argwhere(bound != 0)
    crosses = go.Scatter(
        x=where[:, 1],
        y=where[:, 0],
        mode="markers",
        name=_("clipped: no gradient"),
        marker={"symbol": "x-thin", "size": 17, "line": {"color": INK_ON_CELL, "width": 2}},
        hoverinfo="skip",
        showlegend=True,
    )
    return drawing(
        [heatmap, crosses],
        height,
        xaxis={
            "title": {"text": _("Token of the answer"), "standoff": 4},
            "showgrid": False,
            "zeroline": False,
            "tickvals": list(range(0, tokens, TOKENS_A_TICK)),
            "ticktext": [str(number + 1) for number in range(0, tokens, TOKENS_A_TICK)],
        },
        yaxis={
            "zeroline": False,
            "tickvals": list(range(answers)),
            "ticktext": list(rows),
            "autorange": "reversed",
            "showgrid": False,
        },
        margin={"l": 92, "r": 8, "t": 40, "b": 44},
    )


def round_limits(*values: np.ndarray) -> tuple[float, float]:
    """An axis that holds all values and 0, with ends on a round number.

    While a slider is dragged it jumps now and then instead of moving all the time.
    """
    low = min(0.0, *(float(np.nanmin(each, initial=0.0)) for each in values))
    high = max(0.0, *(float(np.nanmax(each, initial=0.0)) for each in values))
    size = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(size))
    step = next(part * power for part in (0.2, 0.5, 1.0, 2.0) if size <= 8 * part * power)
    return (
        step * math.floor(low / step - ROOM_FOR_WORDS) if low < 0 else 0.0,
        step * math.ceil(high / step + ROOM_FOR_WORDS) if high > 0 else 0.0,
    )


def grouped_bars(
    series: Mapping[str, np.ndarray],
    names: Sequence[str],
    title: str,
    *,
    x_title: str = "",
    limits: tuple[float, float] | None = None,
    deviations: Mapping[str, np.ndarray] | None = None,
    level: tuple[float, str] | None = None,
    first: int = 0,
    by_name: bool = False,
    height: int = 360,
) -> go.Figure:
    """Bars side by side: one colour and pattern a series, one place a name; ``level`` is a named line.

    ``first`` is the place of the first series' colour; ``by_name`` gives each name its own instead.
    """
    bars = [
        go.Bar(
            x=list(names),
            y=narrow(values),
            name=name,
            marker=_fill(range(len(names)) if by_name else [first + place]),
            error_y=None
            if deviations is None
            else {
                "type": "data",
                "array": np.asarray(deviations[name], dtype=np.float32),
                "thickness": 1.5,
            },
            hovertemplate=f"{name}<br>%{{x}}<br>%{{y:.4g}}<extra></extra>",
        )
        for place, (name, values) in enumerate(series.items())
    ]
    axis: dict[str, Any] = {"title": {"text": title, "standoff": 4}, "zeroline": True}
    if limits is not None:
        axis["range"] = list(limits)
    return drawing(
        bars,
        height,
        barmode="group",
        yaxis=axis,
        xaxis={"type": "category", "title": {"text": x_title, "standoff": 4}},
        shapes=[] if level is None else [_level(level[0])],
        annotations=[] if level is None else [_level_name(*level)],
        showlegend=len(bars) > 1,
        margin={"l": 68, "r": 12, "t": 44 + 18 * (len(bars) > 2), "b": 64 if x_title else 44},
    )


def _fill(places: Sequence[int]) -> dict[str, Any]:
    """Colour and pattern of a bar, or of each."""
    colours = [SERIES[place % 6] for place in places]
    shapes = [PATTERNS[place % 6] for place in places]
    one = len(colours) == 1
    pattern = {"fillmode": "overlay", "fgcolor": HATCHES, "size": 7, "solidity": 0.25}
    return {
        "color": colours[0] if one else colours,
        "pattern": {"shape": shapes[0] if one else shapes, **pattern},
    }


def _level(y: float) -> dict[str, Any]:
    line = {"color": INK, "dash": "dot", "width": 2}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _level_name(y: float, name: str) -> dict[str, Any]:
    beside = {"x": 1, "xref": "paper", "xanchor": "right", "yanchor": "bottom"}
    return {"text": name, "y": y, "showarrow": False, **beside}


def clip_curves(
    ratio: np.ndarray, positive: np.ndarray, negative: np.ndarray, now: float, height: int = 340
) -> go.Figure:
    """The loss of one token against its ratio, for a good answer and for a bad one."""
    lines = [
        go.Scatter(
            x=narrow(ratio),
            y=narrow(values),
            name=name,
            mode="lines",
            line={"color": SERIES[place], "dash": ("solid", "dash")[place], "width": 3},
            hovertemplate=f"{name}<br>ρ %{{x:.3f}}<br>%{{y:.4f}}<extra></extra>",
        )
        for place, (name, values) in enumerate((("A = +1", positive), ("A = −1", negative)))
    ]
    spots = go.Scatter(
        x=[now, now],
        y=[float(np.interp(now, ratio, values)) for values in (positive, negative)],
        mode="markers",
        marker={"symbol": list(MARKERS[:2]), "size": 13, "color": list(SERIES[:2])},
        showlegend=False,
        hoverinfo="skip",
    )
    return drawing(
        [*lines, spots],
        height,
        xaxis={"title": {"text": _("Ratio ρ = π/π_old"), "standoff": 4}, "range": [0, 3]},
        yaxis={"title": {"text": _("Loss of a token"), "standoff": 4}, "range": [-3, 4]},
        margin={"l": 60, "r": 12, "t": 40, "b": 44},
    )
