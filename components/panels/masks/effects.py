"""Figures of a mask and of what a network makes of it: the matrix, one head twice, each token's loss."""

import math
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from components.figures.masks import before_and_after, by_token, mask_matrix
from components.panels.masks.settings import MasksText, stage_label
from components.stage import Click, Plot
from components.words import _
from models.errors import InputError
from models.masks.effects import MaskStage, empty_rows, head_stage, moved
from models.masks.settings import parse_cells, switched, write_cells
from models.networks.tracing import Trace
from models.numerics.token_losses import token_losses

V = TypeVar("V", bound=MasksText)
WEIGHT_TOP = 0.5  # of the colours: few weights are larger, and most would look black


def matrix_plot(view: MasksText, width: float = 1.0) -> Plot:
    """The mask; a click turns a pair over."""
    alt = _("Matrix of which key each query may read; hidden pairs are hatched")
    return Plot(
        "matrix", matrix_figure(view), alt, lambda click: switch(view, click), width=width, least=220
    )


def switch(view: V, click: Click) -> V:
    """The view with the clicked pair turned over and chosen. Raises InputError for one too many."""
    query, key = (int(str(click[axis]).split(" ", 1)[0]) for axis in ("y", "x"))
    changes: dict[str, Any] = {"cells": write_cells(switched(parse_cells(view.cells), (query, key)))}
    if "query" in view.controls():
        changes |= {"query": query, "key": key}
    return replace(view, **changes)


def matrix_figure(view: MasksText) -> go.Figure:
    """The matrix with a line below it that says how much of it is visible."""
    visible, base = view.visible, view.trace
    empty = empty_rows(visible).tolist()
    title = _("{visible} of {all} pairs visible").format(
        visible=f"{int(visible.sum()):,}", all=f"{visible.numel():,}"
    )
    if empty:
        title += " · " + _("{count} rows see nothing (∅)").format(count=len(empty))
    cells = view.mask_settings.cells_inside(base.tokens_shown)
    return mask_matrix(visible.numpy(), base.labels, switched=cells, empty=empty, title=title)


def matrix_table(view: MasksText) -> pd.DataFrame:
    """1 where the query of the row may read the key of the column."""
    labels = [f"{index} {label}" for index, label in enumerate(view.trace.labels)]
    return pd.DataFrame(view.visible.int().numpy(), columns=labels, index=pd.Index(labels, name="query"))


def head_figure(base: Trace, changed: Trace, layer: int, head: int, stage: MaskStage) -> go.Figure:
    """One stage of a head. Colour limits come from the network as it is, so that they stay."""
    before, after = (head_stage(trace, layer, head, stage) for trace in (base, changed))
    signed = stage != "softmax"
    top = float(head_stage(base, layer, head, "scaled").abs().max()) if signed else WEIGHT_TOP
    return before_and_after(
        before.numpy(),
        after.numpy(),
        base.labels,
        value_title=stage_label(stage),
        limits=(-top if signed else 0.0, top),
        diverging=signed,
    )


def effect_figure(base: Trace, changed: Trace) -> go.Figure:
    """The loss on each token; for an encoder, how far each token's vector has turned."""
    return moved_figure(base, changed) if base.logits is None else loss_figure(base, changed)


def loss_figure(base: Trace, changed: Trace) -> go.Figure:
    """The loss on each following token; the axis stays while the mask changes."""
    losses = [token_losses(_logits(trace), trace.token_ids).numpy() for trace in (base, changed)]
    guessing = math.log(_logits(base).shape[1])  # the loss of an even guess over the vocabulary
    names = _("the network as it is"), _("with your mask")
    return by_token(
        {_with_mean(name, loss): loss for name, loss in zip(names, losses, strict=True)},
        base.labels,
        y_title=_("Loss (nats)"),
        y_range=(0, 1.4 * max(float(losses[0].max()), guessing)),
        is_low=True,
    )


def _logits(trace: Trace) -> torch.Tensor:
    if trace.logits is None:
        raise InputError("This network is an encoder: it reads, and does not say what comes next.")
    return trace.logits


def _with_mean(name: str, values: np.ndarray) -> str:
    return name + " (" + _("mean") + f" {values.mean():.3f})"


def moved_figure(base: Trace, changed: Trace) -> go.Figure:
    """For an encoder: how far each token's vector after the last layer has turned."""
    turned = moved(base.hidden[-1], changed.hidden[-1]).numpy()
    return by_token(
        {_with_mean(_("with your mask"), turned): turned},
        base.labels,
        y_title=_("Turned by (1 − cosine)"),
        y_range=(0, 1.05),
        is_low=True,
    )
