"""Does a rotary score fall with distance? Real vectors, random ones, and the bound of the paper."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import whole_number
from components.figures.positions import curves, heatmap
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.network.selection import Selection
from components.panels.network.text import Choice
from components.panels.positions.head import RealHead, choose_head, real_head
from components.take.positions import decay as decay_script
from components.words import _
from models.attention.softmax import random_queries_and_keys
from models.numerics.comparison import largest_difference
from models.positions.checks import rotated_by_transformers
from models.positions.decay import (
    in_phase,
    mean_by_distance,
    mean_cosine_at_distances,
    roformer_bound,
    unit,
)
from models.rotary.rope import rotation, score_at_distances

LIVE, SETTLED = ("decay_live",), ("decay_live", "decay_numbers")
MOST_PLACES = 512  # points of a curve


@panel
def decay(page: Page, choice: Choice) -> None:
    """A head and a base; below, the curves that follow."""
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        selection = choose_head(page, choice.trace)
        live_slider(
            _("Base"), f"{name}_base", 2.0, 1_000_000.0, 10_000.0, log=True, live=LIVE, settled=SETTLED
        )
        live_slider(
            _("Longest distance"), f"{name}_farthest", 16.0, 4096.0, 256.0, 1, log=True,
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=130)
    decay_live(page, choice, selection)
    decay_numbers(page, choice, selection)


def places(page: Page) -> torch.Tensor:
    """Distances from 0 to the longest, all of them or MOST_PLACES spread evenly."""
    farthest = round(st.session_state[f"{page.name}_farthest"])
    return torch.linspace(0, farthest, min(MOST_PLACES, farthest + 1)).round().long()


def base_of(page: Page) -> float:
    return float(st.session_state[f"{page.name}_base"])


def series(page: Page, head: RealHead) -> dict[str, np.ndarray]:
    """Every curve over the distances, each as a cosine or as a share of its value at 0."""
    distances, frequency = places(page), head.rotary.frequency_at(base_of(page))
    width = head.query.shape[1]
    query, key = random_queries_and_keys(width, 1, 1, st.session_state.get(f"{page.name}_seed", 0))
    layout = head.rotary.layout
    real = mean_cosine_at_distances(head.query, head.key, head.visible, distances, frequency, layout)
    random = score_at_distances(unit(query)[0], unit(key)[0], distances, frequency, layout)
    return {
        _("query = key: all pairs in phase"): in_phase(distances, frequency).numpy(),
        _("RoFormer's bound"): roformer_bound(distances, frequency).numpy(),
        _("one random query and key"): random.numpy(),
        _("this head's queries and keys, mean"): real.numpy(),
    }


@live_panel
def decay_live(page: Page, choice: Choice, selection: Selection) -> None:
    head = real_head(choice, selection)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        live_figure(decay_curves(page, head), f"{page.name}_decay", _("Scores against distance"))
    with right:
        figure = phases(head, base_of(page), places(page))
        live_figure(
            figure, f"{page.name}_phases", _("Cosine of each pair's angle at each distance"), rest=120
        )


def decay_curves(page: Page, head: RealHead) -> go.Figure:
    return curves(
        series(page, head),
        _("Distance: query less key"),
        _("Cosine, or share of the value at 0"),
        x=places(page).numpy(),
        y_range=(-1.05, 1.05),
        height=460,
    )


def phases(head: RealHead, base: float, distances: torch.Tensor) -> go.Figure:
    """Cos(Δ θ_p): fast pairs change sign at every step, slow ones hardly at all."""
    spread = distances[:: max(1, len(distances) // 256)]
    frequency = head.rotary.frequency_at(base)
    values = (spread[:, None].float() * frequency).cos()
    return heatmap(
        values.numpy(),
        _("Pair of dimensions p"),
        _("Distance"),
        "cos Δθ",
        height=460,
        rows=spread.numpy(),
    )


@panel
def decay_numbers(page: Page, choice: Choice, selection: Selection) -> None:
    """How often the curves rise, what the text itself shows, the comparison, things to take along."""
    head = real_head(choice, selection)
    page.note("decay")
    curves_now = series(page, head)
    rows = summary(curves_now, head)
    st.dataframe(rows, hide_index=True)
    checked_against([check(head, base_of(page), places(page))])
    phase, _bound, _random, real = map(torch.from_numpy, curves_now.values())
    chosen = (selection.layer, selection.head)
    base, distances = base_of(page), places(page)
    take_with_you(
        f"{page.name}_decay",
        lambda: pd.DataFrame({"distance": places(page).numpy(), **curves_now}),
        lambda: decay_curves(page, head),
        lambda: decay_script(
            choice.network, choice.trace, chosen, head.rotary, base, distances, (phase, real)
        ),
    )


def summary(named: dict[str, np.ndarray], head: RealHead) -> pd.DataFrame:
    """For each curve: its ends, its lowest point, and on how many steps it rises."""
    cosines = (
        unit(head.record.query[head.head]) @ unit(head.record.key[head.record.key_of_head[head.head]]).T
    )
    measured = mean_by_distance(cosines, head.visible)
    shown = named | {_("this text as the network rotates it, mean"): measured.numpy()}
    rising = [np.mean(np.diff(values) > 1e-6) for values in shown.values()]
    return pd.DataFrame(
        {
            _("Curve"): list(shown),
            _("At distance 0"): [f"{values[0]:.4f}" for values in shown.values()],
            _("Lowest"): [f"{np.nanmin(values):.4f}" for values in shown.values()],
            _("At the end"): [f"{values[-1]:.4f}" for values in shown.values()],
            _("Steps on which it rises"): [f"{share:.0%}" for share in rising],
        }
    )


def check(head: RealHead, base: float, distances: torch.Tensor) -> Check:
    """The head's mean at a few distances, with every query placed there by transformers' own function."""
    frequency = head.rotary.frequency_at(base)
    some = distances[:: max(1, len(distances) // 8)]
    ours = mean_cosine_at_distances(head.query, head.key, head.visible, some, frequency, head.rotary.layout)
    theirs = []
    for distance in some:
        turn = rotation(distance.expand(len(head.query)), frequency, head.rotary.layout)
        cosines = unit(rotated_by_transformers(head.query, turn)) @ unit(head.key).T
        theirs.append(cosines[head.visible].mean())
    allowed = max(1e-5, 1e-7 * float(distances[-1]))
    return Check(
        _("means of queries placed at a distance by transformers' rotation"),
        largest_difference(ours, torch.stack(theirs)),
        allowed,
    )
