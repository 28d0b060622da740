"""The context page for its tests: opened by address, its long work waited for."""

import ast

from streamlit.testing.v1 import AppTest

from tests.pages.screen import ROOT, open_page

VIEWS = {
    "loss": {"context_stretch", "context_losses"},
    "frequencies": {"context_wavelengths", "context_ratios"},
    "distance": {"context_score", "context_map", "context_shares"},
    "needle": {"context_stretch", "context_needles_own", "context_needles_scaled"},
    "config": {"context_config_wavelengths"},
}
JOBS = ("context_loss_job", "context_needle_job")
PATIENCE = 240  # seconds, no measure of speed


def constant(name: str) -> object:
    """A constant of the page, read without running it."""
    tree = ast.parse((ROOT / "pages" / "context.py").read_text(encoding="utf-8"))
    values = {ast.unparse(s.targets[0]): s.value for s in tree.body if isinstance(s, ast.Assign)}
    value = values[name]
    return ast.literal_eval(value.args[0] if isinstance(value, ast.Call) else value)


DEFAULTS, KEPT = constant("DEFAULTS"), constant("KEPT")


def context(**query: str) -> AppTest:
    """The page by its address, names without their prefix, as it is before long work is done."""
    return open_page("context", **{f"context_{key}": value for key, value in query.items()})


def settled(screen: AppTest) -> AppTest:
    """The same page once the jobs that it started have finished."""
    for key in JOBS:
        if key in screen.session_state:
            assert screen.session_state[key].wait(PATIENCE)
    return screen.run()


def stopped(screen: AppTest) -> AppTest:
    """The same page with its jobs stopped, so that they take no time from other tests."""
    for key in JOBS:
        if key in screen.session_state:
            screen.session_state[key].stop()
    return screen
