"""The preference page: its scenes and answers set what they name."""

import pytest

from components.catalogue import lesson
from components.lesson import Link
from components.words import LANGUAGES
from tests.pages.preference_screen import CONTROLS, VIEWS, preference
from tests.pages.screen import figures, follow_answers, follow_scenes, follows


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    follows("preference", link, screen)
    assert set(figures(screen)) == VIEWS[screen.session_state["preference_view"]], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("preference", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("preference", kind, check_link)


def test_a_scene_puts_back_what_it_does_not_name_and_keeps_the_network():
    screen = preference(loss="ipo", beta="1", pairs="-1,-2,-1,-2,1,1", row="3", ipo="sum")
    screen.button(key="preference_scene_6").click().run()
    named = follows("preference", lesson("preference", "en").scenes[6], screen)
    for key, control in CONTROLS.items():
        if not control.kept and key not in named:
            assert key not in screen.session_state, key  # it follows its default again
