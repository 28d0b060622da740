"""The context page for its tests: opened by address, its long work waited for."""

from streamlit.testing.v1 import AppTest

from components.work import Run
from tests.pages.screen import PATIENCE, controls, open_page, views

VIEWS = {
    "loss": {"context_stretch", "context_losses"},
    "frequencies": {"context_wavelengths", "context_ratios"},
    "distance": {"context_score", "context_map", "context_shares"},
    "needle": {"context_stretch", "context_needles_own", "context_needles_scaled"},
    "config": {"context_config_wavelengths"},
}
CLASSES, CONTROLS = views("context"), controls("context")


def context(**query: str) -> AppTest:
    """The page by its address, names without their prefix, as it is before long work is done."""
    return open_page("context", **{f"context_{key}": value for key, value in query.items()})


def runs(screen: AppTest) -> list[Run]:
    """The page's runs in this session, the present ones last."""
    if "loupe_work" not in screen.session_state:
        return []
    held = screen.session_state["loupe_work"]
    return [run for under_key in held.values() for run in under_key.values()]


def settled(screen: AppTest) -> AppTest:
    """The same page once the runs that it started have finished."""
    for run in runs(screen):
        assert run.wait(PATIENCE)
    return screen.run()


def stopped(screen: AppTest) -> AppTest:
    """The same page with its runs stopped, so that they take no time from other tests."""
    for run in runs(screen):
        run.stop()
    return screen
