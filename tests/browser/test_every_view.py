"""Every view of every page fits a laptop and a phone in both languages, and says what it shows."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from components.catalogue import PAGES
from components.words import LANGUAGES
from tests.browser.driving import fits_the_window, pick, ready
from tests.pages.screen import views

PHONE, LAPTOP = {"width": 390, "height": 900}, {"width": 1280, "height": 900}
# Long work made short: how much is computed does not matter here.
SHORT = {
    "context": "&context_length=512",
    "lora": "&lora_names=kaiming,pissa&lora_ranks=2,8&lora_width=32&lora_steps=20",
    "masks": "&masks_stream_tokens=96&masks_stream_prefill=64",
}


@pytest.mark.parametrize("name", [entry.name for entry in PAGES])
def test_every_view_fits_and_says_what_it_shows(page: Page, name: str) -> None:
    """As a person goes: one window, from view to view, and once more in the other language."""
    page.set_viewport_size(PHONE)
    page.goto(f"/{name}?lang=en{SHORT.get(name, '')}")
    ready(page)
    there = [view.name for view in views(name)]
    back = there[::-1]
    [default] = [view for number, view in enumerate(there) if choice(page, name, number).is_checked()]
    for language, order in zip(LANGUAGES, (there, back), strict=True):
        if order is back:
            pick(page, "Language · 语言", LANGUAGES[language])
            expect(page).to_have_url(re.compile(rf"[?&]lang={language}(&|$)"))
            ready(page)
        for view in order:
            print(f"{name}: {view}, {language}")  # shown where one fails
            button = choice(page, name, there.index(view))
            if not button.is_checked():
                button.dispatch_event("click")  # the input itself is hidden behind its label
            if view == default:  # which stands in no address
                expect(page).not_to_have_url(re.compile(rf"[?&]{name}_view="))
            else:
                expect(page).to_have_url(re.compile(rf"[?&]{name}_view={view}(&|$)"))
            ready(page)
            fits_the_window(page)
            page.set_viewport_size(LAPTOP if page.viewport_size == PHONE else PHONE)
            fits_the_window(page)
            for shown in page.locator(".figure").all():
                expect(shown).to_have_attribute("role", "figure")
                expect(shown).to_have_attribute("aria-label", re.compile(r"\S{2}"))


def choice(page: Page, name: str, number: int) -> Locator:
    """The button of one of a page's views."""
    return page.locator(f".st-key-{name}_view_widget").get_by_role("radio").nth(number)
