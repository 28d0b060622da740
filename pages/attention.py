"""Attention: which earlier tokens each token reads from, in a real network."""

from components.page import Page
from components.panels.attention.depth import depth
from components.panels.attention.find import find_heads
from components.panels.attention.look import look
from components.panels.attention.scale import why_scale
from components.panels.attention.sharing import sharing
from components.panels.attention.softmax import softmax_lab
from components.panels.network.text import choose_text, token_strip
from components.refusal import refusals
from components.words import _

DEFAULTS = {
    "attention_network": "loupe-llama",
    "attention_other": "",
    "attention_passage": "lighthouse",
    "attention_text": "",
    "attention_view": "look",
    "attention_layer": 1,
    "attention_head": 4,  # loupe-llama's previous-token head
    "attention_stage": "softmax",
    "attention_query": -1,
    "attention_key": -1,
    "attention_temperature": 1.0,
    "attention_exponent": 0.5,
    "attention_colour": 1.0,
    "attention_sink": False,
    "attention_silenced": [],
    "attention_source": "text",
    "attention_seed": 0,
    "attention_distance": "best",
    "attention_width": 64.0,
    "attention_logits": "2, 1, 0, -1",
    "attention_shift": 0.0,
    "attention_factor": 1.0,
    "attention_times": 1,
    "attention_heads": 6,
    "attention_key_heads": 2,
}
KEPT = frozenset({"attention_network", "attention_other", "attention_passage", "attention_text"})
VIEWS = ("look", "find", "depth", "scale", "softmax", "sharing")
WITHOUT_NETWORK = {"scale": why_scale, "softmax": softmax_lab}
ON_NETWORK = {"look": look, "find": find_heads, "depth": depth, "sharing": sharing}


def view_label(view: str) -> str:
    return {
        "look": _("Heads at work"),
        "find": _("Head finder"),
        "depth": _("Entropy and rank"),
        "scale": _("Why √d_k"),
        "softmax": _("Softmax itself"),
        "sharing": _("Who reads which key"),
    }[view]


page = Page("attention", DEFAULTS, KEPT)
page.head()
view = page.view(VIEWS, view_label)
with refusals():
    if view in WITHOUT_NETWORK:
        WITHOUT_NETWORK[view](page)
    else:
        choice = choose_text(page)
        token_strip(choice.trace)
        ON_NETWORK[view](page, choice)
page.questions()
