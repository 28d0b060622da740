"""Masks: which token may read which, and what a real network makes of another answer."""

from components.page import Page
from components.panels.masks.code import code
from components.panels.masks.cost import cost
from components.panels.masks.hiding import hiding
from components.panels.masks.lab import lab
from components.panels.masks.order import order
from components.panels.masks.packing import packing
from components.panels.masks.padding import padding
from components.panels.masks.stream import stream
from components.panels.network.text import Choice, choose_network, choose_text, token_strip
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
    "masks_pad_side": "left",
    "masks_pad_first": "The keeper of the light stood at the window and looked out over the sea.",
    "masks_pad_second": "Where is the boat?",
    "masks_pad_no_mask": False,
    "masks_pad_no_positions": False,
    "masks_pad_last_column": False,
    "masks_pad_prompt": 1,
    "masks_pack_text": (
        "What did the keeper say? => He said nothing at all.\n"
        "Where is the boat? => It lies under the bridge, where the river turns to the sea.\n"
        '"Who rang the bell?" asked the boy. => "Nobody," said his mother.'
    ),
    "masks_pack_no_block": False,
    "masks_pack_no_restart": False,
    "masks_pack_no_ignore": False,
    "masks_pack_average": "tokens",
    "masks_stream_source": "passage",
    "masks_stream_tokens": 768.0,
    "masks_stream_window": 16.0,
    "masks_stream_sinks": 4.0,
    "masks_stream_positions": "text",
    "masks_stream_prefill": 640.0,
}
KEPT = frozenset({"masks_network", "masks_other", "masks_passage", "masks_text"})
VIEWS = ("lab", "padding", "packing", "stream", "hiding", "order", "cost", "code")
OWN_TEXTS = {"padding": padding, "packing": packing}  # these have texts of their own
ON_TEXT = {"lab": lab, "stream": stream, "hiding": hiding, "order": order, "cost": cost, "code": code}


def view_label(view: str) -> str:
    return {
        "lab": _("Mask lab"),
        "hiding": _("How to hide"),
        "order": _("Order"),
        "cost": _("What it costs"),
        "code": _("Code"),
        "padding": _("Padding a batch"),
        "packing": _("Packing a row"),
        "stream": _("Streaming a long text"),
    }[view]


page = Page("masks", DEFAULTS, KEPT)
page.head()
view = page.view(VIEWS, view_label)
with refusals():
    if view in OWN_TEXTS:
        OWN_TEXTS[view](page, Choice(choose_network(page), ""))
    else:
        choice = choose_text(page)
        if view != "stream":  # which shows the whole passage
            token_strip(choice.trace)
        ON_TEXT[view](page, choice)
page.questions()
