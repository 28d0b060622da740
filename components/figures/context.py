"""Figures of the context page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.style import (
    DASHES,
    GREY,
    INK,
    MARKERS,
    ORANGE,
    RED,
    SEQUENTIAL,
    SERIES,
    drawing,
)
from components.words import _

WAVELENGTHS = (3.0, 1e8)  # tokens; fixed, so that the figure stands still while a control moves
LOSSES = (3.0, 6.5)


def level(value: float, words: str, colour: str = INK, x: float = 0.01) -> tuple[dict, dict]:
    """A horizontal line over the whole width on a logarithmic axis, and its words."""
    line = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": value, "y1": value}
    words_at = {
        "x": x, "xref": "paper", "y": float(np.log10(value)), "text": words, "showarrow": False,
        "xanchor": "left", "yanchor": "bottom", "font": {"size": 12},
    }  # fmt: skip
    return line | {"line": {"color": colour, "dash": "dot", "width": 2}}, words_at


def wavelengths(
    own: np.ndarray,
    scaled: np.ndarray,
    trained: int,
    target: int,
    name: str,
    selected: int | None = None,
    height: int = 430,
) -> go.Figure:
    """Wavelength of each pair, own and scaled, beside the trained and the target length.

    Pairs whose own wavelength is longer than the trained length never completed a turn in training:
    their markers are open. A pair that does not turn at all stands at the upper edge.
    """
    pairs = np.arange(len(own))
    whole = own <= trained - 1
    symbols = np.where(whole, "circle", "circle-open").tolist()
    still = ~np.isfinite(scaled) | (scaled > WAVELENGTHS[1])
    shown = np.where(still, WAVELENGTHS[1] * 0.7, scaled)
    trace = {"mode": "lines+markers", "x": pairs}
    hover = _("pair") + " %{x}<br>" + _("wavelength") + " %{customdata:,.5g}<extra>{name}</extra>"
    figures = [
        go.Scatter(
            **trace, y=own.astype(np.float32), name=_("unscaled"), customdata=own,
            line={"color": GREY, "width": 2.5}, marker={"symbol": symbols, "size": 9},
            hovertemplate=hover.replace("{name}", _("unscaled")),
        ),
        go.Scatter(
            **trace, y=shown.astype(np.float32), name=name, customdata=scaled,
            line={"color": ORANGE, "width": 3, "dash": "dash"},
            marker={
                "symbol": np.where(
                    still, "triangle-up", np.where(whole, "square", "square-open")
                ).tolist(),
                "size": 9,
            },
            hovertemplate=hover.replace("{name}", name),
        ),
    ]  # fmt: skip
    lines = [
        level(trained, _("trained length {length}").format(length=f"{trained:,}")),
        level(target, _("target length {length}").format(length=f"{target:,}"), RED),
    ]
    shapes = [line for line, _words in lines if target > trained or line["y0"] == trained]
    notes = [words for _line, words in lines][: len(shapes)]
    if selected is not None:
        place = {"type": "line", "x0": selected, "x1": selected, "y0": 0, "y1": 1, "yref": "paper"}
        shapes.append(place | {"line": {"color": INK, "dash": "dot", "width": 1.5}})
    return drawing(
        figures,
        height,
        xaxis={"title": {"text": _("Pair i (fast to slow)")}, "range": [-0.5, len(own) - 0.5]},
        yaxis={
            "title": {"text": _("Wavelength 2π/θ (tokens)")},
            "type": "log",
            "range": np.log10(WAVELENGTHS).tolist(),
            "dtick": 1,
        },
        shapes=shapes,
        annotations=notes,
    )


def ratios(curves: Mapping[str, np.ndarray], chosen: str, boundary: float, height: int = 430) -> go.Figure:
    """θ'/θ of each pair under every method: 1 is left alone, 1/s is interpolated.

    ``boundary`` is the place between the pairs that turned in training and those that did not.
    """
    traces = [
        go.Scatter(
            x=np.arange(len(curve)),
            y=curve.astype(np.float32),
            name=name,
            mode="lines+markers" if name == chosen else "lines",
            line=_line(index, name == chosen),
            marker={"symbol": MARKERS[index % 6], "size": 8},
            hovertemplate=f"{name}<br>" + _("pair") + " %{x}<br>θ′/θ %{y:.4f}<extra></extra>",
        )
        for index, (name, curve) in enumerate(curves.items())
    ]
    pairs = max(len(curve) for curve in curves.values())
    band = {
        "type": "rect", "x0": boundary, "x1": pairs - 0.5, "y0": 0, "y1": 1, "yref": "paper",
        "fillcolor": GREY, "opacity": 0.13, "line": {"width": 0}, "layer": "below",
    }  # fmt: skip
    words = {
        "x": pairs - 0.6, "y": 1.1, "xanchor": "right", "showarrow": False,
        "text": _("never turned once in training"), "font": {"size": 12},
    }  # fmt: skip
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": _("Pair i (fast to slow)")}, "range": [-0.5, pairs - 0.5]},
        yaxis={"title": {"text": _("Frequency kept, θ′/θ")}, "range": [-0.03, 1.16]},
        shapes=[band],
        annotations=[words],
    )


def _line(index: int, chosen: bool) -> dict[str, Any]:
    """Colour and dash of the n-th series; beyond six the colours come again with another dash."""
    dash = "solid" if chosen else DASHES[(index + index // len(SERIES)) % len(DASHES)]
    return {"color": SERIES[index % len(SERIES)], "dash": dash, "width": 4.5 if chosen else 2}


def losses(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    chosen: str,
    trained: int,
    length: int,
    order: Sequence[str],
    height: int = 500,
) -> go.Figure:
    """Loss by position of every method; a band over the passages for the chosen one.

    ``curves`` holds position, mean, least and largest; ``order`` fixes each method's colour, also
    while some have not finished.
    """
    traces = []
    for index, name in enumerate(order):
        if name not in curves:
            continue
        position, mean, least, largest = curves[name]
        line = _line(index, name == chosen)
        if name == chosen:
            traces.append(
                go.Scatter(
                    x=np.concatenate([position, position[::-1]]).astype(np.float32),
                    y=np.concatenate([largest, least[::-1]]).astype(np.float32),
                    fill="toself",
                    fillcolor=line["color"],
                    opacity=0.18,
                    line={"width": 0},
                    mode="lines",
                    name=_("{method}: all passages").format(method=name),
                    hoverinfo="skip",
                )
            )
        traces.append(
            go.Scatter(
                x=position.astype(np.float32),
                y=mean.astype(np.float32),
                name=name,
                mode="lines+markers",
                line=line,
                marker={"symbol": MARKERS[index % 6], "size": 6},
                hovertemplate=f"{name}<br>"
                + _("position")
                + " %{x:.0f}<br>"
                + _("loss")
                + " %{y:.3f}<extra></extra>",
            )
        )
    mark = {"type": "line", "x0": trained, "x1": trained, "y0": 0, "y1": 1, "yref": "paper"}
    words = {
        "x": trained, "y": 0.99, "yref": "paper", "xanchor": "left", "yanchor": "top", "showarrow": False,
        "text": " " + _("trained length {length}").format(length=trained),
    }  # fmt: skip
    return drawing(
        traces,
        height,
        showlegend=True,
        xaxis={"title": {"text": _("Position (tokens)")}, "range": [0, length]},
        yaxis={"title": {"text": _("Loss (nats a token)")}, "range": list(LOSSES)},
        shapes=[mark | {"line": {"color": INK, "dash": "dot", "width": 2}}],
        annotations=[words],
        margin={"l": 64, "r": 12, "t": 84, "b": 48},
    )


def small_attention(small: np.ndarray, tokens: int, trained: int, height: int = 470) -> go.Figure:
    """One head's map made small: each square shows its largest weight, on a logarithmic scale."""
    side = tokens / len(small)
    middle = ((np.arange(len(small)) + 0.5) * side).astype(np.float32)
    with np.errstate(divide="ignore"):
        shown = np.log10(np.maximum(small, 1e-4)).astype(np.float32)
    heatmap = go.Heatmap(
        z=shown,
        x=middle,
        y=middle,
        zmin=-4,
        zmax=0,
        colorscale=SEQUENTIAL,
        hoverongaps=False,
        colorbar={
            "title": {"text": _("largest weight"), "side": "right"},
            "tickvals": [-4, -3, -2, -1, 0],
            "ticktext": ["≤ 0.0001", "0.001", "0.01", "0.1", "1"],
            "thickness": 12,
            "outlinewidth": 0,
        },
        hovertemplate=_("query near {query}, key near {key}").format(query="%{y:.0f}", key="%{x:.0f}")
        + "<br>10^%{z:.2f}<extra></extra>",
    )
    # Left of and below this line keys are further away than any in training.
    far = {"type": "line", "x0": 0, "x1": tokens - trained, "y0": trained, "y1": tokens}
    return drawing(
        [heatmap],
        height,
        xaxis={"title": {"text": _("Key position")}, "range": [0, tokens], "showgrid": False},
        yaxis={"title": {"text": _("Query position")}, "range": [tokens, 0], "showgrid": False},
        shapes=[far | {"line": {"color": RED, "dash": "dash", "width": 2}}] if tokens > trained else [],
    )


