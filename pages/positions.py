"""Positions: how a network knows which token stands where, on real queries and keys."""

from components.page import Page
from components.panels.network.text import choose_text, token_strip
from components.panels.positions.compare import compare
from components.panels.positions.decay import decay
from components.panels.positions.encode import encode
from components.panels.positions.layout import layout
from components.panels.positions.rotate import rotate
from components.panels.positions.shuffle import shuffle
from components.refusal import refusals
from components.words import _

DEFAULTS = {
    "positions_network": "loupe-llama",
    "positions_other": "",
    "positions_passage": "lighthouse",
    "positions_text": "",
    "positions_view": "rotate",
    "positions_layer": 1,
    "positions_head": 4,  # loupe-llama's previous-token head
    "positions_query": 10,
    "positions_key": -1,
    "positions_pair": 4,
    "positions_moved": 0.0,
    "positions_offset": 0.0,
    "positions_source": "sinusoidal",
    "positions_table": "all-MiniLM-L6-v2",
    "positions_width": 64,
    "positions_base": 10_000.0,
    "positions_length": 256.0,
    "positions_position": 64.0,
    "positions_farthest": 256.0,
    "positions_strength": 1.0,
    "positions_swap": "both",
    "positions_case": "nothing",
    "positions_seed": 0,
}
KEPT = frozenset({"positions_network", "positions_other", "positions_passage", "positions_text"})
VIEWS = ("shuffle", "encode", "rotate", "decay", "layout", "compare")
ON_NETWORK = {"shuffle": shuffle, "rotate": rotate, "decay": decay, "layout": layout, "compare": compare}


def view_label(view: str) -> str:
    return {
        "shuffle": _("Why positions"),
        "encode": _("Added vectors"),
        "rotate": _("Rotary microscope"),
        "decay": _("Score and distance"),
        "layout": _("Layout confusion"),
        "compare": _("All encodings"),
    }[view]


page = Page("positions", DEFAULTS, KEPT)
page.head()
view = page.view(VIEWS, view_label)
with refusals():
    if view == "encode":
        encode(page)
    else:
        choice = choose_text(page)
        token_strip(choice.trace)
        ON_NETWORK[view](page, choice)
page.questions()
