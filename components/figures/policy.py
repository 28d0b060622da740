"""Figures of the policy page: grids of answers, strips of tokens, bars beside one another."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.style import DIVERGING, INK, MARKERS, SERIES, cell_frame, drawing, escaped
from components.words import _

MOST_WRITTEN = 12  # columns of cells that have room for their number
LETTERS = 6  # of a token in its cell; hover gives it whole
INK_ON_CELL = "#b30000"


def answer_grid(
    values: np.ndarray,
    value_title: str,
    limit: float,
    *,
    dead: Sequence[bool] = (),
    selected: tuple[int, int] | None = None,
    number: str = "+.2f",
    height: int = 360,
) -> go.Figure:
    """Groups down, answers across, on a diverging scale centred on 0; dead groups are marked.

    ``number`` is how a cell's value is written (d3-format).
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
        [heatmap],
        height,
        xaxis={"title": {"text": answer, "standoff": 4}, "side": "top", "showgrid": False, **across},
        yaxis={"title": {"text": group}, "autorange": "reversed", "showgrid": False, **down},
        margin={"l": 62, "r": 8, "t": 56, "b": 8},
        shapes=[] if selected is None else [cell_frame(*selected)],
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
        xaxis={"title": {"text": _("Token of the answer"), "standoff": 4}, "showgrid": False},
        yaxis={
            "tickvals": list(range(answers)),
            "ticktext": list(rows),
            "autorange": "reversed",
            "showgrid": False,
        },
        margin={"l": 92, "r": 8, "t": 40, "b": 44},
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
    height: int = 360,
) -> go.Figure:
    """Bars side by side: one colour and pattern a series, one place a name; ``level`` is a named line."""
    patterns = ("", "/", ".", "x", "-", "|")
    bars = [
        go.Bar(
            x=list(names),
            y=np.asarray(values, dtype=np.float32),
            name=name,
            marker={"color": SERIES[place % 6], "pattern": {"shape": patterns[place % 6]}},
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
    notes, shapes = [], []
    if level is not None:
        line = {"color": INK, "dash": "dot", "width": 2}
        shapes.append(
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": level[0],
                "y1": level[0],
                "line": line,
            }
        )
        notes.append(
            {"text": level[1], "x": 1, "xref": "paper", "xanchor": "right", "y": level[0],
             "yanchor": "bottom", "showarrow": False}
        )  # fmt: skip
    return drawing(
        bars,
        height,
        barmode="group",
        yaxis=axis,
        xaxis={"type": "category", "title": {"text": x_title}},
        shapes=shapes,
        annotations=notes,
        showlegend=len(bars) > 1,
        margin={"l": 68, "r": 12, "t": 44, "b": 64 if x_title else 44},
    )


def clip_curves(
    ratio: np.ndarray, positive: np.ndarray, negative: np.ndarray, now: float, height: int = 340
) -> go.Figure:
    """The loss of one token against its ratio, for a good answer and for a bad one."""
    lines = [
        go.Scatter(
            x=ratio.astype(np.float32),
            y=values.astype(np.float32),
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
        marker={"symbol": list(MARKERS[:2]), "size": 13, "color": [SERIES[0], SERIES[1]]},
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
