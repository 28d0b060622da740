"""Does a rotary score fall with distance? Real vectors, random ones, and the bound of the paper."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.positions import curves, heatmap
from components.lesson_parts import note
from components.panels.positions.head import RealHead
from components.panels.positions.settings import Based, RotaryHead, Seeded
from components.settings import slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
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

MOST_DISTANCES = 512  # points of a curve
MOST_ROWS = 256  # of the picture of cosines


@dataclass(frozen=True)
class ScoreAndDistance(Seeded, Based, RotaryHead):
    """Four curves over the distance, and the cosine of each pair's angle."""

    page, name = "positions", "decay"
    farthest: int = slider(16, 4096, 256, 1, log=True, label=mark("Longest distance"))

    @property
    def distances(self) -> torch.Tensor:
        """Distances from 0 to the longest, all of them or MOST_DISTANCES spread evenly."""
        count = min(MOST_DISTANCES, self.farthest + 1)
        return torch.linspace(0, self.farthest, count).round().long()

    def stage(self) -> Stage:
        head = self.head
        scores = Plot("decay", decay_curves(self, head), _("Scores against distance"), width=1.4)
        angles = _("Cosine of each pair's angle at each distance")
        return Stage([scores, Plot("phases", phases(self, head), angles, rest=120)])

    def below(self) -> None:
        head = self.head
        named = series(self, head)
        note(self, "decay")
        st.dataframe(summary(named, head), hide_index=True)
        checked_against([check(head, self.base, self.distances)])
        take_with_you(
            self,
            lambda: pd.DataFrame(named, index=pd.Index(self.distances.numpy(), name="distance")),
            lambda: decay_curves(self, head),
            snippet(self),
        )


def series(view: ScoreAndDistance, head: RealHead) -> dict[str, np.ndarray]:
    """Every curve over the distances, each as a cosine or as a share of its value at 0."""
    distances, frequency = view.distances, head.rotary.frequency_at(view.base)
    width, layout = head.query.shape[1], head.rotary.layout
    query, key = random_queries_and_keys(width, 1, 1, view.seed)
    real = mean_cosine_at_distances(head.query, head.key, head.visible, distances, frequency, layout)
    random = score_at_distances(unit(query)[0], unit(key)[0], distances, frequency, layout)
    return {
        _("query = key: all pairs in phase"): in_phase(distances, frequency).numpy(),
        _("RoFormer's bound"): roformer_bound(distances, frequency).numpy(),
        _("one random query and key"): random.numpy(),
        _("this head's queries and keys, mean"): real.numpy(),
    }


def decay_curves(view: ScoreAndDistance, head: RealHead) -> go.Figure:
    return curves(
        series(view, head),
        _("Distance: query − key"),
        _("Cosine, or share of the value at 0"),
        x=view.distances.numpy(),
        y_range=(-1.05, 1.05),
    )


def phases(view: ScoreAndDistance, head: RealHead) -> go.Figure:
    """Cos(Δ θ_p): fast pairs change sign at every step, slow ones hardly at all."""
    distances = view.distances
    spread = distances[:: max(1, len(distances) // MOST_ROWS)]
    values = (spread[:, None].float() * head.rotary.frequency_at(view.base)).cos()
    return heatmap(values.numpy(), _("Pair of dimensions p"), _("Distance"), "cos Δθ", rows=spread.numpy())


def summary(named: dict[str, np.ndarray], head: RealHead) -> pd.DataFrame:
    """For each curve: its ends, its lowest point, and on how many steps it rises."""
    record = head.record
    cosines = unit(record.query[head.index]) @ unit(record.key[record.key_of_head[head.index]]).T
    measured = mean_by_distance(cosines, head.visible)
    shown = named | {_("this text as the network rotates it, mean"): measured.numpy()}
    rising = [np.mean(np.diff(values) > 1e-6) for values in shown.values()]
    return pd.DataFrame(
        {
            _("Curve"): list(shown),
            _("At distance 0"): [f"{values[0]:.4f}" for values in shown.values()],
            _("Lowest"): [f"{np.nanmin(values):.4f}" for values in shown.values()],
            _("At the end"): [f"{values[-1]:.4f}" for values in shown.values()],
            _("Rising steps"): [f"{share:.0%}" for share in rising],
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


def snippet(view: ScoreAndDistance) -> str:
    """Python that repeats the head's curve and the one in phase."""
    distances = view.distances
    return f"""import torch

from models.networks.loading import load
from models.networks.rotary import rotary_of
from models.networks.tracing import trace
from models.positions.decay import in_phase, mean_cosine_at_distances

network = load({view.network_name!r})
traced = trace(network, {view.text!r})
record, head = traced.layers[{view.layer}], {view.open_head}
rotary = rotary_of(network, traced, {view.layer})
frequency = rotary.frequency_at({view.base!r})
distances = torch.linspace(0, {int(distances[-1])}, {len(distances)}).round().long()
query, key = record.unrotated_query[head], record.unrotated_key[record.key_of_head[head]]
visible = record.visible if record.visible.ndim == 2 else record.visible[head]
print(in_phase(distances, frequency))
print(mean_cosine_at_distances(query, key, visible, distances, frequency, rotary.layout))
"""
