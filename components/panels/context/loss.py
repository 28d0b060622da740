"""Loss by position on the real network, every method at once, drawn as each finishes."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, whole_number
from components.figures.context import losses
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels.context.settings import (
    LENGTHS,
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
from components.take.context import loss as loss_script
from components.take.script import Script
from components.words import _
from components.work.jobs import Job, followed, job_for
from models.context.long_context import (
    PASSAGES,
    LossCurve,
    Way,
    loss_by_position,
    loss_curve,
    passage_tokens,
)
from models.context.reference import difference_from_transformers
from models.networks.loading import load
from models.runtime.kept import Kept
from models.runtime.memory import drop_when_short

FAMILIES = {"scaling": METHODS, "reach": ("default", "yarn", *REACHES)}
BINS = 16
CHECKED_TOKENS = 320
PASSES_BYTES = 8_000_000
PASSES: Kept[tuple[Way, str, int], torch.Tensor] = Kept(lambda: PASSES_BYTES, lambda losses: losses.nbytes)
drop_when_short(PASSES.clear)


def passage_loss(way: Way, passage: str, length: int) -> torch.Tensor:
    """One passage under one way, computed once for all sessions."""
    return PASSES.get(
        (way, passage, length),
        lambda: loss_by_position(NETWORK, way, passage_tokens(NETWORK, passage, length)),
    )


def measured(ways: dict[str, Way], length: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Method by method, passage by passage."""
    for method, way in ways.items():
        for passage in PASSAGES:
            yield method, passage_loss(way, passage, length)


def loss(page: Page) -> None:
    """Controls, the preview that follows the factor, and the curves that follow when it rests."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        family = choose(
            _("Compare"),
            list(FAMILIES),
            f"{page.name}_family",
            lambda name: _("ways to scale") if name == "scaling" else _("ways to read less"),
            default="scaling",
            style="segments",
        )
        method = choose_method(page, FAMILIES[family], "yarn")
        length = choose(_("Up to"), LENGTHS, f"{page.name}_length", str, default=2_048, width=110)
        window = window_control(page) if family == "reach" else page.default("window")
    left, right = st.columns([1, 3], gap="medium")
    with left:
        factor_slider(page, live=("stretch_preview",))
        stretch_preview(page, method)
        page.note("loss")
    ways = {name: way_of(name, factor_now(page), window) for name in FAMILIES[family]}
    settings = (tuple(ways.items()), length)
    job = job_for(
        f"{page.name}_loss_job",
        settings,
        lambda: measured(dict(settings[0]), length),
        len(ways) * len(PASSAGES),
    )
    with right:
        followed(job, lambda job: draw(page, job, list(ways), method, length))
    if job.finished and not job.stopped:
        finish(page, ways, method, length, job)


def window_control(page: Page) -> int:
    return whole_number(
        _("Window, sinks included"), 16, 256, f"{page.name}_window", page.default("window"), width=180
    )


def curves_of(job: Job) -> dict[str, LossCurve]:
    """A curve for each method that all passages have been measured under."""
    by_method: dict[str, list[torch.Tensor]] = {}
    for method, values in list(job.results):
        by_method.setdefault(method, []).append(values)
    return {
        method: loss_curve(torch.stack(values), BINS)
        for method, values in by_method.items()
        if len(values) == len(PASSAGES)
    }


def draw(page: Page, job: Job, methods: list[str], method: str, length: int) -> None:
    """The curves that there are, and how far the job is."""
    live_figure(
        loss_figure(curves_of(job), methods, method, length),
        f"{page.name}_losses",
        _("Loss by position under every method"),
    )
    if not job.finished:
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.progress(
            len(job.results) / job.total,
            _("{done} of {total} passes; any control stops them").format(
                done=len(job.results), total=job.total
            ),
        )
        right.button(_("Stop"), key=f"{page.name}_loss_stop", on_click=job.stop, width="stretch")
    elif job.stopped:
        st.info(_("Stopped. Change a control to measure again; what was measured is kept."))


def loss_figure(curves: dict[str, LossCurve], methods: list[str], method: str, length: int) -> go.Figure:
    arrays = {
        method_label(name): (
            curve.position.numpy(),
            curve.mean.numpy(),
            curve.least.numpy(),
            curve.largest.numpy(),
        )
        for name, curve in curves.items()
    }
    trained = load(NETWORK).context
    order = [method_label(name) for name in methods]
    return losses(arrays, method_label(method), trained, length, order)


def finish(page: Page, ways: dict[str, Way], method: str, length: int, job: Job) -> None:
    """Means by range of positions, the comparison with transformers' own network, files."""
    rows = table(ways, length)
    st.dataframe(
        rows.round(3),
        hide_index=True,
        column_config={"method": st.column_config.TextColumn(_("Method"))},
    )
    page.note("ranges")
    name = _("logits of the network that transformers builds itself, {method}, {tokens} tokens").format(
        method=method_label(method), tokens=CHECKED_TOKENS
    )
    checked_against([Check(name, checked(ways[method]), 1e-3)])
    curves = curves_of(job)
    take_with_you(
        f"{page.name}_loss",
        lambda: by_position(ways, length),
        lambda: loss_figure(curves, list(ways), method, length),
        lambda: python(ways[method], length),
    )


@lru_cache(maxsize=64)
def checked(way: Way) -> float:
    tokens = passage_tokens(NETWORK, PASSAGES[0], CHECKED_TOKENS)
    return difference_from_transformers(NETWORK, way, tokens)


def table(ways: dict[str, Way], length: int) -> pd.DataFrame:
    """Mean loss in nats a token, by range of positions, over all passages."""
    rows = []
    for name, way in ways.items():
        values = torch.stack([passage_loss(way, passage, length) for passage in PASSAGES])
        means = {
            f"{low + 1:,}–{high:,}": float(values[:, low:high].mean())
            for low, high in pairwise(edges(length))
        }
        rows.append({"method": method_label(name), **means})
    return pd.DataFrame(rows)


def python(way: Way, length: int) -> Script:
    """The chosen method's row of the table."""
    losses = torch.stack([passage_loss(way, passage, length) for passage in PASSAGES])
    bounds = edges(length)
    means = {f"{low + 1}-{high}": float(losses[:, low:high].mean()) for low, high in pairwise(bounds)}
    tokens = [passage_tokens(NETWORK, passage, length) for passage in PASSAGES]
    return loss_script(NETWORK, way, tokens, bounds, means)


def edges(length: int) -> list[int]:
    """Where the ranges of positions begin and end."""
    return [0, *(edge for edge in (256, 512, 1_024, 2_048) if edge <= length)]


def by_position(ways: dict[str, Way], length: int) -> pd.DataFrame:
    """Mean over the passages at every position, a column a method."""
    columns = {
        name: np.mean([passage_loss(way, passage, length).numpy() for passage in PASSAGES], axis=0)
        for name, way in ways.items()
    }
    return pd.DataFrame(columns).rename_axis("position").reset_index()
