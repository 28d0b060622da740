"""The context page for its tests: opened by address, its long work waited for."""

from streamlit.testing.v1 import AppTest

from tests.pages.screen import constant, open_page

VIEWS = {
    "loss": {"context_stretch", "context_losses"},
    "frequencies": {"context_wavelengths", "context_ratios"},
    "distance": {"context_score", "context_map", "context_shares"},
    "needle": {"context_stretch", "context_needles_own", "context_needles_scaled"},
    "config": {"context_config_wavelengths"},
}
JOBS = ("context_loss_job", "context_needle_job")
PATIENCE = 240  # seconds, no measure of speed


DEFAULTS, KEPT = constant("context", "DEFAULTS"), constant("context", "KEPT")


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
