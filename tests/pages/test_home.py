"""The gallery: every page with its picture and question, and help for a lost address."""

import html

import pytest

from components.catalogue import HOME, PAGES, lesson
from components.words import LANGUAGES
from tests.pages.screen import open_page, said

LOCALES = {"en": "en-GB", "zh": "zh-CN"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_gallery_shows_every_page_in_the_browsers_language(language):
    screen = open_page(locale=LOCALES[language])
    assert not screen.exception
    assert said(screen) == []
    assert [title.value for title in screen.title] == [lesson(HOME.name, language).title]
    cards = html.unescape("".join(element.proto.body for element in screen.get("html")))
    for entry in PAGES:
        words = lesson(entry.name, language)
        assert words.question in cards
        assert f'href="{entry.name}?lang={language}"' in cards
        for name, view in words.views.items():  # whoever looks for "GPTQ" finds the word
            assert f'href="{entry.name}?{entry.name}_view={name}&lang={language}"' in cards
            assert view.label in cards
    assert cards.count("<img") == len(PAGES)
    doors = {link.proto.page for link in screen.get("page_link")}
    assert {"questions", "attention", "context", "policy", "preference", "quantization"} <= doors


@pytest.mark.parametrize("locale", ["fr-FR", "", "xx"])
def test_a_browser_of_another_language_gets_english(locale):
    screen = open_page(locale=locale)
    assert screen.markdown[0].value == lesson(HOME.name, "en").question


def test_the_language_can_be_chosen_and_goes_along_to_other_pages():
    screen = open_page()
    switch = next(box for box in screen.selectbox if box.label == "Language · 语言")
    switch.set_value("zh").run()
    assert not screen.exception
    assert screen.markdown[0].value == lesson(HOME.name, "zh").question
    screen.switch_page("../pages/attention.py").run()
    assert screen.title[0].value == "注意力"


@pytest.mark.parametrize("asked", ["xx", "nan", ""])
def test_a_language_that_loupe_does_not_speak_is_passed_over(asked):
    screen = open_page(lang=asked)
    assert not screen.exception
    assert screen.markdown[0].value == lesson(HOME.name, "en").question


def test_a_page_that_does_not_exist_is_named_and_the_nearest_one_offered():
    (near,) = open_page(missing="atention").info
    assert near.value == "There is no page called “atention”. Did you mean “attention”?"
    (far,) = open_page(missing="zzz", locale="zh").info
    assert far.value == "没有名为“zzz”的页面。 现有的页面如下。"
    assert not open_page().info
