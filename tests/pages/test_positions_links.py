"""The positions page: its snippets repeat it, and its scenes, questions and claims set what they name."""

import re

import numpy as np
import pytest

from components.control_kinds import Slider, of
from components.lesson import Link
from components.settings import opening, query_texts
from components.words import LANGUAGES
from models.errors import InputError
from tests.pages.positions_screen import CLASSES, CONTROLS, VIEWS, figures_of, pair_values, positions
from tests.pages.screen import (
    all_links,
    figures,
    follow_answers,
    follow_scenes,
    follows,
    live,
    open_page,
    run_snippet,
    said,
)
from tests.pages.screen import files as files_of


def test_the_snippet_of_the_microscope_repeats_the_bars():
    screen = positions(query="9", key="3", layer="2", head="1", moved="7", offset="100")
    names, printed = run_snippet(screen)
    bars = pair_values(screen)
    np.testing.assert_array_equal(names["scores"].pairs[0, 0].numpy(), bars)
    assert str(names["scores"].total.item()) in printed


@pytest.mark.parametrize("query", [{"width": "32", "base": "500.0"}, {"source": "learned"}])
def test_the_snippet_of_the_vectors_repeats_the_matrix(query):
    screen = positions(view="encode", length="40", position="7", **query)
    names, printed = run_snippet(screen)
    shown = figures(screen)["positions_matrix"]["data"][0]["z"]
    table = names["table"].numpy()
    scale = table.flat[5] / shown.flat[5]
    np.testing.assert_allclose(shown * scale, table, rtol=1e-4, atol=1e-5)
    assert str(names["table"]) in printed


def test_the_snippet_of_the_distances_repeats_two_curves():
    screen = positions(view="decay", base="200.0", farthest="50", layer="2", head="4")
    names, _printed = run_snippet(screen)
    curves = figures(screen)["positions_decay"]["data"]
    np.testing.assert_array_equal(names["in_phase"](names["distances"], names["frequency"]), curves[0]["y"])
    mean = names["mean_cosine_at_distances"](
        names["query"], names["key"], names["visible"], names["distances"], names["frequency"], "half"
    )
    np.testing.assert_allclose(mean, curves[3]["y"], atol=1e-6)


@pytest.mark.parametrize("swap", ["none", "both", "key"])
def test_the_snippet_of_the_layouts_repeats_the_right_map(swap):
    screen = positions(view="layout", swap=swap, layer="2", head="1")
    names, _printed = run_snippet(screen)
    shown = figures(screen)["positions_swapped"]["data"][0]["z"]
    lower = np.tril_indices_from(shown)
    np.testing.assert_array_equal(names["scores"].numpy()[lower], shown[lower])


def test_the_snippet_of_the_comparison_repeats_the_profiles():
    screen = positions(view="compare", base="300.0", strength="0.5", head="2")
    names, _printed = run_snippet(screen)
    curves = figures(screen)["positions_profiles"]["data"]
    assert len(curves) == 6
    for result, curve in zip(names["found"].values(), curves, strict=True):
        np.testing.assert_allclose(result.profile.numpy(), curve["y"], atol=1e-5)


@pytest.mark.parametrize("case", range(4))
def test_the_snippet_of_the_shuffle_repeats_its_curve(case):
    name = ("both", "positions", "mask", "nothing")[case]
    screen = positions(view="shuffle", case=name, seed="4")
    printed = run_snippet(screen)[1]
    curve = figures(screen)["positions_change"]["data"][case]["y"]
    numbers = [float(number) for number in re.findall(r"\d\.\d+(?:e[-+]\d+)?", printed)]
    np.testing.assert_allclose(np.maximum(numbers, 1e-8), curve, rtol=5e-3)  # printed with four digits


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_taken_along(view):
    screen = positions(view=view)
    name = f"positions_{view}"
    assert files_of(screen) == {f"{name}_csv", f"{name}_html"}
    assert "positions_link" in live(screen)
    assert len(screen.code) == 1


def test_what_is_on_screen_is_written_into_the_address_and_opens_again():
    screen = positions(layer="2", head="3", query="4", key="2", pair="6")
    written = {k: v for k, v in live(screen)["positions_history"]["parameters"].items() if v is not None}
    again = open_page("positions", **written)
    for key in VIEWS["rotate"]:
        assert figures(again)[key]["layout"] == figures(screen)[key]["layout"]


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    if "positions_length=513" in link.query:  # shows that a table has an end
        assert len(set(said(screen))) == 1
        return
    follows("positions", link, screen)
    assert set(figures(screen)) == figures_of(query_texts(link.query)), link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("positions", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("positions", kind, check_link)


@pytest.mark.parametrize("link", all_links("positions"), ids=lambda link: link.label)
def test_every_link_of_the_lessons_opens_without_a_refusal(link):
    asked = query_texts(link.query)
    values = {key: CONTROLS[key].parse(text) for key, text in asked.items() if key != "positions_view"}
    cls = {cls.name: cls for cls in CLASSES}[asked.get("positions_view", opening(CLASSES).name)]
    view = cls.from_query(link.query)
    assert view.trouble is None
    fields = {key: name for name, key in cls.keys().items()}
    for key, value in values.items():
        assert str(getattr(view, fields[key])).removesuffix(".0") == str(value).removesuffix(".0"), key
    if asked.get("positions_length") == "513":  # shows that a table has an end
        with pytest.raises(InputError, match="learned table"):
            view.stage()
        return
    assert {f"positions_{plot.name}" for plot in view.stage().plots} == figures_of(asked)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_stage_is_made_outside_of_any_session_and_live_sliders_move_it(cls):
    view = cls.at()
    shown = [plot.drawn.text for plot in view.stage().plots]
    assert shown == [plot.drawn.text for plot in view.stage().plots]
    for name, control in cls.controls().items():
        if isinstance(control, Slider) and control.live:
            moved = [view.with_(**{name: of(end, view)}) for end in (control.low, control.high)]
            assert any([plot.drawn.text for plot in at.stage().plots] != shown for at in moved), name
