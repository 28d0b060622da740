"""The mask, one head before and after, the next token and the loss: redrawn while a slider moves."""

import math
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.masks import before_and_after, by_token, mask_matrix
from components.live.figure import live_figure
from components.page import Page
from components.panels import live_panel
from components.panels.masks.controls import settings_now
from components.panels.network.live_head import next_token
from components.panels.network.text import Choice
from components.traces import facts, traced_with
from components.words import _
from models.errors import InputError
from models.masks.effects import MaskStage, empty_rows, head_stage, loss_by_position, moved
from models.masks.settings import MaskSettings, parse_cells, switched, write_cells
from models.networks.interventions import Intervention, Visible
from models.networks.tracing import NO_INTERVENTION, Trace

LIVE = ("live_mask",)  # panels that follow while a slider is dragged
SETTLED = (*LIVE, "mask_details")  # and when it is let go
ALL_LAYERS = -1
WEIGHT_TOP = 0.5  # of the colours: few weights are larger, and most would look black


@dataclass(frozen=True)
class Shown:
    """The open head, its stage, and the layers in which the mask acts."""

    layer: int
    head: int
    stage: MaskStage
    where: int  # a layer, or ALL_LAYERS


def stage_label(stage: MaskStage) -> str:
    return {"scaled": _("Raw scores"), "masked": _("Masked"), "softmax": _("Softmax")}[stage]


def mask_now(page: Page, tokens: int) -> tuple[MaskSettings, torch.Tensor]:
    """The settings, and what they make visible in a text of so many tokens."""
    settings = settings_now(page)
    return settings, settings.mask(tokens).to_tensor(tokens, tokens)


def changed_trace(choice: Choice, visible: torch.Tensor, where: int = ALL_LAYERS) -> Trace:
    """The network under the mask; the network's own trace where the mask is its own already."""
    base = choice.trace
    if all(torch.equal(record.visible, visible) for record in base.layers):
        return traced_with(choice.network, choice.text, NO_INTERVENTION)
    layers = None if where == ALL_LAYERS else frozenset({where})
    change = Intervention(visible=Visible.from_tensor(visible), visible_in=layers)
    return traced_with(choice.network, choice.text, change)


@live_panel
def live_mask(page: Page, choice: Choice, shown: Shown) -> None:
    """Four figures that follow every control of the mask; a click on the matrix switches a cell."""
    base = choice.trace
    settings, visible = mask_now(page, base.tokens_shown)
    changed = changed_trace(choice, visible, shown.where)
    left, right = st.columns([2, 3], gap="small")
    with left:
        alt = _("Matrix of which key each query may read; hidden pairs are hatched")
        figure = matrix_figure(settings, visible, base)
        live_figure(figure, f"{page.name}_matrix", alt, lambda click: switch(page, click))
    with right:
        title = _("Layer {layer}, head {head}").format(layer=shown.layer, head=shown.head)
        alt = f"{title}, {stage_label(shown.stage)}: " + _("before and after")
        # two heatmaps in one: drawn less often, they leave the matrix the time to follow every event
        live_figure(head_figure(base, changed, shown), f"{page.name}_maps", alt, rest=50)
    left, right = st.columns([2, 3], gap="small")
    is_causal = facts(choice.network).entry.kind == "causal"
    with left:
        if is_causal:
            next_token(page, choice, base, changed)
        else:
            st.info(_("This network is an encoder: it reads, and does not say what comes next."))
    with right:
        figure = (loss_figure if is_causal else moved_figure)(base, changed)
        alt = _("Effect of the mask on each token")
        live_figure(figure, f"{page.name}_effect", alt, rest=150)


def switch(page: Page, click: dict) -> None:
    """Turn the clicked pair over; a hundred and more are refused by the panel in a sentence."""
    query, key = (int(click[axis].split(" ", 1)[0]) for axis in ("y", "x"))
    state, name = st.session_state, f"{page.name}_cells"
    try:
        cells = switched(parse_cells(state[name]), (query, key))
    except InputError as error:
        state[f"{page.name}_refused"] = error
    else:
        state[name] = write_cells(cells)
        state[f"{page.name}_query"], state[f"{page.name}_key"] = query, key
    st.rerun(SETTLED)


def matrix_figure(settings: MaskSettings, visible: torch.Tensor, base: Trace) -> go.Figure:
    """The matrix with a line below it that says how much of it is visible."""
    empty = empty_rows(visible).tolist()
    title = _("{visible} of {all} pairs visible").format(
        visible=f"{int(visible.sum()):,}", all=f"{visible.numel():,}"
    )
    if empty:
        title += " · " + _("{count} rows see nothing (∅)").format(count=len(empty))
    cells = settings.cells_inside(base.tokens_shown)
    return mask_matrix(visible.numpy(), base.labels, switched=cells, empty=empty, title=title)


def head_figure(base: Trace, changed: Trace, shown: Shown) -> go.Figure:
    """One stage of the head. Colour limits come from the network as it is, so that they stay."""
    before, after = (head_stage(trace, shown.layer, shown.head, shown.stage) for trace in (base, changed))
    signed = shown.stage != "softmax"
    top = float(base.layers[shown.layer].scaled[shown.head].abs().max()) if signed else WEIGHT_TOP
    return before_and_after(
        before.numpy(),
        after.numpy(),
        base.labels,
        value_title=stage_label(shown.stage),
        limits=(-top if signed else 0.0, top),
        diverging=signed,
    )


def loss_figure(base: Trace, changed: Trace) -> go.Figure:
    """The loss on each following token; the axis stays while the mask changes."""
    losses = [loss_by_position(_logits(trace), trace.token_ids).numpy() for trace in (base, changed)]
    guessing = math.log(_logits(base).shape[1])  # the loss of an even guess over the vocabulary
    return by_token(
        {
            _with_mean(name, loss): loss
            for name, loss in zip((_("the network as it is"), _("with your mask")), losses, strict=True)
        },
        base.labels,
        y_title=_("Next-token loss (nats)"),
        y_range=(0, 1.1 * max(float(losses[0].max()), guessing)),
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
    )
