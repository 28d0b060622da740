"""Figures of the preference page's labs: displacement, the KL objective, a real network, a reward model."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from components.figures.attention import HATCH
from components.figures.preference import octave
from components.figures.style import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    INK,
    LETTER,
    MARGIN,
    MARKERS,
    ORANGE,
    PURPLE,
    RED,
    SEQUENTIAL,
    SERIES,
    SKY,
    drawing,
    escaped,
    narrow,
    room_for,
    token_axis,
    token_categories,
)
from components.words import _

FARTHEST = 1e9  # where a run that diverges is cut off
PATTERNS = ("", "/", "x", "\\", "-", "+", ".")


def training_curves(
    curves: Mapping[str, np.ndarray],
    title: str,
    y_range: tuple[float, float],
    start: float,
    step: int,
    height: int = 330,
) -> go.Figure:
    """A number against the step under several losses; the dotted level is where all of them began."""
    traces = [
        go.Scatter(
            y=narrow(np.clip(values, -FARTHEST, FARTHEST)),
            name=escaped(name),
            mode="lines",
            line={"color": SERIES[index % 6], "dash": DASHES[index % 6], "width": 3},
            hovertemplate=f"{escaped(name)}<br>%{{x}}: %{{y:.4g}}<extra></extra>",
        )
        for index, (name, values) in enumerate(curves.items())
    ]
    last = max(len(values) for values in curves.values()) - 1
    level = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": start, "y1": start}
    now = {"type": "line", "x0": step, "x1": step, "y0": 0, "y1": 1, "yref": "paper"}
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": _("Step")}, "range": [0, last]},
        yaxis={"title": {"text": title}, "range": list(y_range)},
        shapes=[
            level | {"line": {"color": INK, "dash": "dot", "width": 1}},
            now | {"line": {"color": GREY, "width": 1}},
        ],
    )


def geometry(
    directions: np.ndarray,
    names: Sequence[str],
    paths: Mapping[str, np.ndarray],
    limit: float,
    step: int,
    height: int = 380,
) -> go.Figure:
    """Where each answer lies, drawn long enough to be seen, and the way of the two parameters."""
    size = 0.8 * limit
    colours = (BLUE, ORANGE, *[GREY] * (len(names) - 2))
    rays = [
        go.Scatter(
            x=[0, size * x],
            y=[0, size * y],
            mode="lines+markers+text",
            text=["", escaped(name)],
            textposition="top center" if y >= 0 else "bottom center",
            line={"color": colour, "width": 2},
            marker={"size": [0, 9], "color": colour},
            showlegend=False,
            hoverinfo="skip",
        )
        for (x, y), name, colour in zip(directions.tolist(), names, colours, strict=True)
    ]
    ways = []
    for index, (name, path) in enumerate(paths.items()):
        kept = np.clip(path[: step + 1], -FARTHEST, FARTHEST)
        sizes = np.zeros(len(kept), np.float32)
        sizes[-1] = 12
        ways.append(
            go.Scatter(
                x=narrow(kept[:, 0]),
                y=narrow(kept[:, 1]),
                name=escaped(name),
                mode="lines+markers",
                line={"color": SERIES[index % 6], "dash": DASHES[index % 6], "width": 3},
                marker={"size": sizes, "symbol": MARKERS[index % 6], "color": SERIES[index % 6]},
                hovertemplate=f"{escaped(name)}<br>θ = (%{{x:.2f}}, %{{y:.2f}})<extra></extra>",
            )
        )
    span = [-limit, limit]
    return drawing(
        [*rays, *ways],
        height,
        xaxis={"title": {"text": "θ₁"}, "range": span},
        yaxis={"title": {"text": "θ₂"}, "range": span, "scaleanchor": "x"},
    )


def probabilities(
    answers: Sequence[str], series: Mapping[str, np.ndarray], title: str, height: int = 330
) -> go.Figure:
    """How probable each answer is, under several policies."""
    colours = (GREY, *SERIES)
    bars = [
        go.Bar(
            x=[escaped(answer) for answer in answers],
            y=narrow(values),
            name=escaped(name),
            marker={"color": colours[index % 7], "pattern": HATCH | {"shape": PATTERNS[index % 7]}},
            hovertemplate=f"{escaped(name)}<br>%{{x}}: %{{y:.3g}}<extra></extra>",
        )
        for index, (name, values) in enumerate(series.items())
    ]
    return drawing(
        bars,
        height,
        barmode="group",
        xaxis={"title": {"text": _("Answer")}, "type": "category"},
        yaxis={"title": {"text": title}, "range": [0, 1]},
    )


def rewards_given_back(
    answers: Sequence[str], reward: np.ndarray, implicit: np.ndarray, limit: float, height: int = 330
) -> go.Figure:
    """The reward that was given and the one that the best policy implies: apart by one constant."""
    names = [escaped(answer) for answer in answers]
    bars = [
        go.Bar(
            x=names,
            y=narrow(values),
            name=name,
            marker={"color": colour, "pattern": HATCH | {"shape": shape}},
            hovertemplate=f"{name}<br>%{{x}}: %{{y:.4f}}<extra></extra>",
        )
        for name, values, colour, shape in (
            (_("reward r"), reward, SKY, ""),
            (_("implicit reward β log π*/π_ref"), implicit, ORANGE, "/"),
        )
    ]
    return drawing(
        bars,
        height,
        barmode="group",
        xaxis={"title": {"text": _("Answer")}, "type": "category"},
        yaxis={"title": {"text": _("Reward")}, "range": [-limit, limit]},
    )


def frontier(
    kl: np.ndarray, reward: np.ndarray, now: tuple[float, float], beta: np.ndarray, height: int = 330
) -> go.Figure:
    """The expected reward that each distance from the reference can buy; β moves along the curve."""
    curve = go.Scatter(
        x=narrow(kl),
        y=narrow(reward),
        mode="lines",
        name=_("best policies, by β"),
        line={"color": BLUE, "width": 3},
        customdata=narrow(beta),
        hovertemplate="β %{customdata:.3g}<br>KL %{x:.3f}<br>E[r] %{y:.3f}<extra></extra>",
    )
    point = go.Scatter(
        x=[now[0]],
        y=[now[1]],
        mode="markers",
        name=_("this β"),
        marker={"color": RED, "size": 15, "symbol": "star"},
        hovertemplate="KL %{x:.3f}<br>E[r] %{y:.3f}<extra></extra>",
    )
    return drawing(
        [curve, point],
        height,
        xaxis={"title": {"text": _("KL(π* ‖ π_ref) (nats)")}, "rangemode": "tozero"},
        yaxis={"title": {"text": _("Expected reward")}},
    )


def answer_strip(
    labels: Sequence[str],
    policy: np.ndarray,
    reference: np.ndarray,
    pull: np.ndarray,
    limits: tuple[float, float],
    title: str,
    height: int = 400,
) -> go.Figure:
    """One answer token by token: log π under both networks, and below how hard its logits are pushed.

    ``limits`` are the lowest log-probability and the largest push, so that two strips can be compared.
    """
    places = token_categories(labels)
    lines = [
        go.Scatter(
            x=places,
            y=narrow(values),
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 9},
            hovertemplate=f"{name}<br>%{{x}}: %{{y:.4f}}<extra></extra>",
        )
        for name, values, colour, dash, symbol in (
            (_("reference"), reference, GREY, "dot", "square"),
            (_("policy"), policy, BLUE, "solid", "circle"),
        )
    ]
    strip = go.Heatmap(
        z=np.ascontiguousarray(pull[None], dtype=np.float32),
        x=places,
        y=["‖∂L/∂logits‖"],
        zmin=0,
        zmax=limits[1],
        colorscale=SEQUENTIAL,
        yaxis="y2",
        showscale=False,
        hovertemplate="%{x}: %{z:.4g}<extra></extra>",
    )
    return drawing(
        [*lines, strip],
        height,
        title={"text": escaped(title), "font": {"size": 14}, "x": 0, "xref": "paper", "y": 0.985},
        xaxis=token_axis(labels, _("Token"), tickangle=-60, anchor="y2"),
        yaxis={"title": {"text": "log π"}, "range": [limits[0], 0.3], "domain": [0.3, 1]},
        yaxis2={"domain": [0, 0.16], "showticklabels": False, "title": {"text": "‖∂‖", "standoff": 4}},
        margin=MARGIN | {"t": 66, "b": 34 + room_for(labels)},
    )


def fitted_rewards(
    names: Sequence[str], fitted: np.ndarray, shifted: np.ndarray, limit: float
) -> go.Figure:
    """The fitted rewards, and the same with a constant for one group: equally good."""
    rows = [escaped(name) for name in names]
    bars = [
        go.Bar(
            y=rows,
            x=narrow(values),
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": HATCH | {"shape": shape}},
            hovertemplate=f"{name}<br>%{{y}}: %{{x:.4f}}<extra></extra>",
        )
        for name, values, colour, shape in (
            (_("fitted, centred by group"), fitted, SKY, ""),
            (_("with the constant"), shifted, PURPLE, "/"),
        )
    ]
    return drawing(
        bars,
        140 + 34 * len(names),
        barmode="group",
        xaxis={"title": {"text": _("Reward (nats)")}, "range": [-limit, limit]},
        yaxis={"autorange": "reversed"},
        margin=MARGIN | {"l": round(26 + LETTER * max(map(len, rows)))},
    )


def win_matrix(names: Sequence[str], wins: np.ndarray, known: np.ndarray) -> go.Figure:
    """σ(r_row − r_column), written into its cell; empty where no comparison leads from one to the other."""
    shown = np.where(known, wins, np.nan)
    rows = [escaped(name) for name in names]
    text = [[f"{value:.2f}" if np.isfinite(value) else "?" for value in row] for row in shown]
    cells = go.Heatmap(
        z=narrow(shown),
        x=rows,
        y=rows,
        text=text,
        texttemplate="%{text}",
        zmin=0,
        zmax=1,
        colorscale=[[0, ORANGE], [0.5, "#dddddd"], [1, SKY]],
        hoverongaps=True,
        showscale=False,
        xgap=2,
        ygap=2,
        textfont={"size": 13, "color": "#111"},
        hovertemplate="%{y} > %{x}: %{text}<extra></extra>",
    )
    side = 26 + LETTER * max(map(len, rows))
    return drawing(
        [cells],
        140 + 34 * len(names),
        xaxis={
            "title": {"text": _("… beats this one")},
            "side": "top",
            "type": "category",
            "showgrid": False,
        },
        yaxis={
            "title": {"text": _("This answer …")},
            "autorange": "reversed",
            "type": "category",
            "showgrid": False,
        },
        margin={"l": round(side + 30), "r": 8, "t": 72, "b": 8},
    )


def losses_of_run(losses: np.ndarray, steps: int, height: int = 300) -> go.Figure:
    """The loss of a real run, on an axis that holds all its steps."""
    points = go.Scatter(
        y=narrow(losses),
        mode="lines+markers",
        line={"color": GREEN, "width": 3},
        hovertemplate="%{x}: %{y:.5f}<extra></extra>",
    )
    return drawing(
        [points],
        height,
        xaxis={"title": {"text": _("Step")}, "range": [-0.2, max(1, steps) + 0.2]},
        yaxis={
            "title": {"text": _("Loss (nats)")},
            "range": [min(0.0, float(losses.min())), octave(losses)],
        },
        margin=MARGIN | {"t": 12},
    )


def log_ratios_of_run(chosen: np.ndarray, rejected: np.ndarray, steps: int, height: int = 300) -> go.Figure:
    """Δ of both answers against the step: whether the margin grows from above or from below."""
    traces = [
        go.Scatter(
            y=narrow(values),
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 3},
            marker={"symbol": symbol, "size": 8},
            hovertemplate=f"{name} %{{x}}: %{{y:.4f}}<extra></extra>",
        )
        for name, values, colour, dash, symbol in (
            (_("Δ chosen"), chosen, BLUE, "solid", "circle"),
            (_("Δ rejected"), rejected, ORANGE, "dash", "square"),
        )
    ]
    top = octave(np.concatenate([chosen, rejected]), least=1.0)
    return drawing(
        traces,
        height,
        xaxis={"title": {"text": _("Step")}, "range": [-0.2, max(1, steps) + 0.2]},
        yaxis={"title": {"text": _("log π − log π_ref (nats)")}, "range": [-top, top]},
    )
