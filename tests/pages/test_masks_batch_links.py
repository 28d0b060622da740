"""The masks page's links on batches: scenes and answers set what they name and show it."""

import pytest

from components.catalogue import lesson
from components.controls import parse_link
from components.lesson import Link
from components.words import LANGUAGES
from tests.pages.masks_batch_screen import DEFAULTS, VIEWS
from tests.pages.screen import figures, open_page, said

# Scenes, questions and claims


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    assert not screen.exception, link
    assert said(screen) == [], link
    values = parse_link(link.query, DEFAULTS)
    for name, value in values.items():
        assert screen.session_state[name] == value, (link, name)
    assert set(figures(screen)) == VIEWS[values.get("masks_view", DEFAULTS["masks_view"])], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names(language):
    screen = open_page("masks", lang=language)
    for number, link in enumerate(lesson("masks", language).scenes):
        screen.pills(key="masks_scene").set_value(number).run()
        check_link(screen, link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    screen = open_page("masks")
    screen.session_state["masks_asked"] = kind
    for item in getattr(lesson("masks", "en"), kind):
        screen.session_state[f"masks_{kind}"] = item.identifier
        screen.run()
        assert any(item.text in text.value for text in screen.markdown), item.identifier
        for number, link in enumerate(item.links):
            screen.button(key=f"masks_{item.identifier}_{number}").click().run()
            check_link(screen, link)
