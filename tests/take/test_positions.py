"""Every view of the positions page: its script, run in an empty folder, prints what the page shows."""

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.positions_screen import pair_values
from tests.pages.screen import figures
from tests.take.collecting import offered_by
from tests.take.conftest import check

SHORT = "The keeper lit the lamp, and the keeper slept."
SETTINGS = {
    "shuffle": ({}, {"case": "both", "seed": "4", "text": SHORT}, {"case": "mask"}),
    "encode": (
        {},
        {"width": "32", "base": "500.0", "length": "40", "position": "7"},
        {"source": "learned", "length": "40", "position": "7"},
    ),
    "rotate": ({}, {"query": "9", "key": "3", "layer": "2", "head": "1", "moved": "7", "offset": "100"}),
    "decay": ({}, {"base": "200.0", "farthest": "50", "layer": "2", "head": "4"}),
    "layout": ({}, {"swap": "key", "layer": "2", "head": "1"}, {"swap": "none"}),
    "compare": ({}, {"base": "300.0", "strength": "0.5", "head": "2", "text": SHORT}),
}
CASES = [(view, setting) for view, settings in SETTINGS.items() for setting in settings]


@pytest.mark.parametrize(("view", "setting"), CASES)
def test_the_script_prints_what_the_page_shows(view, setting, alone, monkeypatch):
    query = {f"positions_{name}": value for name, value in setting.items()}
    screen, script = offered_by("positions", monkeypatch, positions_view=view, **query)
    check_on_screen(view, setting, screen, script.prints)
    check(script, alone)


def check_on_screen(view: str, setting: dict, screen: AppTest, prints) -> None:
    """That what is printed is what a figure of the view shows."""
    drawn = figures(screen)
    if view == "shuffle":
        case = ("both", "positions", "mask", "nothing").index(setting.get("case", "nothing"))
        curve = drawn["positions_change"]["data"][case]["y"]
        np.testing.assert_allclose(np.maximum(prints, 1e-8), curve, rtol=1e-6)
    elif view == "encode":
        np.testing.assert_array_equal(prints["cosines"], drawn["positions_cosines"]["data"][0]["y"])
    elif view == "rotate":
        np.testing.assert_array_equal(prints["by pair"], pair_values(screen))
    elif view == "decay":
        phase, *_others, real = (curve["y"] for curve in drawn["positions_decay"]["data"])
        np.testing.assert_array_equal(prints["in phase"], phase)
        np.testing.assert_array_equal(prints["this head"], real)
    elif view == "layout":
        np.testing.assert_array_equal(prints["last row"], drawn["positions_swapped"]["data"][0]["z"][-1])
        assert f"{float(prints['mean loss']):.3f}" == screen.metric[1].value
    else:
        curves = [curve["y"] for curve in drawn["positions_profiles"]["data"]]
        assert len(curves) == len(prints) == 6
        for curve, profile in zip(curves, prints.values(), strict=True):
            np.testing.assert_array_equal(profile, curve)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
@pytest.mark.parametrize("view", ["shuffle", "rotate", "decay", "layout", "compare"])
def test_a_network_of_transformers_is_loaded_by_the_script(view, kind, alone, monkeypatch, network_folder):
    query = {
        "positions_network": "other",
        "positions_other": network_folder(kind),
        "positions_case": "both",
    }
    _screen, script = offered_by("positions", monkeypatch, positions_view=view, **query)
    assert "from_pretrained" in script.code
    check(script, alone)
