"""Every view of every page: figure and control are on one screen, nothing sticks out, and all is named."""

import re

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from components.catalogue import PAGES
from components.words import LANGUAGES
from tests.browser.driving import fits_the_window, pick, ready
from tests.browser.fold import missed
from tests.pages.screen import views

LAPTOP, PHONE = ViewportSize(width=1280, height=720), ViewportSize(width=390, height=844)
# Long work made short: how much is computed does not matter here.
SHORT = {
    "context": "&context_length=512",
    "lora": "&lora_names=kaiming,pissa&lora_ranks=2,8&lora_width=32&lora_steps=20",
    "masks": "&masks_stream_tokens=96&masks_stream_prefill=64",
}


@pytest.mark.parametrize("name", [entry.name for entry in PAGES])
def test_every_view_fits_and_says_what_it_shows(page: Page, name: str) -> None:
    """As a person goes: one window, from view to view, and once more in the other language on a phone."""
    page.set_viewport_size(LAPTOP)
    page.goto(f"/{name}?lang=en{SHORT.get(name, '')}")
    ready(page)
    there = [view.name for view in views(name)]
    [default] = [view for number, view in enumerate(there) if choice(page, name, number).is_checked()]
    out_of_sight = {}
    for view in there:
        page.set_viewport_size(LAPTOP)
        choose(page, name, there.index(view), is_default=view == default)
        if short := missed(page):  # figure and control on one screen
            out_of_sight[view] = short
        for shown in page.locator(".figure").all():
            expect(shown).to_have_attribute("role", "figure")
            expect(shown).to_have_attribute("aria-label", re.compile(r"\S{2}"))
    page.set_viewport_size(LAPTOP)
    pick(page, "Language · 语言", LANGUAGES["zh"])
    expect(page).to_have_url(re.compile(r"[?&]lang=zh(&|$)"))
    page.set_viewport_size(PHONE)
    for view in reversed(there):
        choose(page, name, there.index(view), is_default=view == default)
        fits_the_window(page)
    assert not out_of_sight


def choose(page: Page, name: str, number: int, *, is_default: bool) -> None:
    """Turn to a view; the default one stands in no address."""
    view = [each.name for each in views(name)][number]
    print(f"{name}: {view}")  # shown where one fails
    button = choice(page, name, number)
    if not button.is_checked():
        button.dispatch_event("click")  # the input itself is hidden behind its label
    address = re.compile(rf"[?&]{name}_view=" + ("" if is_default else rf"{view}(&|$)"))
    if is_default:
        expect(page).not_to_have_url(address)
    else:
        expect(page).to_have_url(address)
    ready(page)


def choice(page: Page, name: str, number: int) -> Locator:
    """The button of one of a page's views."""
    return page.locator(f".st-key-{name}_view_widget").get_by_role("radio").nth(number)
