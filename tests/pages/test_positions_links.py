"""The positions page: its scenes, questions and claims set what they name."""

import pytest

from components.catalogue import lesson
from components.controls import parse_link
from components.lesson import Link
from components.words import LANGUAGES
from tests.pages.positions_screen import DEFAULTS, VIEWS, figures_of, positions
from tests.pages.screen import figures, follow_answers, live, offers_python, open_page, said


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_taken_along(view):
    screen = positions(view=view)
    name = f"positions_{view}"
    assert {button.key for button in screen.get("download_button")} == {f"{name}_csv", f"{name}_html"}
    assert f"{name}_link" in live(screen)
    assert offers_python(screen)


def test_what_is_on_screen_is_written_into_the_address_and_opens_again():
    screen = positions(layer="2", head="3", query="4", key="2", pair="6")
    written = {k: v for k, v in live(screen)["page_writer"]["parameters"].items() if v is not None}
    again = open_page("positions", **written)
    for key in VIEWS["rotate"]:
        assert figures(again)[key]["layout"] == figures(screen)[key]["layout"]


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    assert not screen.exception, link
    values = parse_link(link.query, DEFAULTS)
    for name, value in values.items():
        assert screen.session_state[name] == value, (link, name)
    if values.get("positions_length") == 513:  # shows that a table has an end
        assert len(set(said(screen))) == 1
        return
    assert said(screen) == [], link
    assert set(figures(screen)) == figures_of(values), link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    screen = open_page("positions", lang=language)
    scenes = lesson("positions", language).scenes
    for number, link in [*enumerate(scenes), (0, scenes[0]), (0, scenes[0])]:
        screen.pills(key="positions_scene").set_value(number).run()
        check_link(screen, link)
        assert screen.pills(key="positions_scene").value is None


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("positions", kind, check_link)
