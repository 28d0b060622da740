"""Figures of the context page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from components.figures.curves import LEGEND_BELOW
from components.figures.methods import look, method_label
from components.figures.style import GREY, INK, MARGIN, RED, SEQUENTIAL, drawing, narrow
from components.words import _

WAVELENGTHS = (3.0, 1e8)  # tokens; fixed, so that the figure stands still while a control moves
LOSSES = (3.0, 6.5)


def scatter(**properties: Any) -> dict[str, Any]:
    return {"type": "scatter", **properties}


def level(value: float, words: str, across: tuple[float, float], dash: str) -> dict[str, Any]:
    """A horizontal line with its words; a trace, so that it moves without a new layout."""
    return scatter(
        x=np.array(across, np.float32),
        y=np.array([value, value], np.float32),
        mode="lines+text",
        text=["", words],
        textposition="top left",
        line={"color": INK, "dash": dash, "width": 1.5},
        showlegend=False,
        hoverinfo="skip",
    )


def wavelengths(
    own: np.ndarray,
    scaled: np.ndarray,
    trained: int,
    target: int,
    method: str,
    name: str,
    selected: int | None = None,
    height: int = 430,
) -> go.Figure:
    """Wavelength of each pair, own and scaled, beside the trained and the target length.

    Pairs whose own wavelength is longer than the trained length never completed a turn in training:
    their markers are open. A pair that does not turn at all stands at the upper edge.
    """
    whole = own <= trained - 1
    still = ~np.isfinite(scaled) | (scaled > WAVELENGTHS[1])
    shown = np.where(still, WAVELENGTHS[1] * 0.7, scaled)
    traces = [
        _waves(own, own, "default", _("unscaled"), np.where(whole, "circle", "circle-open")),
        _waves(
            shown,
            scaled,
            method,
            name,
            np.where(still, "triangle-up", np.where(whole, "square", "square-open")),
        ),
        *_lengths(trained, target, len(own)),
    ]
    place = {"type": "line", "x0": selected, "x1": selected, "y0": 0, "y1": 1, "yref": "paper"}
    mark = place | {"line": {"color": INK, "dash": "dot", "width": 1.5}}
    return drawing(
        traces,
        height,
        showlegend=True,
        xaxis={"title": {"text": _("Pair i (fast to slow)")}, "range": [-0.5, len(own) - 0.5]},
        yaxis={
            "title": {"text": _("Wavelength 2π/θ (tokens)")},
            "type": "log",
            "range": np.log10(WAVELENGTHS).tolist(),
            "dtick": 1,
        },
        shapes=[] if selected is None else [mark],
    )


def _waves(
    shown: np.ndarray, true: np.ndarray, method: str, name: str, symbols: np.ndarray
) -> dict[str, Any]:
    """Wavelengths as a line; hover says the true ones."""
    line = look(method, is_chosen=True)["line"]
    return scatter(
        x=np.arange(len(shown), dtype=np.float32),
        y=narrow(shown),
        customdata=true,
        name=name,
        mode="lines+markers",
        line=line | {"width": 2.5},
        marker={"color": line["color"], "symbol": symbols.tolist(), "size": 9},
        hovertemplate=_("pair")
        + " %{x}<br>"
        + _("wavelength")
        + f" %{{customdata:,.5g}}<extra>{name}</extra>",
    )


def _lengths(trained: int, target: int, pairs: int) -> list[dict[str, Any]]:
    """Lines at the trained and at the target length; one line with both names where they are the same."""
    across = (-0.5, pairs - 0.6)
    if target == trained:
        words = _("trained and target length {length}").format(length=f"{trained:,}")
        return [level(trained, words, across, "dot")]
    lines = [level(trained, _("trained length {length}").format(length=f"{trained:,}"), across, "dot")]
    if target > trained:
        lines.append(
            level(target, _("target length {length}").format(length=f"{target:,}"), across, "dash")
        )
    if target < 2 * trained and len(lines) == 2:
        lines[0] |= {"textposition": "bottom left"}  # else the two names lie on one another
    return lines


def ratios(curves: Mapping[str, np.ndarray], chosen: str, boundary: float, height: int = 430) -> go.Figure:
    """θ'/θ of each pair under every method: 1 is left alone, 1/s is interpolated.

    ``boundary`` is the place between the pairs that turned in training and those that did not.
    """
    traces = [
        scatter(
            x=np.arange(len(curve), dtype=np.float32),
            y=narrow(curve),
            name=method_label(method),
            mode="lines+markers" if method == chosen else "lines",
            hovertemplate=f"{method_label(method)}<br>"
            + _("pair")
            + " %{x}<br>θ′/θ %{y:.4f}<extra></extra>",
            **look(method, method == chosen),
        )
        for method, curve in curves.items()
    ]
    pairs = max(len(curve) for curve in curves.values())
    band = {"type": "rect", "x0": boundary, "x1": pairs - 0.5, "y0": 0, "y1": 1, "yref": "paper"}
    words = {"x": pairs - 0.6, "y": 1.1, "xanchor": "right", "showarrow": False, "font": {"size": 12}}
    return drawing(
        traces,
        height,
        showlegend=len(curves) > 1,
        legend=LEGEND_BELOW,
        margin=MARGIN | {"t": 16, "b": 52 + 20 * legend_rows(map(method_label, curves))},
        xaxis={"title": {"text": _("Pair i (fast to slow)")}, "range": [-0.5, pairs - 0.5]},
        yaxis={"title": {"text": _("Frequency kept, θ′/θ")}, "range": [-0.03, 1.16]},
        shapes=[band | {"fillcolor": GREY, "opacity": 0.13, "line": {"width": 0}, "layer": "below"}],
        annotations=[words | {"text": _("never turned once in training")}],
    )


def legend_rows(names: Iterable[str], width: int = 400) -> int:
    """Rows of a legend below a figure; none for a single name."""
    listed = list(names)
    if len(listed) < 2:
        return 0
    longest = max(sum(13 if letter > "\u2e7f" else 7 for letter in name) for name in listed)
    return -(-len(listed) // max(1, width // (longest + 50)))


Band = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # position, mean, least, largest


def losses(
    curves: Mapping[str, Band],
    chosen: str,
    trained: int,
    length: int,
    order: Sequence[str],
    height: int = 500,
) -> go.Figure:
    """Loss by position of every method; a band over the passages for the chosen one.

    ``curves`` are those that have finished, ``order`` all that there will be.
    """
    traces = []
    for method in order:
        if method not in curves:
            continue
        if method == chosen:
            traces.append(_band(curves[method], method))
        position, mean, _least, _largest = curves[method]
        traces.append(
            scatter(
                x=narrow(position),
                y=narrow(mean),
                name=method_label(method),
                mode="lines+markers",
                hovertemplate=f"{method_label(method)}<br>"
                + _("position")
                + " %{x:.0f}<br>"
                + _("loss")
                + " %{y:.3f}<extra></extra>",
                **look(method, method == chosen),
            )
        )
    words = {"x": trained, "y": 0.99, "yref": "paper", "xanchor": "left", "yanchor": "top"}
    text = " " + _("trained length {length}").format(length=trained)
    return drawing(
        traces,
        height,
        showlegend=True,
        legend=LEGEND_BELOW,
        xaxis={"title": {"text": _("Position (tokens)")}, "range": [0, length]},
        yaxis={"title": {"text": _("Loss (nats per token)")}, "range": list(LOSSES)},
        shapes=[_upright(trained, INK, "dot")],
        annotations=[words | {"showarrow": False, "text": text}],
        margin=MARGIN | {"t": 16, "b": 52 + 20 * legend_rows(map(method_label, order), 520)},
    )


def _band(curve: Band, method: str) -> dict[str, Any]:
    """The range over the passages as a filled outline."""
    position, _mean, least, largest = curve
    return scatter(
        x=narrow(np.concatenate([position, position[::-1]])),
        y=narrow(np.concatenate([largest, least[::-1]])),
        fill="toself",
        fillcolor=look(method)["line"]["color"],
        opacity=0.18,
        line={"width": 0},
        mode="lines",
        name=_("{method}: all passages").format(method=method_label(method)),
        showlegend=False,
        hoverinfo="skip",
    )


def small_attention(
    small: np.ndarray, tokens: int, trained: int, title: str, height: int = 470
) -> go.Figure:
    """One head's map made small: each square shows its largest weight, on a logarithmic scale."""
    side = tokens / len(small)
    middle = narrow((np.arange(len(small)) + 0.5) * side)
    with np.errstate(divide="ignore"):
        shown = narrow(np.log10(np.maximum(small, 1e-4)))
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
        title={"text": title, "x": 0.5, "font": {"size": 14}},
        margin=MARGIN | {"t": 30},
        shapes=[far | {"line": {"color": RED, "dash": "dash", "width": 2}}] if tokens > trained else [],
    )


