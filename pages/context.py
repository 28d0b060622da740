"""Long context: what breaks past the trained length, and what each way to scale RoPE does about it."""

from components.old_page import Page
from components.panels.context.config import pasted_config
from components.panels.context.distance import distance
from components.panels.context.frequencies import frequencies
from components.panels.context.loss import loss
from components.panels.context.needle import needle
from components.refusal import refusals
from components.words import _

DEFAULTS = {
    "context_view": "loss",
    "context_method": "yarn",
    "context_factor": 8.0,
    "context_base": 10_000.0,
    "context_width": 32,  # loupe-llama's
    "context_trained": 256,
    "context_pair": -1,
    "context_family": "scaling",
    "context_length": 2_048,
    "context_window": 128,
    "context_layer": 2,
    "context_head": 0,  # loupe-llama's induction head
    "context_passage": "lighthouse",
    "context_metric": "best_of_all",
    "context_trials": 16,
    "context_seed": 0,
    "context_example": "llama-3.1",
    "context_config": "",
    "context_part": "",
    "context_layers": "",
}
KEPT = frozenset({"context_passage", "context_config"})
VIEWS = {
    "loss": loss,
    "frequencies": frequencies,
    "distance": distance,
    "needle": needle,
    "config": pasted_config,
}


def view_label(view: str) -> str:
    return {
        "loss": _("Loss by position"),
        "frequencies": _("Frequencies"),
        "distance": _("One head, far away"),
        "needle": _("Needle in a haystack"),
        "config": _("Your config.json"),
    }[view]


page = Page("context", DEFAULTS, KEPT)
page.head()
view = page.view(VIEWS, view_label)
with refusals():
    VIEWS[view](page)
page.questions()
