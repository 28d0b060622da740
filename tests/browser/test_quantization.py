"""The quantization page in a browser: bits dragged down to the loss, the matrix live, narrow windows."""

import re

import pytest
from playwright.sync_api import Page, expect

from components.catalogue import lesson
from tests.browser.driving import PATIENCE, figure, held, move, ready, redraws, slider, values

BITS, GROUP = "quantization_bits", "quantization_group"


def open_view(page: Page, view: str, more: str = "") -> None:
    page.goto(f"/quantization?quantization_view={view}{more}")
    ready(page)


def wait_for_change(page: Page, key: str, before: str) -> str:
    """The values of a figure, once they differ from ``before``."""
    drawn = redraws(page, key)
    while (now := values(page, key)) == before:
        expect(figure(page, key)).not_to_have_attribute("data-drawn", str(drawn))
        drawn = redraws(page, key)
    return now


def losses(page: Page) -> list[float]:
    return [float(value) for value in values(page, "quantization_loss").split()]


def test_dragging_bits_changes_the_loss_before_the_mouse_is_released(page: Page) -> None:
    open_view(page, "cascade")
    before = losses(page)
    slider(page, BITS).scroll_into_view_if_needed()
    text = values(page, "quantization_loss")
    with held(page, BITS, 2 / 6):
        move(page, BITS, 0.01)
        wait_for_change(page, "quantization_loss", text)
        at_two_bits = losses(page)
        assert at_two_bits[0] == before[0]
        assert at_two_bits[1] > before[1] + 0.5
    expect(page).to_have_url(re.compile("quantization_bits=2"))
    ready(page)
    assert losses(page) == at_two_bits


@pytest.mark.parametrize("key", [BITS, GROUP])
def test_the_matrix_follows_the_slider_without_a_rerun(page: Page, key: str) -> None:
    open_view(page, "matrix")
    slider(page, key).scroll_into_view_if_needed()
    error = values(page, "quantization_error")
    title = figure(page, "quantization_levels").locator(".gtitle")
    words = title.text_content() or ""
    with held(page, key, 0.5):
        move(page, key, 0.05)
        wait_for_change(page, "quantization_error", error)
        expect(title).not_to_have_text(words)
        expect(page).not_to_have_url(re.compile(key))  # nothing was written down yet
    expect(page).to_have_url(re.compile(key))


def test_a_typed_value_shows_its_bits_and_a_wrong_one_a_sentence(page: Page) -> None:
    open_view(page, "numbers")
    box = page.get_by_label("Value", exact=True)
    box.fill("61440")
    box.press("Enter")
    expect(page.get_by_label(re.compile("The bits of 61440"))).to_be_visible()
    box.fill("a lot")
    box.press("Enter")
    expect(page.get_by_text("is no number; type one such as")).to_be_visible()
    expect(box).to_have_value("a lot")


def test_a_run_can_be_started_and_ends_in_a_map(page: Page) -> None:
    open_view(page, "sensitivity", "&quantization_text=The+keeper+lit+the+lamp.")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="1 check").click(timeout=PATIENCE)
    expect(page.get_by_text("the largest one, measured again on its own")).to_be_visible()
    assert "NaN" not in values(page, "quantization_map")


def test_in_chinese(page: Page) -> None:
    open_view(page, "cascade", "&lang=zh")
    expect(page.get_by_role("heading", name=lesson("quantization", "zh").title, exact=True)).to_be_visible()
    expect(page.get_by_text("全部矩阵的数据表")).to_be_visible()