def scores_by_distance(
    distance: np.ndarray, curves: Mapping[str, np.ndarray], trained: int, limit: float, height: int = 250
) -> go.Figure:
    """The score of one real query and key if they stood at each distance."""
    traces = [
        scatter(
            x=narrow(distance),
            y=narrow(curve),
            name=method_label(method),
            mode="lines",
            line=look(method)["line"],
            hovertemplate=f"{method_label(method)}<br>Δ %{{x}}: %{{y:.3f}}<extra></extra>",
        )
        for method, curve in curves.items()
    ]
    return drawing(
        traces,
        height,
        showlegend=True,
        xaxis={"title": {"text": _("Distance Δ (tokens)")}, "range": [0, float(distance[-1])]},
        yaxis={"title": {"text": _("Score q·k/√d")}, "range": [-limit, limit]},
        shapes=[_upright(trained)],
    )


def shares_by_distance(
    starts: np.ndarray, shares: Mapping[str, np.ndarray], height: int = 250
) -> go.Figure:
    """Share of a row's weight by distance, in bins of doubling width."""
    names = ["0", "1", *(f"{start:.0f}–{2 * start - 1:.0f}" for start in starts[2:])]
    bars = [
        go.Bar(
            x=names,
            y=narrow(share),
            name=method_label(method),
            marker={
                "color": look(method)["line"]["color"],
                "pattern": {
                    "shape": "" if method == "default" else "/",
                    "fillmode": "overlay",
                    "fgcolor": "rgba(0,0,0,.4)",
                },
            },
            hovertemplate=f"{method_label(method)}<br>%{{x}}: %{{y:.3f}}<extra></extra>",
        )
        for method, share in shares.items()
    ]
    return drawing(
        bars,
        height,
        barmode="group",
        showlegend=True,
        xaxis={"title": {"text": _("Tokens back")}, "type": "category", "tickangle": -45},
        yaxis={"title": {"text": _("Share of the weight")}, "range": [0, 1]},
        margin={"l": 64, "r": 12, "t": 36, "b": 92},
    )


def needle_map(
    shares: np.ndarray, lengths: Sequence[int], trained: int, title: str, height: int = 330
) -> go.Figure:
    """Share of needles that were found: length across, depth down; NaN is not measured yet."""
    depths = len(shares)
    names = [f"{100 * (row + 0.5) / depths:.0f} %" for row in range(depths)]
    text = [["" if np.isnan(cell) else f"{cell:.2f}" for cell in row] for row in shares]
    heatmap = go.Heatmap(
        z=narrow(shares),
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
        margin={"l": 84, "r": 8, "t": 40, "b": 48},
    )


def _upright(x: float, colour: str = RED, dash: str = "dash") -> dict[str, Any]:
    line = {"color": colour, "dash": dash, "width": 2}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}
