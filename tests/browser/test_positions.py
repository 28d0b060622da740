"""The positions page as a person meets it: sliders drag, circles turn, links restore."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from components.catalogue import lesson
from tests.browser.driving import (
    click_cell,
    figure,
    held,
    move,
    ranges,
    ready,
    redraws,
    slider,
    values,
    zoom_in,
)

CIRCLES, PAIRS, CURVE = "positions_circles", "positions_pairs", "positions_curve"
MOVED, OFFSET, BASE = "positions_moved", "positions_offset", "positions_base"
VIEWS = {
    "shuffle": "positions_change",
    "encode": "positions_matrix",
    "rotate": CIRCLES,
    "decay": "positions_decay",
    "layout": "positions_trained",
    "compare": "positions_tiles",
}


def open_link(page: Page, link: str = "/positions") -> None:
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


def test_dragging_the_query_turns_the_circles_and_moves_the_bars(page: Page) -> None:
    open_link(page)
    circles, bars, curve = (values(page, key) for key in (CIRCLES, PAIRS, CURVE))
    with held(page, MOVED, 0.34):
        move(page, MOVED, 0.6)
        halfway = wait_for_change(page, PAIRS, bars)
        move(page, MOVED, 0.9)
        wait_for_change(page, PAIRS, halfway)
        wait_for_change(page, CIRCLES, circles)
    expect(page).to_have_url(re.compile(r"positions_moved=\d"))
    ready(page)
    assert values(page, CURVE) == curve


def test_moving_the_whole_text_leaves_the_bars_and_runs_the_check(page: Page) -> None:
    open_link(page)
    circles = values(page, CIRCLES)
    before = [float(number) for number in values(page, PAIRS).split("\n")[0].split()]
    with held(page, OFFSET, 0.1):
        move(page, OFFSET, 0.7)
        wait_for_change(page, CIRCLES, circles)
    ready(page)
    page.get_by_role("button", name="4 checks").click()  # one more than without an offset
    expect(page.get_by_text("with the whole text moved by")).to_be_visible()
    page.keyboard.press("Escape")
    after = [float(number) for number in values(page, PAIRS).split("\n")[0].split()]
    assert after == pytest.approx(before, abs=5e-3)
    expect(page.get_by_text("This check failed")).to_have_count(0)


def test_dragging_the_base_redraws_the_matrix_and_keeps_its_zoom(page: Page) -> None:
    open_link(page, "/positions?positions_view=encode")
    zoom_in(page, "positions_matrix")
    zoomed, before = ranges(page, "positions_matrix"), values(page, "positions_matrix")
    with held(page, BASE, 0.6):
        move(page, BASE, 0.2)
        wait_for_change(page, "positions_matrix", before)
    ready(page)
    assert ranges(page, "positions_matrix") == zoomed
    assert float(in_address(page, BASE)) < 1_000


def test_a_click_on_a_circle_works_that_pair_out(page: Page) -> None:
    open_link(page)
    box = page.get_by_label("Pair p")
    expect(box).to_have_value("4")
    click_cell(page, PAIRS, 7, 0.5)
    expect(box).to_have_value("7")
    click_cell(page, CIRCLES, 2.5, -2.5)  # the second circle of the second row
    expect(box).to_have_value("5")
    click_cell(page, PAIRS, 7, 0.5)
    expect(box).to_have_value("7")
    expect(page).to_have_url(re.compile("positions_pair=7"))


def test_a_cold_link_restores_head_tokens_and_sliders(page: Page) -> None:
    open_link(
        page,
        "/positions?positions_layer=2&positions_head=3&positions_query=20&positions_key=5"
        "&positions_moved=12&positions_pair=6&positions_passage=lighthouse",
    )
    for label, value in (("Layer", "2"), ("Head", "3")):
        expect(page.get_by_role("combobox", name=label, exact=True)).to_have_value(value)
    expect(page.get_by_role("combobox", name="Query", exact=True)).to_have_value(re.compile("^20 "))
    expect(slider(page, MOVED)).to_have_attribute("aria-valuetext", re.compile("^12 "))
    expect(page.get_by_label("Pair p")).to_have_value("6")
    expect(page.get_by_text("at position 32")).to_be_visible()


def test_a_scene_and_an_answer_set_the_page(page: Page) -> None:
    open_link(page)
    read = lesson("positions", "en")
    page.get_by_role("button", name="Scenes").click()
    page.get_by_role("button", name=read.scenes[5].label).click()
    ready(page)
    expect(figure(page, "positions_decay")).to_be_visible()
    ready(page)
    page.get_by_text(read.questions[2].title).click()
    page.get_by_role("button", name=read.questions[2].links[2].label).first.click()
    ready(page)
    expect(figure(page, "positions_matrix")).to_be_visible()
    ready(page)
    expect(slider(page, BASE)).to_have_attribute("aria-valuetext", "100")


# Others without a browser: tests/pages/test_positions_input.py
BAD_QUERY = (
    "positions_base=-10&positions_view=encode&positions_length=1e9&positions_moved=NaN&positions_pair=99"
)


def test_bad_values_leave_a_page_that_works(page: Page) -> None:
    open_link(page, f"/positions?{BAD_QUERY}")
    expect(page.get_by_text("Something went wrong")).to_have_count(0)
    page.get_by_role("radio", name="Rotary microscope").click()
    ready(page)
    expect(figure(page, CIRCLES)).to_be_visible()
    ready(page)
