"""The context page for its tests: opened by address, its long work waited for."""

from streamlit.testing.v1 import AppTest

from components.work import Run
from tests.pages.screen import PATIENCE, constant, open_page, run_of

VIEWS = {
    "loss": {"context_stretch", "context_losses"},
    "frequencies": {"context_wavelengths", "context_ratios"},
    "distance": {"context_score", "context_map", "context_shares"},
    "needle": {"context_stretch", "context_needles_own", "context_needles_scaled"},
    "config": {"context_config_wavelengths"},
}
RUNS = ("context_loss", "context_needle")


DEFAULTS, KEPT = constant("context", "DEFAULTS"), constant("context", "KEPT")


def context(**query: str) -> AppTest:
    """The page by its address, names without their prefix, as it is before long work is done."""
    return open_page("context", **{f"context_{key}": value for key, value in query.items()})


def settled(screen: AppTest) -> AppTest:
    """The same page once the runs that it started have ended."""
    for run in started(screen):
        assert run.wait(PATIENCE)
    return screen.run()


def stopped(screen: AppTest) -> AppTest:
    """The same page with its runs stopped, so that they take no time from other tests."""
    for run in started(screen):
        run.stop()
    return screen


def started(screen: AppTest) -> list[Run]:
    known = screen.session_state.get("loupe_work", {})
    return [run_of(screen, key) for key in RUNS if key in known]
