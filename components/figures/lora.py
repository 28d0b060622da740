"""Figures of the LoRA page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import east_asian_width

import numpy as np
import plotly.graph_objects as go

from components.figures.attention import HATCH
from components.figures.curves import LEGEND_BELOW, look
from components.figures.style import (
    BLUE,
    DASHES,
    GREY,
    MARGIN,
    RED,
    SEQUENTIAL,
    SERIES,
    drawing,
    narrow,
)
from components.words import _


def table_heatmap(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    row_title: str,
    column_title: str,
    value_title: str,
    limits: tuple[float, float],
    texts: Sequence[Sequence[str]] | None = None,
    selected: tuple[int, int] | None = None,
    height: int = 400,
) -> go.Figure:
    """Cells coloured by the logarithm of a positive number, with the number written in each.

    ``limits`` are plain numbers; cells that are not finite stay empty.
    """
    logarithms = narrow(np.log10(np.maximum(values, 1e-30)))
    logarithms[~np.isfinite(values)] = np.nan
    if texts is None:
        texts = [[number(value) for value in row] for row in values]
    low, high = np.log10(limits[0]), np.log10(limits[1])
    ticks = np.arange(np.ceil(low), np.floor(high) + 1)
    over = f"{column_title} " if column_title else ""
    heatmap = go.Heatmap(
        z=logarithms,
        x=list(columns),
        y=list(rows),
        zmin=low,
        zmax=high,
        colorscale=SEQUENTIAL,
        hoverongaps=False,
        text=[list(row) for row in texts],
        texttemplate="%{text}",
        customdata=[list(row) for row in texts],
        hovertemplate=f"%{{y}}<br>{over}%{{x}}<br>{value_title} %{{customdata}}<extra></extra>",
        colorbar={
            "title": {"text": value_title, "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
            "tickvals": ticks.tolist(),
            "ticktext": [f"10<sup>{tick:.0f}</sup>" for tick in ticks],
        },
    )
    longest = max(len(row) for row in rows)
    shapes = []
    if selected is not None:
        row, column = selected
        corners = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
        shapes = [{"type": "rect", **corners, "line": {"color": RED, "width": 3}}]
    return drawing(
        [heatmap],
        height,
        xaxis={"title": {"text": column_title}, "type": "category", "side": "top", "showgrid": False},
        yaxis={
            "title": {"text": row_title},
            "type": "category",
            "autorange": "reversed",
            "showgrid": False,
        },
        margin={"l": 44 + round(7.2 * min(longest, 22)), "r": 8, "t": 60, "b": 12},
        shapes=shapes,
    )


def number(value: float) -> str:
    """A loss as it fits into a cell."""
    if not np.isfinite(value):
        return "∞" if value > 0 else ""
    return f"{value:.3f}" if value >= 1e-3 else f"{value:.0e}"


def directions(
    energy_left: np.ndarray, values: np.ndarray, target_values: np.ndarray, height: int = 300
) -> go.Figure:
    """Where the task lies: the share of ΔW* in each direction of W₀, under the two spectra."""
    index = np.arange(1, len(values) + 1)
    bars = go.Bar(
        x=index,
        y=narrow(energy_left),
        name=_("share of ΔW*"),
        marker={"color": SERIES[1], "pattern": HATCH | {"shape": "/"}},
        hovertemplate="%{x}: %{y:.3f}<extra></extra>",
    )
    lines = [
        go.Scatter(
            x=np.arange(1, len(curve) + 1),
            y=narrow(curve / values[0]),
            name=name,
            mode="lines",
            hovertemplate=f"{name} %{{x}}: %{{y:.3f}}<extra></extra>",
            **look(place),
        )
        for name, place, curve in (
            (_("σ of W₀"), 0, values),
            (_("σ of ΔW*"), 2, target_values),
        )
    ]
    return drawing(
        [bars, *lines],
        height,
        legend=LEGEND_BELOW,
        xaxis={
            "title": {"text": _("Number of the direction, largest first")},
            "range": [0.4, len(values) + 0.6],
        },
        yaxis={"title": {"text": _("Share · σ / largest σ")}, "range": [0, 1.25]},
        margin=MARGIN | {"b": 92, "t": 12},
    )


def cosines(values: np.ndarray, foreign: Sequence[int], height: int = 420) -> go.Figure:
    """|cos| between left singular vectors of W (rows) and W₀ (columns); foreign rows are framed."""
    heatmap = go.Heatmap(
        z=np.ascontiguousarray(values, dtype=np.float32),
        x0=1,
        dx=1,
        y0=1,
        dy=1,
        zmin=0,
        zmax=1,
        colorscale=SEQUENTIAL,
        hovertemplate="W %{y} · W₀ %{x}<br>|cos| %{z:.3f}<extra></extra>",
        colorbar={"title": {"text": "|cos|", "side": "right"}, "thickness": 12, "outlinewidth": 0},
    )
    width = values.shape[1]
    frames = [
        {
            "type": "rect",
            "x0": 0.5,
            "x1": width + 0.5,
            "y0": row + 0.5,
            "y1": row + 1.5,
            "line": {"color": RED, "width": 2},
        }
        for row in foreign
    ]
    return drawing(
        [heatmap],
        height,
        xaxis={"title": {"text": _("Direction of W₀")}, "showgrid": False, "range": [0.5, width + 0.5]},
        yaxis={
            "title": {"text": _("Direction of W")},
            "showgrid": False,
            "range": [len(values) + 0.5, 0.5],
        },
        margin=MARGIN | {"t": 16},
        shapes=frames,
    )


def horizontal_bars(
    values: Mapping[str, float],
    title: str,
    *,
    log: bool = False,
    texts: Sequence[str] = (),
    height: int = 300,
) -> go.Figure:
    """One bar a name, the first on top, each with its number at its end."""
    names, sizes = list(values), np.array(list(values.values()), dtype=np.float32)
    bar = go.Bar(
        y=names,
        x=sizes,
        orientation="h",
        marker={"color": [SERIES[index % 6] for index in range(len(names))]},
        text=list(texts) or [f"{size:,.4g}" for size in sizes],
        textposition="auto",  # inside where it fits: on a phone there is no room beside the bars
        insidetextanchor="start",
        textangle=0,
        cliponaxis=False,
        hovertemplate="%{y}<br>%{text}<extra></extra>",
    )
    axis: dict[str, Any] = {"title": {"text": title}, "type": "log" if log else "linear"}
    top = float(sizes.max()) if len(sizes) else 1.0
    if log:
        axis |= {"range": [0, float(np.log10(top)) * 1.45], "dtick": 1, "exponentformat": "power"}
    else:
        axis["range"] = [0, 1.25 * top]
    return drawing(
        [bar],
        height,
        showlegend=False,
        xaxis=axis,
        yaxis={"autorange": "reversed"},
        margin=MARGIN | {"l": 24 + round(7 * max(map(columns_of, names))), "t": 12},
    )


def columns_of(name: str) -> int:
    """How many Latin letters a name is wide; a Chinese one counts as two."""
    return sum(2 if east_asian_width(letter) in "FW" else 1 for letter in name)


@dataclass(frozen=True)
class Block:
    """A box of the sketch of a layer: its corners in a plane of 100 × 60, its words, and whose it is."""

    box: tuple[float, float, float, float]
    text: str
    method: str = ""  # "" for what the network already has


def layer_sketch(blocks: Sequence[Block], methods: Mapping[str, int], height: int = 430) -> go.Figure:
    """One layer of a transformer, with the places where each method puts parameters."""
    shapes, annotations = [], []
    for block in blocks:
        x0, y0, x1, y1 = block.box
        place = methods.get(block.method)
        colour = GREY if place is None else SERIES[place]
        line = {"color": colour, "width": 1.5 if place is None else 3}
        if place is not None:
            line["dash"] = DASHES[place]
        shapes.append({"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "line": line})
        annotations.append(
            {
                "x": (x0 + x1) / 2,
                "y": (y0 + y1) / 2,
                "text": block.text.replace(": ", ":<br>"),
                "showarrow": False,
                "font": {"size": 11},
            }
        )
    arrow = {"showarrow": True, "arrowhead": 2, "arrowcolor": BLUE, "arrowwidth": 2, "text": ""}
    for x, y_from, y_to in ((30, 6, 11), (30, 30, 34), (30, 52, 57)):
        annotations.append(
            arrow
            | {
                "x": x,
                "y": y_to,
                "ax": x,
                "ay": y_from,
                "axref": "x",
                "ayref": "y",
                "xref": "x",
                "yref": "y",
            }
        )
    return drawing(
        [go.Scatter(x=[0], y=[0], mode="markers", marker={"opacity": 0}, hoverinfo="skip")],
        height,
        showlegend=False,
        xaxis={"visible": False, "range": [0, 100], "fixedrange": True},
        yaxis={"visible": False, "range": [-2, 60], "fixedrange": True},
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        shapes=shapes,
        annotations=annotations,
    )
