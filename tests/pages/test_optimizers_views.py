"""The optimizers page's views as values: controls, live sliders, and lines that can be told apart."""

import numpy as np
import pytest

from components.control_kinds import Slider, of
from components.settings import View, page_controls
from models.optimizers.trajectories import KINDS
from tests.pages.optimizers_screen import (
    PAGE,
    QUICK,
    VIEWS,
    drawn,
    lines,
    names_at_ends,
    optimizers,
)
from tests.pages.screen import (
    live,
    views,
)

# Views as values


def test_every_control_of_the_page_is_declared_once():
    assert page_controls(views("optimizers"))


@pytest.mark.parametrize("view", [name for name in VIEWS if name not in ("training", "depth")])
def test_a_stage_is_made_outside_of_any_session(view):
    expected = VIEWS[view] - {"parts"}
    assert {plot.name for plot in PAGE[view].at().stage().plots} == expected


def drawn_at(view: View) -> list[str]:
    return [plot.drawn.text for plot in view.stage().plots]


def live_sliders(view: View) -> list[str]:
    """The sliders that are shown, live, and can act."""
    names = []
    for name, control in view.controls().items():
        is_here = control.shown is None or control.shown(view)
        is_off = control.off is not None and control.off(view)
        if isinstance(control, Slider) and of(control.live, view) and is_here and not is_off:
            names.append(name)
    return names


def assert_every_live_slider_acts(view: View) -> None:
    before = drawn_at(view)
    assert live_sliders(view)
    for name in live_sliders(view):
        control = view.controls()[name]
        low, high = of(control.low, view), of(control.high, view)
        places = (low + share * (high - low) for share in (0, 1, 0.02, 0.1, 0.5))
        assert any(drawn_at(view.with_(**{name: place})) != before for place in places), name


@pytest.mark.parametrize("view", ["rotation", "first", "momentum", "matrices", "depth"])
def test_every_live_slider_changes_a_figure(view):
    assert_every_live_slider_acts(PAGE[view].at())


@pytest.mark.parametrize("kind", KINDS)
def test_every_live_slider_of_every_optimizer_changes_its_path(kind):
    assert_every_live_slider_acts(PAGE["paths"].from_query(f"optimizers_chosen={kind}&optimizers_steps=40"))


def test_the_ravine_follows_its_sliders():
    view = PAGE["paths"].from_query("optimizers_chosen=sgd&optimizers_steps=40&optimizers_surface=ravine")
    assert {"condition", "degrees"} <= set(live_sliders(view))
    assert_every_live_slider_acts(view)


def test_views_whose_figures_take_long_wait_for_the_release():
    assert live_sliders(PAGE["basin"].at()) == live_sliders(PAGE["decay"].at()) == []
    assert live_sliders(PAGE["paths"].at(rates="tuned")) == []


def test_a_slider_that_does_nothing_says_why_and_is_disabled():
    screen = optimizers(rates="torch", **QUICK)
    off = {key: data["disabled"] for key, data in live(screen).items() if "disabled" in data}
    assert off["optimizers_adam_rate_slider"]
    assert off["optimizers_adam_beta1_slider"]
    assert not off["optimizers_noise_slider"]
    captions = [caption.value for caption in screen.caption]
    assert "needs learning rates “as set here”" in captions
    assert "needs gradient noise above 0" in captions  # the seed


@pytest.mark.parametrize("view", ["basin", "rotation", "first", "decay", "momentum", "matrices"])
def test_lines_differ_by_dash_and_colour_and_carry_their_names(view):
    screen = optimizers(view=view)
    figure = drawn(screen)[
        {
            "basin": "runs",
            "rotation": "needed",
            "first": "sizes",
            "decay": "decay_0",
            "momentum": "errors",
            "matrices": "values",
        }[view]
    ]
    looks = [(trace["line"]["color"], trace["line"]["dash"]) for trace in lines(figure).values()]
    assert len(looks) >= 3
    assert len(set(looks)) == len({dash for _colour, dash in looks}) == len(looks)
    assert names_at_ends(figure) == set(lines(figure))


def test_an_optimizer_looks_the_same_on_every_figure():
    looks: dict[str, set] = {}
    for view in ("paths", "basin", "rotation", "first", "decay", "matrices"):
        for figure in drawn(optimizers(view=view)).values():
            for name, trace in lines(figure).items():
                looks.setdefault(name.split(" η=")[0], set()).add(
                    (trace["line"]["color"], trace["line"]["dash"])
                )
    for name in ("SGD", "Momentum", "RMSprop", "Adam", "AdamW"):
        assert len(looks[name]) == 1, name


def test_who_does_not_get_there_runs_along_the_top():
    figure = drawn(optimizers(view="rotation", chosen="sgd,rmsprop"))["needed"]
    never = figure["layout"]["yaxis"]
    assert never["ticktext"][-1] == "not<br>within 500"
    band = next(shape for shape in figure["layout"]["shapes"] if shape["type"] == "rect")
    assert 500 < band["y0"] < never["tickvals"][-1] < band["y1"] == never["range"][1]
    rmsprop, sgd = lines(figure)["RMSprop"]["y"], lines(figure)["SGD"]["y"]
    assert np.isfinite(rmsprop).all()
    assert band["y0"] < rmsprop.max() < band["y1"]
    assert sgd.max() <= 500
