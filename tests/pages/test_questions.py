"""The page of all questions: it opens in every language, and its filters let through what they say."""

import pytest

from components.catalogue import PAGES, QUESTIONS, lesson
from components.question_list import PER_SCREEN, chosen, everything
from components.words import LANGUAGES
from tests.pages.screen import open_page, said


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_opens_with_the_first_questions_folded(language):
    screen = open_page("questions", lang=language)
    assert not screen.exception
    assert said(screen) == []
    assert screen.title[0].value == lesson(QUESTIONS.name, language).title
    assert len(screen.expander) == PER_SCREEN


def test_everything_is_there_once():
    asked = everything("en")
    count = sum(len(lesson(e.name, "en").questions) + len(lesson(e.name, "en").claims) for e in PAGES)
    assert len({one.name for one in asked}) == len(asked) == count


def test_filters_hold_together():
    asked = everything("en")
    assert chosen(asked, "", [], "", {}, "") == asked
    on_lora = chosen(asked, "rank", ["lora"], "questions", {}, "")
    assert on_lora
    assert all(one.entry.name == "lora" for one in on_lora)
    assert all(one.kind == "questions" for one in on_lora)
    assert all("rank" in f"{one.item.title} {one.item.text}".casefold() for one in on_lora)
    assert chosen(asked, "no such word anywhere", [], "", {}, "") == []


def test_marks_part_the_known_from_the_rest():
    asked = everything("en")
    marks = {asked[0].name: "known", asked[1].name: "again"}
    assert chosen(asked, "", [], "", marks, "known") == asked[:1]
    assert chosen(asked, "", [], "", marks, "again") == asked[1:2]
    assert chosen(asked, "", [], "", marks, "new") == asked[2:]
