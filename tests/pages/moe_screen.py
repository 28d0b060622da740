"""The mixture-of-experts page for its tests: its constants, opened by address."""

import ast

from streamlit.testing.v1 import AppTest

from tests.pages.screen import ROOT, open_page

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


def constant(name: str) -> object:
    """A constant of the page, read without running it."""
    tree = ast.parse((ROOT / "pages" / "moe.py").read_text(encoding="utf-8"))
    values = {ast.unparse(s.targets[0]): s.value for s in tree.body if isinstance(s, ast.Assign)}
    value = values[name]
    return ast.literal_eval(value.args[0] if isinstance(value, ast.Call) else value)


DEFAULTS, KEPT = constant("DEFAULTS"), constant("KEPT")


def moe(**query: str | list[str]) -> AppTest:
    """The page with a short text, opened by address; names without their prefix."""
    return open_page("moe", **{f"moe_{key}": value for key, value in {"text": TEXT, **query}.items()})
