"""The context page: its scenes and answers set what they name."""

import numpy as np
import pytest
import torch

from components.catalogue import lesson
from components.controls import parse_link
from components.lesson import Link
from components.words import LANGUAGES
from tests.pages.context_screen import DEFAULTS, KEPT, VIEWS, context, settled, stopped
from tests.pages.screen import figures, follow_answers, follow_scenes, live, offers_python, open_page, said


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_taken_along(view):
    screen = settled(context(view=view, length="512", trials="4"))
    assert {button.key for button in screen.get("download_button")} == {
        f"context_{view}_csv",
        f"context_{view}_html",
    }
    assert f"context_{view}_link" in live(screen)
    assert offers_python(screen)


def test_what_is_on_screen_is_written_into_the_address_and_opens_again():
    screen = context(view="distance", length="512", layer="3", head="2", method="ntk", passage="orchard")
    written = {k: v for k, v in live(screen)["page_writer"]["parameters"].items() if v is not None}
    again = open_page("context", **written)
    np.testing.assert_array_equal(*(figures(s)["context_map"]["data"][0]["z"] for s in (screen, again)))


# Scenes, questions and claims


@pytest.fixture
def quick(monkeypatch):
    """Long work of no length: what is linked is tested here, what is measured elsewhere."""
    monkeypatch.setattr("components.panels.context.loss.passage_loss", lambda *_way: torch.zeros(2_047))
    monkeypatch.setattr("components.panels.context.needle.measured", lambda *_asked: iter(()))
    monkeypatch.setattr("components.panels.context.needle.finish", lambda *_all: None)
    monkeypatch.setattr("components.panels.context.loss.finish", lambda *_all: None)


def check_link(screen, link: Link) -> None:
    """The link was followed: it set what it names, and the view that it names is drawn."""
    assert not screen.exception, link
    assert said(screen) == [], link
    values = parse_link(link.query, DEFAULTS)
    for name, value in values.items():
        assert screen.session_state[name] == value, (link, name)
    view = values.get("context_view", "loss")
    assert set(figures(screen)) >= VIEWS[view] - {"context_needles_scaled"}, link
    stopped(screen)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_scene_sets_what_it_names_and_can_be_played_again(language, quick):
    follow_scenes("context", language, check_link)


@pytest.mark.parametrize("kind", ["questions", "claims"])
def test_every_answer_is_shown_and_its_buttons_demonstrate_it(kind, quick):
    follow_answers("context", kind, check_link)


def test_a_scene_puts_back_what_it_does_not_name_and_keeps_the_passage(quick):
    screen = context(view="frequencies", method="ntk", factor="3", passage="ferry", layer="3")
    screen.pills(key="context_scene").set_value(3).run()
    named = parse_link(lesson("context", "en").scenes[3].query, DEFAULTS)
    for name, default in DEFAULTS.items():
        if name in screen.session_state and name not in KEPT:
            assert screen.session_state[name] == named.get(name, default), name
