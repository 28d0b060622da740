"""Controls in a session: from the address once, through widgets and links, and back as values."""

import pytest
from streamlit.testing.v1 import AppTest

from components import controls
from components.controls import apply_link
from tests.components.lab import VIEWS
from tests.pages.screen import live


def page_with_controls():
    import streamlit as st

    from components import controls
    from tests.components.lab import VIEWS, Bars

    controls.read_address("lab", VIEWS)
    view = controls.now(Bars)
    controls.draw_rail(view)
    st.session_state["seen"] = view
    if st.session_state.pop("apply", None):
        controls.apply_link(st.session_state["link"], VIEWS)
    if st.session_state.pop("put", None):
        controls.put(view.with_(place=4, width=2.0))


def opened(**query):
    screen = AppTest.from_function(page_with_controls, default_timeout=60)
    for key, value in query.items():
        screen.query_params[f"lab_{key}"] = value
    screen = screen.run()
    assert not screen.exception
    return screen


def view(screen):
    return screen.session_state["seen"]


def test_the_address_is_read_once():
    screen = opened(width="3.5", kind="two", seed="12", place="2")
    assert (view(screen).width, view(screen).kind, view(screen).seed, view(screen).place) == (
        3.5,
        "two",
        12,
        2,
    )
    screen.query_params["lab_width"] = "9"
    assert view(screen.run()).width == 3.5


@pytest.mark.parametrize("value", ["nan", "1e999", "x" * 1000, "", "-1", "[]", "中文", "99999999999"])
def test_wrong_values_in_the_address_are_clamped_or_the_default(value):
    seen = view(opened(width=value, kind=value, seed=value, later=value, place=value))
    assert 0 <= seen.width <= 10
    assert seen.kind == "bars"
    assert 0 <= seen.seed <= 99
    assert seen.place >= -1


def test_an_unknown_setting_in_a_link_is_counted():
    assert opened(width="3", colour="blue", height="4").session_state["lab_strange"] == 1
    assert opened(width="3").session_state["lab_strange"] == 0


def test_widgets_write_the_session_and_the_view_follows():
    screen = opened()
    screen.number_input(key="lab_seed_widget").set_value(5).run()
    screen.text_input(key="lab_words_widget").set_value("two words").run()
    assert (view(screen.run()).seed, view(screen).words) == (5, "two words")
    assert screen.session_state["lab_seed"] == 5


def test_a_value_beyond_its_bounds_in_the_session_is_put_right():
    screen = opened()
    screen.session_state["lab_width"] = 99.0
    assert view(screen.run()).width == 10.0
    assert screen.session_state["lab_width"] == 10.0


def test_a_link_sets_what_it_names_and_puts_the_rest_back():
    screen = opened(width="3", seed="12")
    screen.session_state["link"] = "lab_later=0.25&lab_kind=two"
    screen.session_state["apply"] = True
    seen = view(screen.run().run())
    assert (seen.later, seen.kind, seen.width, seen.seed) == (0.25, "two", 1.0, 7)


@pytest.mark.parametrize("query", ["lab_depth=1", "lab_width=wide", "lab_view=nowhere", "other_width=1"])
def test_a_link_that_cannot_be_followed_is_an_error(query):
    with pytest.raises(ValueError, match=r"\w"):
        apply_link(query, VIEWS)


def test_a_view_is_put_into_the_session_by_its_differences():
    screen = opened(seed="12")
    screen.session_state["put"] = True
    seen = view(screen.run().run())
    assert (seen.place, seen.width, seen.seed) == (4, 2.0, 12)
    assert "lab_later" not in screen.session_state
    assert screen.session_state["lab_view"] == "bars"


def test_the_rail_shows_sliders_first():
    drawn = [element.key for element in opened().main if getattr(element, "key", None)]
    sliders = [index for index, key in enumerate(drawn) if key.endswith("_slider")]
    others = [index for index, key in enumerate(drawn) if key.endswith("_widget")]
    assert max(sliders) < min(others)


def test_sentences_name_a_control_as_a_person_knows_it():
    from tests.components.lab import Bars

    assert controls.in_words(Bars.at(width=2.5), "width") == "Width: 2.5"


def page_that_puts_back():
    from dataclasses import dataclass

    import streamlit as st

    from components import controls
    from components.settings import View, one_of, slider, text

    @dataclass(frozen=True)
    class Walk(View):
        page, name = "walk", "walk"
        ground: str = one_of(("hill", "valley"), label="Ground", resets=("start",))
        start: str = text("", label="Start", placeholder="click")
        steep: float = slider(
            0, 1.0, 0.5, label="Steep", place="more", shown=lambda view: view.ground == "hill"
        )
        deep: float = slider(0, 1.0, 0.5, label="Deep", place="more", live=lambda view: view.start == "")

    controls.read_address("walk", (Walk,))
    view = controls.now(Walk)
    controls.draw_rail(view)
    st.session_state["seen"] = view


def test_a_control_that_is_moved_by_hand_puts_others_back():
    screen = AppTest.from_function(page_that_puts_back, default_timeout=60)
    screen.query_params["walk_start"] = "1, 1"
    screen.query_params["walk_ground"] = "valley"
    assert view(screen.run()).start == "1, 1"  # a link sets both
    screen.selectbox(key="walk_ground_widget").set_value("hill").run()
    assert (view(screen).ground, view(screen).start) == ("hill", "")


def test_a_control_that_is_not_there_is_neither_drawn_nor_counted():
    screen = AppTest.from_function(page_that_puts_back, default_timeout=60).run()
    assert screen.expander[0].label == "More (2)"
    assert {"walk_steep_slider", "walk_deep_slider"} <= set(live(screen))
    screen.selectbox(key="walk_ground_widget").set_value("valley").run()
    assert screen.expander[0].label == "More (1)"
    assert "walk_steep_slider" not in live(screen)


def test_a_slider_may_follow_the_finger_at_some_settings_only():
    screen = AppTest.from_function(page_that_puts_back, default_timeout=60).run()
    assert not live(screen)["walk_deep_slider"]["waits"]
    screen.text_input(key="walk_start_widget").set_value("2, 2").run()
    assert live(screen)["walk_deep_slider"]["waits"]
    assert live(screen)["walk_deep_slider"]["mark"] == "on release"
