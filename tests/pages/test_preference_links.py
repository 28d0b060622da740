"""The preference page: its scenes and answers set what they name."""

import pytest
from components.old_controls import parse_link

from components.catalogue import lesson
from components.lesson import Link
from components.words import LANGUAGES
from tests.pages.preference_screen import DEFAULTS, VIEWS, preference
from tests.pages.screen import figures, follow_answers, follow_scenes, said

KEPT = ("preference_network", "preference_other")


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    assert not screen.exception, link
    assert said(screen) == [], link
    values = parse_link(link.query, DEFAULTS)
    for name, value in values.items():
        assert screen.session_state[name] == value, (link, name)
    assert set(figures(screen)) == VIEWS[values.get("preference_view", "calculator")], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("preference", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("preference", kind, check_link)


def test_a_scene_puts_back_what_it_does_not_name_and_keeps_the_network():
    screen = preference(loss="ipo", beta="1", pairs="-1,-2,-1,-2,1,1", row="3", ipo="sum")
    screen.pills(key="preference_scene").set_value(6).run()
    named = parse_link(lesson("preference", "en").scenes[6].query, DEFAULTS)
    for name, default in DEFAULTS.items():
        if name not in KEPT:
            assert screen.session_state[name] == named.get(name, default), name
