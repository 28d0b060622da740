"""Mixture of experts: where tokens go, and what balance costs."""

from components.old_page import Page
from components.panels.moe.capacity import capacity
from components.panels.moe.duel import balancer_duel
from components.panels.moe.groups import node_limited
from components.panels.moe.loss_lab import loss_lab
from components.panels.moe.route import route
from components.panels.moe.sizes import sizes
from components.panels.moe.source import choose_mixture, choose_source
from components.panels.moe.specialise import specialise
from components.panels.moe.training import training
from components.refusal import refusals
from components.words import _

DEFAULTS = {
    "moe_network": "loupe-moe-bias",
    "moe_other": "",
    "moe_passage": "prose",
    "moe_text": "",
    "moe_view": "route",
    "moe_layer": 1,
    "moe_devices": 16,
    "moe_silenced": [],
    "moe_token": 5,
    "moe_least": 10,
    "moe_measured": "samples",
    "moe_further": "",
    "moe_balancing": "sign",
    "moe_frozen": False,
    "moe_alpha": 0.1,
    "moe_gamma": 0.01,
    "moe_push": 0.0,
    "moe_router": "sigmoid",
    "moe_z_weight": 0.0,
    "moe_steps": 800,
    "moe_run_seed": 0,
    "moe_rounding": "floor",
    "moe_order": "position",
    "moe_scope": "sequence",
    "moe_factor": 1.25,
    "moe_seed": 0,
    "moe_experts": 256,
    "moe_groups": 8,
    "moe_chosen": 8,
    "moe_kept": 4.0,
    "moe_skew": 0.3,
    "moe_loss_experts": 8,
    "moe_loss_chosen": 2,
    "moe_loss_layers": 4,
    "moe_share": 0.9,
    "moe_probability": 0.13,
    "moe_collapse": 1.0,
    "moe_published": "DeepSeek-V3",
    "moe_active": 8,
}
KEPT = frozenset({"moe_network", "moe_other", "moe_passage", "moe_text"})
VIEWS = ("route", "specialise", "duel", "train", "capacity", "groups", "loss", "sizes")
ON_SAMPLES = {"specialise": specialise, "capacity": capacity}
WITHOUT_NETWORK = {
    "duel": balancer_duel, "train": training, "groups": node_limited, "loss": loss_lab, "sizes": sizes
}  # fmt: skip


def view_label(view: str) -> str:
    return {
        "route": _("Where tokens go"),
        "specialise": _("Specialists?"),
        "duel": _("Balancer duel"),
        "train": _("Train a layer"),
        "capacity": _("Capacity"),
        "groups": _("Node-limited"),
        "loss": _("The loss, tested"),
        "sizes": _("Sizes"),
    }[view]


page = Page("moe", DEFAULTS, KEPT)
page.head()
view = page.view(VIEWS, view_label)
with refusals():
    if view in WITHOUT_NETWORK:
        WITHOUT_NETWORK[view](page)
    elif view in ON_SAMPLES:
        ON_SAMPLES[view](page, choose_mixture(page))
    else:
        route(page, choose_source(page))
page.questions()