def scores_by_distance(
    distance: np.ndarray, curves: Mapping[str, np.ndarray], trained: int, limit: float, height: int = 250
) -> go.Figure:
    """The score of one real query and key if they stood at each distance."""
    colours = (GREY, ORANGE)
    traces = [
        go.Scatter(
            x=distance.astype(np.float32),
            y=curve.astype(np.float32),
            name=name,
            mode="lines",
            line={"color": colours[index % 2], "width": 2.5 - index * 0.5},
            hovertemplate=f"{name}<br>Δ %{{x}}: %{{y:.3f}}<extra></extra>",
        )
        for index, (name, curve) in enumerate(curves.items())
    ]
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": _("Distance Δ (tokens)")}, "range": [0, float(distance[-1])]},
        yaxis={"title": {"text": _("Score q·k/√d")}, "range": [-limit, limit]},
        shapes=[_upright(trained)],
    )


def shares_by_distance(
    starts: np.ndarray, shares: Mapping[str, np.ndarray], height: int = 250
) -> go.Figure:
    """Share of a row's weight by distance, in bins of doubling width."""
    names = ["0", "1", *(f"{start:.0f}–{2 * start - 1:.0f}" for start in starts[2:])]
    fills = ("", "/", "x")
    bars = [
        go.Bar(
            x=names,
            y=share.astype(np.float32),
            name=name,
            marker={
                "color": (GREY, ORANGE)[index % 2],
                "pattern": {"shape": fills[index % 3], "fillmode": "overlay", "fgcolor": "rgba(0,0,0,.4)"},
            },
            hovertemplate=f"{name}<br>%{{x}}: %{{y:.3f}}<extra></extra>",
        )
        for index, (name, share) in enumerate(shares.items())
    ]
    return drawing(
        bars,
        height,
        barmode="group",
        showlegend=True,
        xaxis={"title": {"text": _("Tokens back")}, "type": "category", "tickangle": -35},
        yaxis={"title": {"text": _("Share of the weight")}, "range": [0, 1]},
        margin={"l": 64, "r": 12, "t": 36, "b": 78},
    )


