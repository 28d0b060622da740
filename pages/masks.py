"""Masks: which token may read which, and what a real network makes of another answer."""

from components.controls import choose
from components.page import Page
from components.panels.masks.code import code
from components.panels.masks.cost import cost
from components.panels.masks.hiding import hiding
from components.panels.masks.lab import lab
from components.panels.masks.order import order
from components.panels.text import choose_text, token_strip
from components.refusal import refusals
from components.words import _

DEFAULTS = {
    "masks_network": "loupe-llama",
    "masks_other": "",
    "masks_passage": "lighthouse",
    "masks_text": "",
    "masks_view": "lab",
    "masks_base": "causal",
    "masks_pattern": "window",
    "masks_prefix": 12,
    "masks_window": 12,
    "masks_counts": "itself",
    "masks_sinks": 1,
    "masks_step": 2,
    "masks_block": 8,
    "masks_side": "none",
    "masks_padded": 4,
    "masks_starts": "",
    "masks_cells": "",
    "masks_layer": 1,
    "masks_head": 2,  # rests on the first token in loupe-llama
    "masks_stage": "softmax",
    "masks_where": -1,
    "masks_query": -1,
    "masks_key": -1,
    "masks_length": 256,
    "masks_kernel": 16,
    "masks_library": "transformers",
    "masks_seed": 0,
}
KEPT = frozenset({"masks_network", "masks_other", "masks_passage", "masks_text"})
ON_NETWORK = {"lab": lab, "hiding": hiding, "order": order, "cost": cost, "code": code}
VIEWS = tuple(ON_NETWORK)


def view_label(view: str) -> str:
    return {
        "lab": _("Mask lab"),
        "hiding": _("How to hide"),
        "order": _("Order"),
        "cost": _("What it costs"),
        "code": _("Code"),
    }[view]


page = Page("masks", DEFAULTS, KEPT)
page.head()
view = choose(
    _("View"),
    VIEWS,
    "masks_view",
    view_label,
    default="lab",
    style="segments",
    label_visibility="collapsed",
    width="stretch",
)
with refusals():
    choice = choose_text(page)
    token_strip(choice.trace)
    ON_NETWORK[view](page, choice)
page.questions()
