"""The masks page as a person meets it: cells clicked, the window dragged, links, languages, themes."""

import re
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from components.catalogue import lesson
from tests.browser.driving import (
    click_cell,
    figure,
    held,
    move,
    pick,
    ranges,
    ready,
    redraws,
    slider,
    values,
    zoom_in,
)

MATRIX, MAPS, NEXT, WINDOW = "masks_matrix", "masks_maps", "masks_next", "masks_window"
CAUSAL = "/masks?masks_pattern=all"


def open_link(page: Page, link: str = CAUSAL) -> None:
    page.goto(link)
    ready(page)


def in_address(page: Page, name: str) -> str | None:
    return parse_qs(urlsplit(page.url).query).get(name, [None])[0]


def wait_for_change(page: Page, key: str, before: str) -> str:
    """The values of a figure, once they differ from ``before``."""
    drawn = redraws(page, key)
    while (now := values(page, key)) == before:
        expect(figure(page, key)).not_to_have_attribute("data-drawn", str(drawn))
        drawn = redraws(page, key)
    return now


def test_a_clicked_cell_is_switched_and_the_next_token_changes_and_comes_back(page: Page) -> None:
    open_link(page)
    tokens = len(figure(page, MATRIX).evaluate("figure => figure.data[0].x"))
    before, matrix = values(page, NEXT), values(page, MATRIX)
    click_cell(page, MATRIX, 0, tokens - 1)  # the first key, from the last query
    after = wait_for_change(page, MATRIX, matrix)
    assert sum(a != b for a, b in zip(matrix.split(), after.split(), strict=True)) == 1
    assert wait_for_change(page, NEXT, before)
    expect(page).to_have_url(re.compile(rf"masks_cells={tokens - 1}\.0"))
    expect(
        page.get_by_text(re.compile(rf"\(token {tokens - 1}\) read from .* \(token 0\)"))
    ).to_be_visible()
    page.get_by_role("button", name="Undo all clicks").click()
    wait_for_change(page, MATRIX, after)
    assert values(page, MATRIX) == matrix
    expect(page).not_to_have_url(re.compile("masks_cells"))
    ready(page)
    assert values(page, NEXT) == before


def test_a_second_click_switches_a_cell_back(page: Page) -> None:
    open_link(page)
    matrix = values(page, MATRIX)
    click_cell(page, MATRIX, 7, 3)  # above the diagonal: it becomes visible
    after = wait_for_change(page, MATRIX, matrix)
    expect(page).to_have_url(re.compile(r"masks_cells=3\.7"))
    click_cell(page, MATRIX, 7, 3)
    wait_for_change(page, MATRIX, after)
    assert values(page, MATRIX) == matrix


def test_a_cold_link_restores_mask_head_and_cells(page: Page) -> None:
    query = "masks_pattern=lambda&masks_window=5&masks_sinks=2&masks_layer=2&masks_head=3&masks_cells=9.4"
    open_link(page, f"/masks?{query}")
    expect(slider(page, WINDOW)).to_have_attribute("aria-valuetext", re.compile("^5"))
    expect(page.get_by_role("combobox", name="Layer", exact=True)).to_have_value("2")
    for part in query.split("&"):
        name, value = part.split("=")
        assert in_address(page, name) == value
    first = values(page, MATRIX).split()
    tokens = round(len(first) ** 0.5)
    row = [float(cell) for cell in first[9 * tokens : 10 * tokens]]
    assert [key for key, cell in enumerate(row) if cell] == [0, 1, 4, 5, 6, 7, 8, 9]


def test_the_window_follows_the_finger_and_keeps_the_zoom(page: Page) -> None:
    open_link(page, "/masks?masks_pattern=window&masks_window=9")
    zoom_in(page, MAPS)
    zoomed, before, matrix = ranges(page, MAPS), values(page, MAPS), values(page, MATRIX)
    with held(page, WINDOW, 0.45):
        move(page, WINDOW, 0.3)
        halfway = wait_for_change(page, MATRIX, matrix)
        wait_for_change(page, MAPS, before)
        move(page, WINDOW, 0.1)
        wait_for_change(page, MATRIX, halfway)
        assert ranges(page, MAPS) == zoomed
    ready(page)
    assert int(in_address(page, WINDOW) or 9) < 4


def test_a_scene_sets_the_mask(page: Page) -> None:
    open_link(page)
    before = values(page, MATRIX)
    scene = next(scene for scene in lesson("masks", "en").scenes if "side=left" in scene.query)
    page.get_by_role("button", name="Scenes").click()
    page.get_by_role("button", name=scene.label).click()
    wait_for_change(page, MATRIX, before)
    ready(page)
    assert in_address(page, "masks_side") == "left"


def test_bad_starts_get_one_sentence_and_the_page_goes_on(page: Page) -> None:
    open_link(page)
    page.get_by_text(re.compile("^More")).click()
    field = page.get_by_label("New documents begin at token")
    field.fill("30, 12")
    field.press("Enter")
    alert = page.get_by_test_id("stAlert").filter(has_text="do not rise")
    expect(alert.first).to_be_visible()
    expect(field).to_have_value("30, 12")
    field.fill("12, 30")
    field.press("Enter")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    ready(page)
    expect(figure(page, MATRIX)).to_be_visible()


def test_the_language_switch_keeps_the_mask(page: Page) -> None:
    open_link(page, "/masks?masks_pattern=window&masks_window=5")
    matrix = values(page, MATRIX)
    pick(page, "Language · 语言", "中文")
    expect(page.get_by_role("heading", name=lesson("masks", "zh").title, exact=True)).to_be_visible()
    ready(page)
    assert values(page, MATRIX) == matrix


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hatching_is_drawn_in_the_theme_s_ink(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    open_link(page)
    stroke = figure(page, MATRIX).locator(".shapelayer path").first
    ink = stroke.evaluate("path => getComputedStyle(path).stroke")
    parts = [int(part) for part in re.findall(r"\d+", ink)[:3]]
    assert (sum(parts) > 380) == (scheme == "dark")
