"""The quantization page for its tests: opened by address, its views and what each draws."""

import numpy as np
from streamlit.testing.v1 import AppTest

from components.work.runs import QUEUE
from tests.pages.screen import constant, figures, open_page

TEXT = "The keeper lit the lamp, and the keeper slept."
VIEWS = {
    "numbers": {"fields", "line", "ranges", "updates"},
    "matrix": {"levels", "quality", "staircase", "error"},
    "duel": {"duel"},
    "outliers": {"peaks", "methods", "alphas"},
    "cascade": {"modules", "kl", "stream", "loss"},
    "sensitivity": {"map"},
    "gptq": {"pushed", "growing"},
    "budget": {"allocations", "costs"},
    "cache": {"positions", "added"},
}
LIVE = {
    "bits": ("matrix", ("levels", "quality", "staircase", "error"), 6.0),
    "group": ("matrix", ("levels", "quality", "staircase", "error"), 16.0),
    "power": ("numbers", ("fields", "line"), 3.0),
    "step": ("numbers", ("updates",), 0.01),
    "budget": ("duel", ("duel",), 6.0),
    "factor": ("outliers", ("peaks", "methods"), 50.0),
    "threshold": ("outliers", ("peaks", "methods"), 1.0),
    "alpha": ("outliers", ("peaks", "methods"), 0.9),
    "columns": ("gptq", ("pushed", "growing"), 20.0),
}


def drawn(view: str) -> set[str]:
    return {f"quantization_{name}" for name in VIEWS[view]}


DEFAULTS, KEPT = constant("quantization", "DEFAULTS"), constant("quantization", "KEPT")


def quantization(**query: str) -> AppTest:
    """The page with the short text, opened by address; names without their prefix."""
    asked = {"text": TEXT, **query}
    return open_page("quantization", **{f"quantization_{key}": value for key, value in asked.items()})


def trace(screen: AppTest, name: str, number: int = 0) -> dict:
    return figures(screen)[f"quantization_{name}"]["data"][number]


def title(screen: AppTest, name: str) -> str:
    return figures(screen)[f"quantization_{name}"]["layout"]["title"]["text"]


def cells(screen: AppTest, name: str) -> np.ndarray:
    return np.asarray(trace(screen, name)["z"])


def finish(screen: AppTest, run: str) -> None:
    """Start a run and let it come to its end: AppTest reruns whole pages, which pauses what runs."""
    screen.button(key=f"quantization_{run}_start").click().run()
    held = QUEUE.find(f"{screen.session_state['loupe_runner']}:{run}")
    assert held is not None
    held.draw(600)
    assert held.is_done
    screen.run()


def checks(screen: AppTest) -> list[str]:
    return [caption.value for caption in screen.caption if "check_circle" in caption.value]
