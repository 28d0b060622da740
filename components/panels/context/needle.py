"""Needles by depth and length: does the network use what it can read? And what is luck?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import streamlit as st

from components import work
from components.figures.context import needle_map
from components.figures.methods import method_label
from components.lesson_parts import note
from components.live.figure import live_figure
from components.panels.context.loss import network_check, room_of
from components.panels.context.settings import LENGTHS, NETWORK, Measured, Seeded, embedded
from components.panels.context.stretch import stretch_plot
from components.settings import number, one_of
from components.stage import Block, Stage
from components.takeaway import checked_against, take_with_you
from components.words import _, mark
from models.context.long_context import Way
from models.context.needle import KEY_TOKENS, Haystack, Retrieval, retrieve, wilson_interval

DEPTHS = 5
SHORTEST = 128
METRICS = ("best_of_all", "best_of_values", "probability")

Cell = tuple[str, int, Retrieval]  # what was asked, length, answers


@lru_cache(maxsize=512)
def asked(way: Way, haystack: Haystack, hidden: bool) -> Retrieval:
    return retrieve(NETWORK, way, haystack, hidden)


def metric_label(metric: str) -> str:
    return {
        "best_of_all": _("likeliest of the whole vocabulary"),
        "best_of_values": _("likeliest of the {count} hidden values").format(count=DEPTHS),
        "probability": _("mean probability of the value"),
    }[metric]


def measured(ways: dict[str, Way], lengths: Sequence[int], trials: int, seed: int) -> Iterator[Cell]:
    """Short texts first; for each the chosen way, the unscaled network, and texts without needles."""
    for length in lengths:
        haystack = Haystack(length, DEPTHS, trials, seed)
        for name, way in ways.items():
            yield name, length, asked(way, haystack, True)
        chosen = list(ways)[-1]
        yield "luck", length, asked(ways[chosen], haystack, False)


@dataclass(frozen=True)
class Needle(Seeded, Measured):
    """What the chosen method keeps of the frequencies, and which needles it finds."""

    page, name = "context", "needle"
    metric: str = one_of(METRICS, label=mark("Score a needle by"), label_of=metric_label)
    trials: int = number(4, 64, 16, label=mark("Texts for each length"), place="more")

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(length for length in (SHORTEST, 256, *LENGTHS) if length <= self.length)

    @property
    def ways(self) -> dict[str, Way]:
        """The unscaled network and the chosen method, which is the last."""
        return {method: self.way(method) for method in dict.fromkeys(("default", self.method))}

    def run(self) -> work.Run[Cell]:
        ways, lengths, trials, seed = self.ways, self.lengths, self.trials, self.seed
        return work.run(
            "context_needle",
            (tuple(ways.items()), lengths, trials, seed),
            lambda: measured(ways, lengths, trials, seed),
            len(lengths) * (len(ways) + 1),
            words=mark("{done} of {total} measurements; any control stops them"),
        )

    def stage(self) -> Stage:
        return Stage([stretch_plot(self, width=0.9), Block(self.draw_run, width=2.1)])

    def draw_run(self) -> None:
        run = self.run()
        work.stage(run, partial(draw, self, run), autostart=True)

    def below(self) -> None:
        note(self, "needle")
        run = self.run()
        if run.finished:
            finish(self, run.results)
        else:
            take_with_you(self, None, None, self.snippet)

    @property
    def snippet(self) -> str:
        return snippet(self.ways[self.method], list(self.lengths), self.trials, self.seed)


def shares_of(view: Needle, cells: Sequence[Cell], name: str) -> np.ndarray:
    """Shares by depth and length; NaN where nothing was measured yet."""
    shares = np.full((DEPTHS, len(view.lengths)), np.nan, np.float32)
    for asked_for, length, retrieval in cells:
        if asked_for == name:
            shares[:, view.lengths.index(length)] = getattr(retrieval, view.metric).numpy()
    return shares


def draw(view: Needle, run: work.Run[Cell], cells: Sequence[Cell], *, faint: bool = False) -> None:
    """A map for the unscaled network and one for the chosen way, as far as they are measured."""
    trained, names = embedded().context, list(view.ways)
    for column, name in zip(st.columns(len(names), gap="small"), names, strict=True):
        label = method_label(name)
        with column:
            live_figure(
                needle_map(shares_of(view, cells, name), view.lengths, trained, label),
                f"context_needles_{'own' if name == 'default' else 'scaled'}",
                _("Share of needles found by depth and length, {method}").format(method=label),
                room=room_of(run),
            )


def finish(view: Needle, cells: Sequence[Cell]) -> None:
    """Every length in a row with its interval, chance, and the luck that was measured."""
    st.dataframe(table(view, cells), hide_index=True)
    note(view, "luck")
    way = view.ways[view.method]
    checked_against([network_check(view.method, way)])
    shares = shares_of(view, cells, view.method)
    take_with_you(
        view,
        lambda: every_cell(cells),
        lambda: needle_map(shares, view.lengths, embedded().context, method_label(view.method)),
        view.snippet,
    )


def table(view: Needle, cells: Sequence[Cell]) -> pd.DataFrame:
    """Shares over all depths, with 95 % Wilson intervals."""
    vocabulary = embedded().vocabulary
    chance = {"best_of_all": 1 / vocabulary, "best_of_values": 1 / DEPTHS, "probability": 1 / vocabulary}
    rows = []
    for column, length in enumerate(view.lengths):
        row = {_("Length"): f"{length:,}"}
        for name in (*view.ways, "luck"):
            share = float(shares_of(view, cells, name)[:, column].mean())
            low, high = wilson_interval(min(1.0, max(0.0, share)), view.trials * DEPTHS)
            label = _("measured without needles") if name == "luck" else method_label(name)
            text = f"{share:.3f}"
            row[label] = text if view.metric == "probability" else f"{text}  ({low:.2f}–{high:.2f})"
        rows.append(row | {_("pure chance"): f"{chance[view.metric]:.4f}"})
    return pd.DataFrame(rows)


def every_cell(cells: Sequence[Cell]) -> pd.DataFrame:
    """All that was measured: a row for each way, length and depth."""
    return pd.DataFrame(
        {
            "way": name,
            "length": length,
            "depth": (depth + 0.5) / DEPTHS,
            **{metric: float(getattr(retrieval, metric)[depth]) for metric in METRICS},
            "texts": retrieval.trials,
            "key_tokens": KEY_TOKENS,
        }
        for name, length, retrieval in cells
        for depth in range(DEPTHS)
    )


def snippet(way: Way, lengths: list[int], trials: int, seed: int) -> str:
    """Python that repeats the map of the chosen way."""
    return f"""from models.networks.key_cache import KeyCache
from models.context.long_context import Way
from models.context.needle import Haystack, retrieve
from models.rotary.scaling import RopeSettings

way = {way!r}
for length in {lengths!r}:
    print(length, retrieve({NETWORK!r}, way, Haystack(length, {DEPTHS}, {trials}, {seed})))
"""
