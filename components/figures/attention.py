"""Figures of the attention page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.style import (
    BLUE,
    DASHES,
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
    narrow,
    room_for,
    short,
)
from components.words import _

GRID_CELLS = 480  # cells along the longer side of the grid of heads, gaps included
GAP = 2
HATCH = {"fillmode": "overlay", "fgcolor": "rgba(0,0,0,0.45)", "size": 7}


def tile_size(layers: int, heads: int, tokens: int) -> int:
    """How many cells one head gets along each side of the grid."""
    return min(tokens, max(4, GRID_CELLS // max(layers, heads) - GAP))


def shrink(maps: np.ndarray, size: int) -> np.ndarray:
    """Maps [heads, query, key] at ``size`` × ``size``: the largest value of each block is kept."""
    tokens = maps.shape[1]
    if tokens <= size:
        return maps
    edges = np.linspace(0, tokens, size + 1).astype(int)[:-1]
    return np.maximum.reduceat(np.maximum.reduceat(maps, edges, axis=1), edges, axis=2)


def head_grid(
    layers: Sequence[np.ndarray],
    selected: tuple[int, int],
    silenced: frozenset[tuple[int, int]] = frozenset(),
    height: int = 560,
) -> go.Figure:
    """All heads as small maps, layers down and heads across, each bright at its own largest weight.

    ``layers`` holds probabilities [heads, query, key] for each layer.
    """
    heads, tokens, _keys = layers[0].shape
    size = tile_size(len(layers), heads, tokens)
    pitch = size + GAP
    canvas = np.full((len(layers) * pitch - GAP, heads * pitch - GAP), np.nan, dtype=np.float32)
    visible = np.tril(np.ones((size, size), dtype=bool))
    for row, maps in enumerate(layers):
        is_causal = not np.triu(maps, 1).any()
        for column, tile in enumerate(shrink(maps, size)):
            tile = tile / max(float(tile.max()), 1e-9)
            top, left = row * pitch, column * pitch
            shown = np.where(visible, tile, np.nan) if is_causal else tile
            canvas[top : top + size, left : left + size] = shown
    heatmap = go.Heatmap(
        z=canvas,
        zmin=0,
        zmax=1,
        colorscale=SEQUENTIAL,
        showscale=False,
        hoverinfo="none",
        hoverongaps=False,
    )
    centre = (size - 1) / 2
    return drawing(
        [heatmap],
        height,
        xaxis={
            "tickvals": [column * pitch + centre for column in range(heads)],
            "ticktext": [str(column) for column in range(heads)],
            "title": {"text": _("Head"), "standoff": 6},
            "side": "top",
            "showgrid": False,
            "zeroline": False,
        },
        yaxis={
            "tickvals": [row * pitch + centre for row in range(len(layers))],
            "ticktext": [str(row) for row in range(len(layers))],
            "title": {"text": _("Layer"), "standoff": 6},
            "autorange": "reversed",
            "showgrid": False,
            "zeroline": False,
        },
        margin={"l": 44, "r": 8, "t": 44, "b": 8},
        shapes=[
            {"type": "rect", **_corners(selected, pitch, size), "line": {"color": ORANGE, "width": 4}},
            *(line for pair in silenced for line in _cross(pair, pitch, size)),
        ],
    )


def head_at(x: float, y: float, layers: int, heads: int, tokens: int) -> tuple[int, int]:
    """The (layer, head) of a point of ``head_grid``."""
    pitch = tile_size(layers, heads, tokens) + GAP
    return min(layers - 1, max(0, int(y // pitch))), min(heads - 1, max(0, int(x // pitch)))


def _corners(pair: tuple[int, int], pitch: int, size: int) -> dict[str, float]:
    row, column = pair
    return {
        "x0": column * pitch - 0.8,
        "x1": column * pitch + size - 0.2,
        "y0": row * pitch - 0.8,
        "y1": row * pitch + size - 0.2,
    }


def _cross(pair: tuple[int, int], pitch: int, size: int) -> list[dict[str, Any]]:
    """The two lines that cross out a silenced head."""
    corners = _corners(pair, pitch, size)
    line = {"type": "line", "line": {"color": RED, "width": 3}}
    return [line | corners, line | corners | {"y0": corners["y1"], "y1": corners["y0"]}]


def next_token_bars(
    labels: Sequence[str],
    before: np.ndarray,
    after: np.ndarray,
    changed: bool,
    kl: float,
    height: int = 420,
    names: tuple[str, str] | None = None,
    is_low: bool = False,
) -> go.Figure:
    """The most probable next tokens over the whole vocabulary, before and after the change.

    ``kl`` is KL(before ‖ after) in nats; ``names`` say what is before and what after. ``is_low``: there
    is little room from top to bottom.
    """
    name_before, name_after = names or (_("the network as it is"), _("with your change"))
    rows = [f"{index} · {escaped(label)}" for index, label in enumerate(labels)]
    probability = _("Next token") if is_low else _("Probability of the next token")
    title = probability + f" · KL {kl:.4f} nats"
    bars = [
        go.Bar(
            y=rows,
            x=np.asarray(before, dtype=np.float32),
            orientation="h",
            name=name_before,
            marker={"color": GREY},
            hovertemplate="%{y}<br>%{x:.4f}<extra></extra>",
        )
    ]
    if changed:
        bars.append(
            go.Bar(
                y=rows,
                x=np.asarray(after, dtype=np.float32),
                orientation="h",
                name=name_after,
                marker={"color": ORANGE, "pattern": HATCH | {"shape": "/"}},
                hovertemplate="%{y}<br>%{x:.4f}<extra></extra>",
            )
        )
    return drawing(
        bars,
        height,
        barmode="group",
        bargap=0.25,
        showlegend=changed,
        xaxis={"title": {"text": title, "standoff": 6}, "range": [0, 1]},
        yaxis={
            "autorange": "reversed",
            "tickmode": "array",
            "tickvals": list(range(len(rows))),
            "ticktext": [short(label) for label in labels],
        },
        margin=MARGIN | {"l": 10 + room_for(labels)} | ({"t": 26, "b": 42} if is_low else {}),
    )


def product_bars(products: np.ndarray, height: int = 260) -> go.Figure:
    """qᵢ·kᵢ for each dimension i of one query and one key."""
    colours = np.where(products >= 0, BLUE, RED)
    bar = go.Bar(
        y=narrow(products),
        marker={"color": colours.tolist()},
        hovertemplate=_("dimension") + " %{x}<br>q·k %{y:.4f}<extra></extra>",
    )
    return drawing(
        [bar],
        height,
        xaxis={"title": {"text": _("Dimension of query and key")}},
        yaxis={"title": {"text": _("Product qᵢ kᵢ")}, "zeroline": True},
    )


def lines(
    curves: dict[str, tuple[np.ndarray, np.ndarray]],
    x_title: str,
    y_title: str,
    *,
    x_log: bool = False,
    y_log: bool = False,
    y_range: tuple[float, float] | None = None,
    x_now: float | None = None,
    height: int = 380,
) -> go.Figure:
    """Named curves, told apart by colour, dash and marker; ``x_now`` is marked by a vertical line."""
    traces = [
        go.Scatter(
            x=np.asarray(x, dtype=np.float32),
            y=np.asarray(y, dtype=np.float32),
            name=name,
            mode="lines+markers",
            line={"color": SERIES[index % 6], "dash": DASHES[index % 6], "width": 2.5},
            marker={"symbol": MARKERS[index % 6], "size": 8},
            hovertemplate=f"{name}<br>{x_title} %{{x:.4g}}<br>{y_title} %{{y:.4g}}<extra></extra>",
        )
        for index, (name, (x, y)) in enumerate(curves.items())
    ]
    y_axis: dict[str, Any] = {"title": {"text": y_title}, "type": "log" if y_log else "linear"}
    if y_range is not None:
        y_axis["range"] = list(y_range)
    return drawing(
        traces,
        height,
        showlegend=len(curves) > 1,
        xaxis={"title": {"text": x_title}, "type": "log" if x_log else "linear"},
        yaxis=y_axis,
        shapes=[] if x_now is None else [vertical_line(x_now)],
    )


def vertical_line(x: float) -> dict[str, Any]:
    """A dotted line over the whole height, where a control stands."""
    line = {"color": INK, "dash": "dot", "width": 2}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def entropy_strip(entropies: Sequence[np.ndarray], largest: float, height: int = 380) -> go.Figure:
    """Mean attention entropy of every head, layer by layer, under its largest possible value."""
    heads = go.Scatter(
        x=np.concatenate([np.full(len(row), index, np.float32) for index, row in enumerate(entropies)]),
        y=narrow(np.concatenate(entropies)),
        mode="markers",
        name=_("one head"),
        marker={"color": BLUE, "size": 10, "opacity": 0.75},
        customdata=np.concatenate([np.arange(len(row)) for row in entropies]),
        hovertemplate=_("layer") + " %{x} · " + _("head") + " %{customdata}<br>%{y:.3f}<extra></extra>",
    )
    bound = go.Scatter(
        x=[-0.4, len(entropies) - 0.6],
        y=[largest, largest],
        mode="lines",
        name=_("every visible key alike"),
        line={"color": GREY, "dash": "dash"},
        hoverinfo="skip",
    )
    return drawing(
        [heads, bound],
        height,
        xaxis={"title": {"text": _("Layer")}, "dtick": 1},
        yaxis={"title": {"text": _("Mean entropy of a row (nats)")}, "rangemode": "tozero"},
    )


def histogram(samples: dict[str, np.ndarray], x_title: str, limit: float, height: int = 380) -> go.Figure:
    """Densities of named samples over −limit to limit, in bins that stay while a control moves.

    What lies outside counts as samples, but is not drawn.
    """
    edges = np.linspace(-limit, limit, 61)
    traces = []
    for index, (name, values) in enumerate(samples.items()):
        counts = np.histogram(values, edges)[0] / (len(values) * (edges[1] - edges[0]))
        traces.append(
            go.Scatter(
                x=narrow((edges[1:] + edges[:-1]) / 2),
                y=narrow(counts),
                name=name,
                mode="lines",
                fill="tozeroy",
                line={"color": SERIES[index], "dash": DASHES[index], "shape": "hvh"},
                hovertemplate=f"{name}<br>%{{x:.2f}}: %{{y:.4f}}<extra></extra>",
            )
        )
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": x_title}, "range": [-limit, limit]},
        yaxis={"title": {"text": _("Density")}},
    )


def probability_bars(series: dict[str, np.ndarray], height: int = 380) -> go.Figure:
    """Probabilities of the same few logits under several softmaxes."""
    bars = [
        go.Bar(
            y=np.asarray(values, dtype=np.float32),
            name=name,
            marker={
                "color": SERIES[index % 6],
                "pattern": HATCH | {"shape": ("", "/", "x", ".")[index % 4]},
            },
            hovertemplate=f"{name}<br>z%{{x}}: %{{y:.5f}}<extra></extra>",
        )
        for index, (name, values) in enumerate(series.items())
    ]
    return drawing(
        bars,
        height,
        barmode="group",
        xaxis={"title": {"text": _("Logit number")}, "dtick": 1},
        yaxis={"title": {"text": _("Probability")}, "range": [0, 1]},
    )


def head_sharing(key_of_head: np.ndarray, height: int = 320) -> go.Figure:
    """Query heads above, key heads below, a line from each query head to the key head it reads."""
    heads, key_heads = len(key_of_head), int(key_of_head.max()) + 1
    across = (np.arange(heads) + 0.5) / heads
    below = (np.arange(key_heads) + 0.5) / key_heads
    traces = [
        go.Scatter(
            x=[across[head], below[key]],
            y=[1, 0],
            mode="lines",
            line={"color": SERIES[key % 6], "width": 3, "dash": DASHES[(key // 6) % 6]},
            hoverinfo="skip",
        )
        for head, key in enumerate(key_of_head)
    ]
    for places, height_of_row, word in ((across, 1, _("query head")), (below, 0, _("key head"))):
        traces.append(
            go.Scatter(
                x=places,
                y=np.full(len(places), height_of_row),
                mode="markers+text",
                text=[str(index) for index in range(len(places))],
                marker={"size": 28 if len(places) <= 16 else 18, "color": GREY},
                textfont={"color": "white", "size": 12 if len(places) <= 16 else 9},
                hovertemplate=f"{word} %{{text}}<extra></extra>",
            )
        )
    rows = [_("key heads"), _("query heads")]
    return drawing(
        traces,
        height,
        showlegend=False,
        margin=MARGIN | {"l": 14 + room_for(rows)},
        xaxis={"visible": False, "range": [0, 1]},
        yaxis={
            "range": [-0.25, 1.25],
            "tickvals": [0, 1],
            "ticktext": rows,
            "showgrid": False,
            "zeroline": False,
        },
    )
