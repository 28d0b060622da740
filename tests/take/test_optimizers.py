"""Every view of the optimizers page: its script, run in an empty folder, prints what the page shows."""

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.screen import figures
from tests.pages.test_optimizers import lines, run_to_the_end
from tests.take.collecting import offered_by
from tests.take.conftest import check

SETTINGS = {
    "paths": (
        {},
        {"surface": "typed", "noise": "1", "schedule": "cosine", "steps": "60", "chosen": "lion,lbfgs"},
        {"surface": "beale", "rates": "tuned", "steps": "60", "chosen": "free_adamw,adafactor"},
    ),
    "basin": ({}, {"steps": "60", "chosen": "sgd,adafactor", "surface": "saddle"}),
    "rotation": ({}, {"chosen": "sgd,adam", "kappa": "10.0"}),
    "first": ({}, {"b2": "0.99", "relative": "1.5", "warm": "3", "seed": "2"}),
    "decay": ({}, {"lambda": "0.5", "seed": "3"}),
    "momentum": ({}, {"curves": "100.0", "beta": "0.9", "alpha": "0.5"}),
    "matrices": ({}, {"rows": "4", "columns": "16", "inputs": "along", "matrix_step": "60"}),
    "training": ({}, {"trained": "muon", "norm": "post", "training_steps": "12", "layers": "3"}),
    "depth": ({}, {"depth": "3", "seed": "2", "depth_rate": "0.01"}),
}
CASES = [(view, setting) for view, settings in SETTINGS.items() for setting in settings]


@pytest.mark.parametrize(("view", "setting"), CASES)
def test_the_script_prints_what_the_page_shows(view, setting, alone, monkeypatch):
    query = {f"optimizers_{name}": value for name, value in setting.items()}
    act = started if "training_steps" in setting else None
    screen, script = offered_by("optimizers", monkeypatch, act, optimizers_view=view, **query)
    check_on_screen(view, screen, script.prints)
    check(script, alone)


def started(screen: AppTest) -> AppTest:
    """A run of the small transformer, to its end."""
    screen.button(key="optimizers_training_start").click().run()
    run_to_the_end(screen, "training")
    return screen


def check_on_screen(view: str, screen: AppTest, prints) -> None:
    """That what is printed is what a figure or a table of the view shows."""
    drawn = {name.removeprefix("optimizers_"): figure for name, figure in figures(screen).items()}
    if view == "paths":
        ends = [(t["x"][-1], t["y"][-1]) for n, t in lines(drawn["contour"]).items() if "η" in n]
        printed = [value.numpy() for name, value in prints.items() if name.endswith("ends at")]
        np.testing.assert_allclose(printed, ends, rtol=1e-5)
    elif view == "basin":
        best = [f"{value:.2g}" for name, value in prints.items() if name.endswith("best rate")]
        assert best == list(screen.dataframe[0].value["Best rate"])
    elif view == "rotation":
        curves = [trace["y"] for trace in lines(drawn["needed"]).values()]
        steps = [value.numpy() for name, value in prints.items() if name.endswith("steps")]
        for curve, needed in zip(curves, steps, strict=False):
            np.testing.assert_array_equal(np.nan_to_num(curve, nan=-1), needed)
    elif view == "first":
        np.testing.assert_array_equal(prints["adam"], screen.dataframe[0].value["Adam"])
    elif view == "decay":
        shown = screen.dataframe[0].value.iloc[0, 1]
        mean, deviation = prints["sgd_l2: mean"][0], prints["sgd_l2: deviation"][0]
        assert shown == f"{mean:.3f} ± {deviation:.3f}"
    elif view == "momentum":
        row = screen.dataframe[0].value.iloc[0]
        assert row["Factor a step"] == f"{max(prints['factors per step']):.4f}"
    elif view == "matrices":
        shown = screen.dataframe[0].value["Last loss"]
        assert [f"{losses[1]:.3g}" for losses in prints.values()] == list(shown)
    elif view == "training":
        (curve,) = (trace["y"] for trace in lines(drawn["training_loss"]).values())
        np.testing.assert_allclose(curve, prints["losses"], rtol=1e-6)
    else:
        curves = [trace["y"] for trace in lines(drawn["four"]).values()]
        np.testing.assert_allclose(curves, list(prints.values())[2:], rtol=1e-6)
