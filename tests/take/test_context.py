"""Every view of the context page: its script, run in an empty folder, prints what the page shows."""

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.context_screen import settled
from tests.pages.screen import figures
from tests.take.collecting import offered_by
from tests.take.conftest import check

SETTINGS = {
    "loss": ({"length": "512"}, {"length": "512", "family": "reach", "method": "lambda", "window": "64"}),
    "frequencies": (
        {},
        {"method": "longrope", "factor": "4", "width": "64"},
        {"method": "llama3"},
        {"method": "truncated"},
    ),
    "distance": ({"length": "512"}, {"length": "512", "layer": "3", "head": "1", "method": "lambda"}),
    "needle": (
        {"length": "512", "trials": "4"},
        {"length": "512", "trials": "4", "method": "ntk", "metric": "probability", "seed": "3"},
    ),
    "config": ({}, {"example": "gemma-3"}, {"example": "deepseek-v3"}),
}
CASES = [(view, setting) for view, settings in SETTINGS.items() for setting in settings]


@pytest.mark.parametrize(("view", "setting"), CASES)
def test_the_script_prints_what_the_page_shows(view, setting, alone, monkeypatch):
    query = {f"context_{name}": value for name, value in setting.items()}
    screen, script = offered_by("context", monkeypatch, settled, context_view=view, **query)
    check_on_screen(view, setting, screen, script.prints)
    check(script, alone)


def check_on_screen(view: str, setting: dict, screen: AppTest, prints) -> None:
    """That what is printed is what a figure or a table of the view shows."""
    drawn = figures(screen)
    if view == "loss":
        method = {"lambda": "Λ: sinks and window"}.get(setting.get("method"), "YaRN")
        row = screen.dataframe[0].value.set_index("method").loc[method]
        assert list(row) == pytest.approx(list(prints.values()), abs=6e-4)
    elif view == "frequencies":
        waves = drawn["context_wavelengths"]["data"][1]["customdata"]
        kept = prints["frequencies"] > 0
        np.testing.assert_allclose(2 * np.pi / prints["frequencies"][kept], waves[kept], rtol=1e-5)
    elif view == "distance":
        np.testing.assert_array_equal(prints["share by distance"], drawn["context_shares"]["data"][-1]["y"])
        assert screen.metric[1].value == f"{prints['on the first token']:.3f}"
    elif view == "needle":
        shares = np.stack([column.numpy() for column in prints.values()], axis=1)
        np.testing.assert_allclose(drawn["context_needles_scaled"]["data"][0]["z"], shares)
    else:
        factors = [f"{value:.4f}" for name, value in prints.items() if "factor" in name]
        assert any(metric.value in factors for metric in screen.metric)