def needle_map(
    shares: np.ndarray, lengths: Sequence[int], trained: int, title: str, height: int = 330
) -> go.Figure:
    """Share of needles that were found: length across, depth down; NaN is not measured yet."""
    depths = len(shares)
    names = [f"{100 * (row + 0.5) / depths:.0f} %" for row in range(depths)]
    text = [["" if np.isnan(cell) else f"{cell:.2f}" for cell in row] for row in shares]
    heatmap = go.Heatmap(
        z=shares.astype(np.float32),
        x=[f"{length:,}" for length in lengths],
        y=names,
        text=text,
        texttemplate="%{text}",
        zmin=0,
        zmax=1,
        colorscale=SEQUENTIAL,
        hoverongaps=False,
        colorbar={"title": {"text": _("found"), "side": "right"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate=_("length")
        + " %{x}<br>"
        + _("depth")
        + " %{y}<br>"
        + _("found")
        + " %{z:.3f}<extra></extra>",
    )
    border = sum(length <= trained for length in lengths) - 0.5
    return drawing(
        [heatmap],
        height,
        title={"text": title, "x": 0.5, "font": {"size": 15}},
        xaxis={"title": {"text": _("Length of the text (tokens)")}, "type": "category", "showgrid": False},
        yaxis={
            "title": {"text": _("Depth of the needle (0 % = the beginning)")},
            "type": "category",
            "autorange": "reversed",
            "showgrid": False,
        },
        shapes=[_upright(border)],
        margin={"l": 74, "r": 8, "t": 40, "b": 48},
    )


def _upright(x: float) -> dict[str, Any]:
    line = {"color": RED, "dash": "dash", "width": 2}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}
