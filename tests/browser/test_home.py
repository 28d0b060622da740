"""The home page, the way to a page, and the way back from an address that does not exist."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from components.catalogue import PAGES, lesson
from tests.browser.driving import fits_the_window, ready


def test_home_paints_cold_with_a_card_for_every_page(page: Page) -> None:
    page.goto("/")
    ready(page)
    expect(page.get_by_role("heading", name=lesson("home", "en").title, exact=True)).to_be_visible()
    pictures = page.locator(".loupe-card img")
    expect(pictures).to_have_count(len(PAGES))
    for picture in pictures.all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("picture => picture.naturalWidth") >= 200
    for entry in PAGES:
        expect(page.get_by_text(lesson(entry.name, "en").question)).to_be_visible()


def test_every_card_leads_to_its_page(page: Page) -> None:
    page.goto("/")
    ready(page)
    cards = page.locator("a.loupe-card")
    for entry in PAGES:
        title = lesson(entry.name, "en").title
        expect(page.locator(f'a.loupe-card[href^="{entry.name}?"]')).to_contain_text(title)
    cards.filter(has_text=title).click()
    expect(page).to_have_url(re.compile(f"/{entry.name}"))
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    ready(page)


def test_the_menu_opens_a_page_and_leads_home(page: Page) -> None:
    page.goto("/")
    ready(page)
    page.get_by_text("Attention and positions").first.click()
    page.get_by_role("link", name=lesson("attention", "en").title).first.click()
    expect(page).to_have_url(re.compile("/attention"))
    ready(page)
    page.get_by_role("link", name="Loupe").first.click()
    expect(page).not_to_have_url(re.compile("/attention"))
    ready(page)


@pytest.mark.parametrize(
    ("asked", "hint"), [("nonsense", "Here is what there is."), ("atention", "attention")]
)
def test_an_unknown_address_is_answered_with_help(page: Page, asked: str, hint: str) -> None:
    page.goto(f"/{asked}")
    ready(page)
    sentence = page.get_by_test_id("stAlert")
    expect(sentence).to_have_count(1)
    expect(sentence).to_contain_text(f"There is no page called “{asked}”.")
    expect(sentence).to_contain_text(hint)
    expect(page.get_by_text(lesson("attention", "en").question)).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "language"), [("zh-CN", "zh"), ("zh-TW", "zh"), ("en-GB", "en"), ("fr-FR", "en")]
)
def test_the_language_follows_the_browser(
    new_context: Callable[..., BrowserContext], locale: str, language: str
) -> None:
    page = new_context(locale=locale).new_page()
    page.goto("/")
    ready(page)
    expect(page.get_by_text(lesson("home", language).question)).to_be_visible()


def test_a_link_may_ask_for_a_language(page: Page) -> None:
    page.goto("/?lang=zh")
    ready(page)
    expect(page.get_by_text(lesson("home", "zh").question)).to_be_visible()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_home_does_not_scroll_sideways(page: Page, language: str) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(f"/?lang={language}")
    ready(page)
    fits_the_window(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    fits_the_window(page)
