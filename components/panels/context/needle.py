"""Needles by depth and length: does the network use what it can read? And what is luck?"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import choose, whole_number
from components.figures.context import needle_map
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels.context.loss import checked, window_control
from components.panels.context.settings import (
    METHODS,
    NETWORK,
    REACHES,
    choose_method,
    factor_now,
    factor_slider,
    method_label,
    way_of,
)
from components.panels.context.stretch import stretch_preview
from components.take.context import Metric
from components.take.context import needle as needle_script
from components.take.script import Script
from components.words import _
from components.work.jobs import Job, followed, job_for
from models.context.long_context import Way
from models.context.needle import KEY_TOKENS, Haystack, Retrieval, retrieve, value_tokens, wilson_interval
from models.networks.loading import load

DEPTHS = 5
LONGEST = (512, 1_024, 2_048)
SHORTEST = 128
METRICS: tuple[Metric, ...] = ("best_of_all", "best_of_values", "probability")

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


def measured(ways: dict[str, Way], lengths: list[int], trials: int, seed: int) -> Iterator[Cell]:
    """Short texts first; for each the chosen way, the unscaled network, and texts without needles."""
    for length in lengths:
        haystack = Haystack(length, DEPTHS, trials, seed)
        for name, way in ways.items():
            yield name, length, asked(way, haystack, True)
        chosen = list(ways)[-1]
        yield "luck", length, asked(ways[chosen], haystack, False)


def needle(page: Page) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = choose_method(page, (*METHODS, *REACHES))
        metric = choose(
            _("Found when the value is"), METRICS, f"{page.name}_metric", metric_label,
            default="best_of_all", width=320,
        )  # fmt: skip
        longest = choose(_("Up to"), LONGEST, f"{page.name}_length", str, default=2_048, width=110)
        trials = whole_number(_("Texts for each length"), 4, 64, f"{page.name}_trials", 16, width=170)
        seed = whole_number(_("Seed"), 0, 9_999, f"{page.name}_seed", 0, width=120)
        window = window_control(page) if method in REACHES else page.default("window")
    left, right = st.columns([1, 3], gap="medium")
    with left:
        factor_slider(page, live=("stretch_preview",))
        stretch_preview(page, method)
        page.note("needle")
    lengths = [length for length in (SHORTEST, 256, 512, 1_024, 2_048) if length <= longest]
    factor = factor_now(page)
    ways = {name: way_of(name, factor, window) for name in dict.fromkeys(("default", method))}
    job = job_for(
        f"{page.name}_needle_job",
        (tuple(ways.items()), tuple(lengths), trials, seed),
        lambda: measured(ways, lengths, trials, seed),
        len(lengths) * (len(ways) + 1),
    )
    with right:
        followed(job, lambda job: draw(page, job, list(ways), lengths, metric))
    if job.finished and not job.stopped:
        finish(page, job, ways, lengths, metric, trials, seed)


def found(job: Job, name: str, lengths: list[int], metric: str) -> np.ndarray:
    """Shares by depth and length; NaN where nothing was measured yet."""
    shares = np.full((DEPTHS, len(lengths)), np.nan, np.float32)
    for asked_for, length, retrieval in list(job.results):
        if asked_for == name:
            shares[:, lengths.index(length)] = getattr(retrieval, metric).numpy()
    return shares


def draw(page: Page, job: Job, names: list[str], lengths: list[int], metric: str) -> None:
    """A map for the unscaled network and one for the chosen way, as far as they are measured."""
    trained = load(NETWORK).context
    for column, name in zip(st.columns(2, gap="small"), names, strict=False):
        with column:
            figure = needle_map(found(job, name, lengths, metric), lengths, trained, method_label(name))
            live_figure(
                figure,
                f"{page.name}_needles_{'own' if name == 'default' else 'scaled'}",
                _("Share of needles found by depth and length, {method}").format(method=method_label(name)),
            )
    if not job.finished:
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.progress(
            len(job.results) / job.total,
            _("{done} of {total} measurements; any control stops them").format(
                done=len(job.results), total=job.total
            ),
        )
        right.button(_("Stop"), key=f"{page.name}_needle_stop", on_click=job.stop, width="stretch")
    elif job.stopped:
        st.info(_("Stopped. Change a control to measure again; what was measured is kept."))


def finish(
    page: Page, job: Job, ways: dict[str, Way], lengths: list[int], metric: Metric, trials: int, seed: int
) -> None:
    """Every length in a row with its interval, chance, and the luck that was measured."""
    rows = table(job, list(ways), lengths, metric, trials)
    st.dataframe(rows, hide_index=True)
    page.note("luck")
    method = list(ways)[-1]
    name = _("logits of the network that transformers builds itself, {method}, {tokens} tokens").format(
        method=method_label(method), tokens=320
    )
    checked_against([Check(name, checked(ways[method]), 1e-3)])
    shares = found(job, method, lengths, metric)
    take_with_you(
        f"{page.name}_needle",
        lambda: every_cell(job),
        lambda: needle_map(shares, lengths, load(NETWORK).context, method_label(method)),
        lambda: python(ways[method], lengths, trials, seed, metric, shares),
    )


def python(
    way: Way, lengths: list[int], trials: int, seed: int, metric: Metric, shares: np.ndarray
) -> Script:
    """The chosen way's map."""
    loaded = load(NETWORK)
    haystacks = [Haystack(length, DEPTHS, trials, seed) for length in lengths]
    by_length = {
        f"{length} tokens": torch.from_numpy(column)
        for length, column in zip(lengths, shares.T, strict=True)
    }
    return needle_script(
        NETWORK,
        way,
        haystacks,
        value_tokens(loaded.vocabulary),
        loaded.tokenizer.bos_token_id or 0,
        metric,
        by_length,
    )


def table(job: Job, names: list[str], lengths: list[int], metric: str, trials: int) -> pd.DataFrame:
    """Shares over all depths, with 95 % Wilson intervals."""
    vocabulary = load(NETWORK).vocabulary
    chance = {"best_of_all": 1 / vocabulary, "best_of_values": 1 / DEPTHS, "probability": 1 / vocabulary}
    rows = []
    for column, length in enumerate(lengths):
        row = {_("Length"): f"{length:,}"}
        for name in (*names, "luck"):
            share = float(found(job, name, lengths, metric)[:, column].mean())
            low, high = wilson_interval(min(1.0, max(0.0, share)), trials * DEPTHS)
            label = _("measured without needles") if name == "luck" else method_label(name)
            text = f"{share:.3f}"
            row[label] = text if metric == "probability" else f"{text}  ({low:.2f}–{high:.2f})"
        rows.append(row | {_("pure chance"): f"{chance[metric]:.4f}"})
    return pd.DataFrame(rows)


def every_cell(job: Job) -> pd.DataFrame:
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
        for name, length, retrieval in job.results
        for depth in range(DEPTHS)
    )
