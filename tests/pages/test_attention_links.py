"""The attention page: its links repeat it, and its scenes and answers set what they name."""

import numpy as np
import pytest

from components.catalogue import lesson
from components.controls import parse_link
from components.lesson import Link
from components.words import LANGUAGES
from tests.pages.attention_screen import DEFAULTS, KEPT, TEXT, VIEWS, attention, heatmap
from tests.pages.screen import figures, follow_answers, live, offers_python, open_page, said

# Take it with you


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_taken_along(view):
    screen = attention(view=view)
    name = "attention" if view == "look" else f"attention_{view}"
    files = {f"{name}_csv", f"{name}_html"} - ({f"{name}_html"} if view == "find" else set())
    assert {button.key for button in screen.get("download_button")} == files
    assert f"{name}_link" in live(screen)
    assert offers_python(screen)


def test_what_is_on_screen_is_written_into_the_address_and_opens_again():
    screen = attention(layer="2", head="3", stage="raw", query="4", key="2")
    screen.session_state["attention_temperature"] = 0.5
    screen.run()
    written = {k: v for k, v in live(screen)["page_writer"]["parameters"].items() if v is not None}
    assert written["attention_text"] == TEXT
    again = open_page("attention", **written, attention_temperature="0.5")
    np.testing.assert_array_equal(heatmap(again), heatmap(screen))


# Scenes, questions and claims


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    assert not screen.exception, link
    assert said(screen) == [], link
    values = parse_link(link.query, DEFAULTS)
    for name, value in values.items():
        assert screen.session_state[name] == value, (link, name)
    assert set(figures(screen)) == VIEWS[values.get("attention_view", "look")], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    screen = open_page("attention", lang=language)
    scenes = lesson("attention", language).scenes
    for number, link in [*enumerate(scenes), (0, scenes[0]), (0, scenes[0])]:
        screen.pills(key="attention_scene").set_value(number).run()
        check_link(screen, link)
        assert screen.pills(key="attention_scene").value is None


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("attention", kind, check_link)


def test_a_scene_puts_back_what_it_does_not_name_and_keeps_network_and_text():
    screen = attention(temperature="3", layer="2", silenced=["0.0"], sink="true", stage="raw")
    screen.pills(key="attention_scene").set_value(4).run()
    named = parse_link(lesson("attention", "en").scenes[4].query, DEFAULTS)
    for name, default in DEFAULTS.items():
        if name not in KEPT:
            assert screen.session_state[name] == named.get(name, default), name
    assert screen.text_area[0].value == TEXT
