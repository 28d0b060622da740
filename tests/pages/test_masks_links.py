"""The masks page: bad input gets a sentence, snippets repeat the numbers, links show what they name."""

import numpy as np
import pytest

from components.catalogue import lesson
from components.controls import parse_link
from components.lesson import Link
from components.words import LANGUAGES
from models.masks.settings import MOST_CELLS
from tests.pages.masks_screen import ALL_VIEWS, DEFAULTS, KEPT, TEXT, VIEWS, maps, masks, matrix
from tests.pages.screen import (
    captions,
    figures,
    follow_answers,
    follow_scenes,
    live,
    open_page,
    said,
)

# Bad input


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("twelve", "such as 12, 30"),
        ("1.5", "such as 12, 30"),
        ("-4", "such as 12, 30"),
        ("9, 4", "9, 4 do not rise"),
        ("5 5", "5, 5 do not rise"),
        ("0", "0 do not rise"),
    ],
)
@pytest.mark.parametrize("view", ["lab", "hiding", "cost", "code"])
def test_starts_that_make_no_documents_get_one_sentence_and_stay(view, typed, sentence):
    screen = masks(view=view)
    screen.text_input(key="masks_starts_widget").set_value(typed).run()
    assert not screen.exception
    (refusal,) = said(screen)
    assert sentence in refusal
    assert screen.text_input(key="masks_starts_widget").value == typed
    screen.text_input(key="masks_starts_widget").set_value("4").run()
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[view]


@pytest.mark.parametrize("cells", ["x", "3", "1.2.3", "-1.2", "1.2;3.4", "9" * 40 + ".1"])
def test_cells_in_a_link_that_cannot_be_read_get_a_sentence_and_can_be_undone(cells):
    screen = masks(cells=cells)
    assert not screen.exception
    (refusal,) = said(screen)
    assert "such as 3.5,7.2" in refusal
    screen.button(key="masks_undo").click().run()
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS["lab"]


def test_too_many_cells_in_a_link_get_a_sentence():
    many = ",".join(f"{row}.{column}" for row in range(13) for column in range(8))
    screen = masks(cells=many)
    assert str(MOST_CELLS) in said(screen)[0]


@pytest.mark.parametrize(
    "query",
    [
        {"window": "0", "pattern": "window"},
        {"window": "-5", "sinks": "1e9", "pattern": "lambda"},
        {"window": "nan", "step": "inf", "pattern": "dilated"},
        {"prefix": "100000", "base": "prefix", "pattern": "all"},
        {"sinks": "100000", "pattern": "lambda"},
        {"block": "0", "pattern": "blocks"},
        {"padded": "100000", "side": "right", "pattern": "all"},
        {"base": "nobody", "pattern": "none", "side": "up", "counts": "perhaps"},
        {"layer": "99", "head": "-3", "stage": "raw", "where": "77"},
        {"view": "cost", "length": "1e12", "kernel": "7"},
        {"view": "order", "seed": "-1"},
        {"view": "code", "library": "jax"},
        {"view": "hiding", "query": "9999"},
    ],
    ids=str,
)
def test_numbers_out_of_range_become_the_nearest_that_mean_something(query):
    screen = masks(**query)
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[query.get("view", "lab")]


@pytest.mark.parametrize("text", ["a", "🙂", "字", "<b>&{x}", "x y"])
@pytest.mark.parametrize("view", VIEWS)
def test_very_short_and_unusual_texts(text, view):
    screen = masks(view=view, text=text)
    assert not screen.exception
    short = "At least four tokens are needed, so that two between the ends can change places."
    assert said(screen) in ([], [short])
    if view != "order":
        assert said(screen) == []


def test_an_empty_text_gets_one_sentence():
    screen = masks()
    screen.text_area[0].set_value(" ").run()
    assert said(screen) == ["The text is empty; type at least one word."]


# Take it with you


def test_what_is_on_screen_is_written_into_the_address_and_opens_again():
    screen = masks(base="prefix", pattern="lambda", layer="2", head="3", cells="4.2", starts="5", where="1")
    screen.session_state["masks_window"] = 4
    screen.run()
    written = {k: v for k, v in live(screen)["page_writer"]["parameters"].items() if v is not None}
    again = open_page("masks", **written, masks_window="4")
    np.testing.assert_array_equal(matrix(again), matrix(screen))
    np.testing.assert_array_equal(maps(again)[1], maps(screen)[1])


# Scenes, questions and claims


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names (as far as the text reaches), and its view is drawn."""
    assert not screen.exception, link
    assert said(screen) == [], link
    values = parse_link(link.query, DEFAULTS)
    for name, value in values.items():
        shown = screen.session_state[name]
        assert shown == value or (name == "masks_padded" and shown < value), (link, name)
    assert set(figures(screen)) == ALL_VIEWS[values.get("masks_view", "lab")], link


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language):
    follow_scenes("masks", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind):
    follow_answers("masks", kind, check_link)


def test_a_scene_keeps_network_and_text_and_puts_the_rest_back():
    screen = masks(base="prefix", cells="3.1", layer="3", starts="4")
    screen.pills(key="masks_scene").set_value(2).run()
    named = parse_link(lesson("masks", "en").scenes[2].query, DEFAULTS)
    for name, default in DEFAULTS.items():
        if name not in KEPT:
            assert screen.session_state[name] == named.get(name, default), name
    assert screen.text_area[0].value == TEXT
    assert not any("nan" in caption.lower() for caption in captions(screen))
