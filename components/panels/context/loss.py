"""Loss by position on the real network, every method at once, drawn as each finishes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components import work
from components.figures.context import losses
from components.figures.methods import method_label
from components.lesson_parts import note
from components.live.figure import Room, live_figure
from components.panels.context.settings import METHODS, NETWORK, REACHES, Measured, embedded
from components.panels.context.stretch import stretch_plot
from components.settings import View, one_of
from components.stage import Block, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.context.long_context import (
    PASSAGES,
    LossCurve,
    Way,
    loss_by_position,
    loss_curve,
    passage_tokens,
)
from models.context.reference import difference_from_transformers
from models.runtime.kept import Kept
from models.runtime.memory import drop_when_short

FAMILIES = {"scaling": METHODS, "reach": ("default", "yarn", *REACHES)}
BINS = 16
CHECKED_TOKENS = 320
PASSES_BYTES = 8_000_000
PASSES: Kept[tuple[Way, str, int], torch.Tensor] = Kept(lambda: PASSES_BYTES, lambda losses: losses.nbytes)
drop_when_short(PASSES.clear)

Pass = tuple[str, torch.Tensor]  # method, loss at each position of one passage


def passage_loss(way: Way, passage: str, length: int) -> torch.Tensor:
    """One passage under one way, computed once for all sessions."""
    return PASSES.get(
        (way, passage, length),
        lambda: loss_by_position(NETWORK, way, passage_tokens(NETWORK, passage, length)),
    )


def measured(ways: dict[str, Way], length: int) -> Iterator[Pass]:
    """Method by method, passage by passage."""
    for method, way in ways.items():
        for passage in PASSAGES:
            yield method, passage_loss(way, passage, length)


def family_label(family: str) -> str:
    return _("ways to scale") if family == "scaling" else _("ways to read less")


@dataclass(frozen=True)
class Compares(View):
    """Which methods are measured beside one another."""

    family: str = one_of(list(FAMILIES), label=mark("Compare"), label_of=family_label, style="radio")


@dataclass(frozen=True)
class LossByPosition(Measured, Compares):
    """What the chosen method keeps of the frequencies, and what all of them do to the loss."""

    page, name = "context", "loss"

    @property
    def methods(self) -> tuple[str, ...]:
        return FAMILIES[self.family]

    @property
    def has_window(self) -> bool:
        return self.family == "reach"

    @property
    def ways(self) -> dict[str, Way]:
        return {method: self.way(method) for method in self.methods}

    def run(self) -> work.Run[Pass]:
        ways, length = self.ways, self.length
        return work.run(
            "context_loss",
            (tuple(ways.items()), length),
            lambda: measured(ways, length),
            len(ways) * len(PASSAGES),
            words=mark("{done} of {total} passes; any control stops them"),
        )

    def stage(self) -> Stage:
        return Stage([stretch_plot(self), Block(self.draw_run, width=2.0)])

    def draw_run(self) -> None:
        run = self.run()
        work.stage(run, partial(draw, self, run), autostart=True)

    def below(self) -> None:
        note(self, "loss")
        run = self.run()
        if run.finished:
            finish(self, run.results)
        else:
            take_with_you(self, None, None, self.snippet)

    @property
    def snippet(self) -> str:
        return snippet(self.ways[self.method], self.length)


def curves_of(passes: Sequence[Pass]) -> dict[str, LossCurve]:
    """A curve for each method that all passages have been measured under."""
    by_method: dict[str, list[torch.Tensor]] = {}
    for method, values in passes:
        by_method.setdefault(method, []).append(values)
    return {
        method: loss_curve(torch.stack(values), BINS)
        for method, values in by_method.items()
        if len(values) == len(PASSAGES)
    }


def draw(view: LossByPosition, run: work.Run[Pass], passes: Sequence[Pass], *, faint: bool = False) -> None:
    """The curves that there are."""
    alt = _("Loss by position under every method")
    figure = loss_figure(view, curves_of(passes))
    live_figure(figure, "context_losses", alt, room=room_of(run))


def room_of(run: work.Run[Any]) -> Room:
    """What a run's figure has of the stage: all of it, less the line with the progress."""
    return Room(1.0, 0 if run.finished else work.BUTTONS)


def loss_figure(view: LossByPosition, curves: dict[str, LossCurve]) -> go.Figure:
    arrays = {
        method: (
            curve.position.numpy(),
            curve.mean.numpy(),
            curve.least.numpy(),
            curve.largest.numpy(),
        )
        for method, curve in curves.items()
    }
    return losses(arrays, view.method, embedded().context, view.length, view.methods)


def finish(view: LossByPosition, passes: Sequence[Pass]) -> None:
    """Means by range of positions, the comparison with transformers' own network, files."""
    ways = view.ways
    rows = table(ways, view.length)
    st.dataframe(
        rows.round(3),
        hide_index=True,
        column_config={"method": st.column_config.TextColumn(_("Method"))},
    )
    note(view, "ranges")
    checked_against([network_check(view.method, ways[view.method])])
    curves = curves_of(passes)
    take_with_you(
        view,
        lambda: by_position(ways, view.length),
        lambda: loss_figure(view, curves),
        view.snippet,
    )


def network_check(method: str, way: Way) -> Check:
    """The embedded network under a method against the one that transformers builds itself."""
    name = _("logits of the network that transformers builds itself, {method}, {tokens} tokens").format(
        method=method_label(method), tokens=CHECKED_TOKENS
    )
    return Check(name, checked(way), 1e-3)


@lru_cache(maxsize=64)
def checked(way: Way) -> float:
    tokens = passage_tokens(NETWORK, PASSAGES[0], CHECKED_TOKENS)
    return difference_from_transformers(NETWORK, way, tokens)


def table(ways: dict[str, Way], length: int) -> pd.DataFrame:
    """Mean loss in nats per token, by range of positions, over all passages."""
    edges = [0, *(edge for edge in (256, 512, 1_024, 2_048) if edge <= length)]
    rows = []
    for name, way in ways.items():
        values = torch.stack([passage_loss(way, passage, length) for passage in PASSAGES])
        means = {
            f"{low + 1:,}–{high:,}": float(values[:, low:high].mean()) for low, high in pairwise(edges)
        }
        rows.append({"method": method_label(name), **means})
    return pd.DataFrame(rows)


def by_position(ways: dict[str, Way], length: int) -> pd.DataFrame:
    """Mean over the passages at every position, a column a method."""
    columns = {
        name: np.mean([passage_loss(way, passage, length).numpy() for passage in PASSAGES], axis=0)
        for name, way in ways.items()
    }
    return pd.DataFrame(columns).rename_axis("position")


def snippet(way: Way, length: int) -> str:
    """Python that repeats the chosen method's losses."""
    return f"""import torch

from models.networks.key_cache import KeyCache
from models.context.long_context import Way, losses_of
from models.rotary.scaling import RopeSettings

way = {way!r}
losses = torch.stack(list(losses_of({NETWORK!r}, way, {length})))
print(losses.mean(0))
"""
