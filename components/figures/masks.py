"""Figures of the mask lab."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.style import (
    BLUE,
    DASHES,
    DIVERGING,
    GREY,
    INK,
    MARGIN,
    MARKERS,
    ORANGE,
    RED,
    SEQUENTIAL,
    SERIES,
    drawing,
    escaped,
    room_for,
    short,
    token_axis,
    token_categories,
)
from components.words import _

HIDDEN = "rgba(138,143,152,0.14)"
EMPTY = "∅ "  # stands before the label of a row that sees nothing
FEW_TICKS = 24
BY_TOKEN = (GREY, ORANGE, SERIES[0], SERIES[3])  # of several conditions; the first is what is right


def hatching(hidden: np.ndarray, every: int) -> str:
    """An SVG path of slanted strokes over hidden cells, on every ``every``-th diagonal.

    A stroke runs on through neighbouring hidden cells, so that a mask of n × n needs about 2n strokes
    and not n², and can be redrawn while a slider moves.
    """
    rows, columns = hidden.shape
    row, column = np.indices(hidden.shape)
    diagonals = np.zeros((rows + columns - 1, rows + 2), dtype=np.int8)  # one in each line, from its top
    diagonals[row + column, row + 1] = hidden
    change = np.diff(diagonals, axis=1)  # 1 where a stroke begins, −1 after its end
    total, begin = np.nonzero(change == 1)
    _same, end = np.nonzero(change == -1)
    drawn = total % every == 0
    total, begin, end = total[drawn], begin[drawn], end[drawn]
    corners = zip(*(a.tolist() for a in (total - begin, begin, total - end, end)), strict=True)
    return "".join(f"M{x0 + 0.5},{y0 - 0.5}L{x1 + 0.5},{y1 - 0.5}" for x0, y0, x1, y1 in corners)


def frames(cells: Sequence[tuple[int, int]]) -> str:
    """An SVG path of a small square in each (row, column)."""
    return "".join(
        f"M{column - 0.42},{row - 0.42}H{column + 0.42}V{row + 0.42}H{column - 0.42}Z"
        for row, column in cells
    )


def _path(path: str, colour: str, width: float, **more: Any) -> list[dict[str, Any]]:
    shape = {"type": "path", "path": path, "line": {"color": colour, "width": width}, **more}
    return [shape] if path else []


def _hover(value: str) -> str:
    return _("Query") + " %{y}<br>" + _("Key") + " %{x}<br>" + value + "<extra></extra>"


def mask_matrix(
    visible: np.ndarray,
    labels: Sequence[str],
    *,
    switched: Sequence[tuple[int, int]] = (),
    empty: Sequence[int] = (),
    title: str = "",
    height: int = 520,
) -> go.Figure:
    """Which key each query may read: filled where it may, hatched where it may not.

    ``switched`` cells are framed. A row that sees nothing is framed too, and marked beside its label.
    """
    queries, keys = visible.shape
    heatmap = go.Heatmap(
        z=visible.astype(np.uint8),
        x=token_categories(labels),
        y=token_categories(labels),
        zmin=0,
        zmax=1,
        colorscale=[[0, HIDDEN], [1, BLUE]],
        showscale=False,
        hovertemplate=_hover(_("visible") + ": %{z}"),
    )
    missing = set(empty)
    marked = [EMPTY + label if row in missing else label for row, label in enumerate(labels)]
    row_frames = "".join(f"M-0.5,{row - 0.5}H{keys - 0.5}V{row + 0.5}H-0.5Z" for row in empty)
    return drawing(
        [heatmap],
        height,
        title={
            "text": title,
            "font": {"size": 13},
            "x": 0,
            "xref": "paper",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "pad": {"b": 6},
        },
        xaxis=token_axis(labels, _("Key"), side="top", tickangle=-60),
        yaxis=token_axis(marked, _("Query"), autorange="reversed"),
        margin={"l": 22 + room_for(marked), "r": 8, "t": 30 + room_for(labels), "b": 30},
        shapes=[
            *_path(hatching(~visible, 1 + max(queries, keys) // 32), INK, 1, opacity=0.3),
            *_path(row_frames, RED, 2),
            *_path(frames(switched), ORANGE, 2),
        ],
    )


def _end(value: float, limits: tuple[float, float]) -> str:
    """A tick of the colour bar; its ends stand for everything beyond them too."""
    beyond = {limits[1]: "≥ ", limits[0]: "≤ " if value < 0 else ""}
    return f"{beyond.get(value, '')}{value:.2g}"


def before_and_after(
    before: np.ndarray,
    after: np.ndarray,
    labels: Sequence[str],
    *,
    value_title: str,
    limits: tuple[float, float],
    diverging: bool,
    height: int = 520,
) -> go.Figure:
    """One head twice, on the same scale: as the network is, and under the mask. NaN cells stay empty."""
    categories = token_categories(labels)
    common = {
        "x": categories,
        "y": categories,
        "zmin": limits[0],
        "zmax": limits[1],
        "colorscale": DIVERGING if diverging else SEQUENTIAL,
        "hoverongaps": False,
        "hovertemplate": _hover(f"{value_title} %{{z:.4g}}"),
    }
    ends = [limits[0], sum(limits) / 2, limits[1]]
    traces = [
        go.Heatmap(z=np.ascontiguousarray(before, dtype=np.float32), showscale=False, **common),
        go.Heatmap(
            z=np.ascontiguousarray(after, dtype=np.float32),
            xaxis="x2",
            colorbar={
                "title": {"text": value_title, "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
                "tickvals": ends,
                "ticktext": [_end(end, limits) for end in ends],
            },
            **common,
        ),
    ]
    across: dict[str, Any] = {"side": "top", "tickangle": -60}
    step = max(1, -(-len(labels) // FEW_TICKS))
    few = list(range(0, len(labels), step))
    ticks = {"tickvals": few, "ticktext": [short(labels[index]) for index in few]}
    return drawing(
        traces,
        height,
        xaxis=token_axis(labels, _("the network as it is"), domain=[0, 0.48], **across) | ticks,
        xaxis2=token_axis(labels, _("with your mask"), domain=[0.52, 1], **across) | ticks,
        yaxis=token_axis(labels, _("Query"), autorange="reversed"),
        margin={"l": 22 + room_for(labels), "r": 8, "t": 30 + room_for(labels), "b": 30},
    )


def by_token(
    curves: dict[str, np.ndarray],
    labels: Sequence[str],
    *,
    y_title: str,
    y_range: tuple[float, float],
    is_low: bool = False,
    height: int = 300,
) -> go.Figure:
    """A number for each token, under several conditions told apart by colour, dash and marker.

    ``is_low``: there is little room from top to bottom, and the axis of tokens takes less of it.
    """
    categories = token_categories(labels)
    traces = [
        go.Scatter(
            x=categories[: len(values)],
            y=np.asarray(values, dtype=np.float32),
            name=name,
            mode="lines+markers",
            line={"color": BY_TOKEN[index % 4], "dash": DASHES[index % 6], "width": 2},
            marker={"symbol": MARKERS[index % 6], "size": 6},
            hovertemplate=f"{escaped(name)}<br>%{{x}}<br>{y_title} %{{y:.4g}}<extra></extra>",
        )
        for index, (name, values) in enumerate(curves.items())
    ]
    return drawing(
        traces,
        height,
        xaxis=token_axis(labels, "" if is_low else _("Token"), tickangle=-45 if is_low else -60),
        yaxis={"title": {"text": y_title}, "range": list(y_range)},
        margin=MARGIN
        | ({"t": 26, "b": 8 + round(0.75 * room_for(labels))} if is_low else {"b": 34 + room_for(labels)}),
    )


def steps(
    curves: dict[str, np.ndarray],
    *,
    x_title: str,
    y_title: str,
    y_range: tuple[float, float],
    height: int = 380,
) -> go.Figure:
    """A number for each step of a text, however long: lines without markers, told apart by dashes."""
    traces = [
        go.Scatter(
            x=np.arange(1, len(values) + 1, dtype=np.float32),
            y=np.asarray(values, dtype=np.float32),
            name=name,
            mode="lines",
            line={"color": (GREY, ORANGE)[index % 2], "dash": DASHES[index % 6], "width": 3},
            hovertemplate=f"{escaped(name)}<br>{x_title} %{{x}}<br>{y_title} %{{y:.4g}}<extra></extra>",
        )
        for index, (name, values) in enumerate(curves.items())
    ]
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": x_title}},
        yaxis={"title": {"text": y_title}, "range": list(y_range)},
    )


def by_depth(curves: dict[str, np.ndarray], *, y_title: str, height: int = 440) -> go.Figure:
    """Numbers after each block, on a logarithmic axis from float32's rounding up to 3."""
    traces = [
        go.Scatter(
            x=np.arange(1, len(values) + 1, dtype=np.float32),
            y=np.asarray(values, dtype=np.float32),
            name=name,
            mode="lines+markers",
            line={"color": SERIES[index % 6], "dash": DASHES[index % 6], "width": 3},
            marker={"symbol": MARKERS[index % 6], "size": 10},
            hovertemplate=f"{escaped(name)}<br>%{{x}}<br>%{{y:.3g}}<extra></extra>",
        )
        for index, (name, values) in enumerate(curves.items())
    ]
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": _("Blocks passed")}, "dtick": 1},
        yaxis={
            "title": {"text": y_title},
            "type": "log",
            "range": [-8, 0.5],
            "exponentformat": "power",
            "dtick": 1,
        },
    )


def block_map(blocks: np.ndarray, size: int, height: int = 380) -> go.Figure:
    """Blocks of pairs that a block-sparse kernel computes (filled) and skips (hatched)."""
    rows, columns = blocks.shape
    heatmap = go.Heatmap(
        z=blocks.astype(np.uint8),
        zmin=0,
        zmax=1,
        colorscale=[[0, HIDDEN], [1, BLUE]],
        showscale=False,
        hovertemplate=_("Query block")
        + " %{y}<br>"
        + _("Key block")
        + " %{x}<br>"
        + _("computed")
        + ": %{z}<extra></extra>",
    )
    return drawing(
        [heatmap],
        height,
        xaxis={
            "title": {"text": _("Key block") + f" ({size} × {size})"},
            "side": "top",
            "showgrid": False,
            "zeroline": False,
        },
        yaxis={
            "title": {"text": _("Query block")},
            "autorange": "reversed",
            "showgrid": False,
            "zeroline": False,
        },
        margin=MARGIN | {"t": 64, "b": 12},
        shapes=_path(hatching(~blocks, 1 + max(rows, columns) // 32), INK, 1, opacity=0.3),
    )
