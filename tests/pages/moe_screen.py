"""The mixture-of-experts page for its tests: its constants, opened by address."""

from streamlit.testing.v1 import AppTest

from tests.pages.screen import controls, open_page

VIEWS = {
    "route": {"moe_tiles", "moe_gate", "moe_load"},
    "specialise": {"moe_special", "moe_pairs"},
    "duel": {"moe_duel", "moe_violations"},
    "train": {"moe_load_time", "moe_violation_time", "moe_loss_time"},
    "capacity": {"moe_dropped", "moe_places"},
    "groups": {"moe_grid", "moe_together", "moe_measures"},
    "loss": {"moe_dragged", "moe_values", "moe_layers", "moe_pooled"},
    "sizes": {"moe_parameters", "moe_flops"},
}
TEXT = "The keeper lit the lamp, and 12+30=42."


CONTROLS = controls("moe")
DEFAULTS = {key: control.default for key, control in CONTROLS.items()}


def moe(**query: str | list[str]) -> AppTest:
    """The page with a short text, opened by address; names without their prefix."""
    return open_page("moe", **{f"moe_{key}": value for key, value in {"text": TEXT, **query}.items()})
