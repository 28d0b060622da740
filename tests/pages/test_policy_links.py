"""The policy page's scenes and answers set what they name, in both languages, and show it."""

import pytest

from components.lesson import Link
from components.words import LANGUAGES
from tests.pages.policy_screen import VIEWS
from tests.pages.screen import figures, follow_answers, follow_scenes, follows


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    follows("policy", link, screen)
    assert set(figures(screen)) == VIEWS[screen.session_state["policy_view"]], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("policy", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("policy", kind, check_link)
