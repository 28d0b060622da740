"""The mask lab: set a mask, see it, and see what a real network makes of it."""

import streamlit as st

from components.controls import choose
from components.page import Page
from components.panels import panel
from components.panels.masks.controls import mask_controls, settings_now
from components.panels.masks.details import mask_details
from components.panels.masks.live_mask import ALL_LAYERS, LIVE, SETTLED, Shown, live_mask, stage_label
from components.panels.network.text import Choice
from components.refusal import sentence
from components.words import _
from models.masks.effects import MASK_STAGES


@panel
def lab(page: Page, choice: Choice) -> None:
    """Controls of the mask, of the head that is shown, the live figures, and the arithmetic below."""
    base = choice.trace
    mask_controls(page, base.tokens_shown, LIVE, SETTLED)
    shown = choose_head(page, choice)
    if (refused := st.session_state.pop(f"{page.name}_refused", None)) is not None:
        st.warning(sentence(refused), icon=":material/info:")
    settings_now(page)  # what cannot be read is refused here, once for all that follows
    live_mask(page, choice, shown)
    page.note("lab")
    mask_details(page, choice, shown)


def where_label(layer: int) -> str:
    return _("all layers") if layer == ALL_LAYERS else _("layer {layer} only").format(layer=layer)


def choose_head(page: Page, choice: Choice) -> Shown:
    """Layer, head and stage; where the mask acts; and the button that undoes all clicks."""
    base, name = choice.trace, page.name
    layers, heads = len(base.layers), len(base.layers[0].query)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layer = choose(
            _("Layer"), range(layers), f"{name}_layer", str, default=page.default("layer"), width=90
        )
        head = choose(_("Head"), range(heads), f"{name}_head", str, default=page.default("head"), width=90)
        stage = choose(
            _("Stage"), MASK_STAGES, f"{name}_stage", stage_label, default="softmax", style="segments"
        )
        where = choose(
            _("The mask acts in"),
            [ALL_LAYERS, *range(layers)],
            f"{name}_where",
            where_label,
            default=ALL_LAYERS,
            width=150,
        )
        st.button(
            _("Undo all clicks"),
            key=f"{name}_undo",
            icon=":material/undo:",
            on_click=lambda: st.session_state.update({f"{name}_cells": ""}),
            help=_("A click on the matrix switches that pair: hidden becomes visible, visible hidden."),
        )
    return Shown(layer, head, stage, where)
