"""The preference page as a person meets it: a cell edited, a pair clicked in, a file back, a real run."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from models.preference.table import parse_file, read_pairs
from tests.browser.driving import (
    PATIENCE,
    button,
    click_cell,
    figure,
    held,
    move,
    ready,
    redraws,
    values,
)

REWARDS, GRADIENT, PLANE = "preference_rewards", "preference_gradient", "preference_plane"
NUMBERS_END = 84  # pixels: the table's marks and row numbers; the first cell begins there
CELL = 35  # pixels: a row of the table


def open_link(page: Page, link: str) -> None:
    page.goto(link)
    expect(page.get_by_role("heading", name="Preferences", exact=True)).to_be_visible(timeout=PATIENCE)
    ready(page)


def type_into_cell(page: Page, row: int, column: int, text: str) -> None:
    """Click the table's first cell, walk to another with the arrow keys, and type over what it holds."""
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + NUMBERS_END + 20, box["y"] + 1.5 * CELL)
    expect(table.locator("[role=gridcell][aria-selected=true]")).to_have_count(1, timeout=PATIENCE)
    for key, times in (("ArrowDown", row), ("ArrowRight", column)):
        for _ in range(times):
            page.keyboard.press(key)
    page.keyboard.press(text[0])  # opens the editor, which takes the other keys once it is there
    editor = page.locator(".gdg-input").last
    expect(editor).to_have_value(text[0])
    page.keyboard.type(text[1:])
    expect(editor).to_have_value(text)
    page.keyboard.press("Enter")


def wait_for_change(page: Page, key: str, before: str) -> str:
    """The values of a figure, once they differ from ``before``."""
    drawn = redraws(page, key)
    while (now := values(page, key)) == before:
        expect(figure(page, key)).not_to_have_attribute("data-drawn", str(drawn), timeout=PATIENCE)
        drawn = redraws(page, key)
    return now


def test_edited_cells_change_the_figures_and_the_address(page: Page) -> None:
    open_link(page, "/preference")
    before = values(page, GRADIENT)
    type_into_cell(page, 0, 0, "-9")
    changed = wait_for_change(page, GRADIENT, before)
    expect(page).to_have_url(re.compile(r"preference_pairs=-9(%2C|,)-14"))
    ready(page)
    type_into_cell(page, 1, 2, "-30.5")  # a second edit finds the table as the first one left it
    wait_for_change(page, GRADIENT, changed)
    expect(page).to_have_url(re.compile(r"-9(%2C|,)-14.*-32(%2C|,)-41(%2C|,)-30\.5"))


def test_a_positive_log_probability_is_named_and_kept(page: Page) -> None:
    open_link(page, "/preference")
    type_into_cell(page, 2, 1, "0.5")
    sentence = page.get_by_text("Row 3, column rejected: 0.5 is positive").first
    expect(sentence).to_be_visible(timeout=PATIENCE)
    expect(page).to_have_url(re.compile(r"-18(%2C|,)0\.5"))
    ready(page)
    expect(page.get_by_test_id("glide-cell-3-2")).to_have_text("0.5")  # what was typed stays
    type_into_cell(page, 2, 1, "-15")
    expect(sentence).to_have_count(0, timeout=PATIENCE)


@pytest.mark.parametrize("kind", ["CSV", "JSON"])
def test_a_saved_table_comes_back_to_the_same_numbers(page: Page, tmp_path: Path, kind: str) -> None:
    open_link(page, "/preference?preference_pairs=-1.25 -2.5,-3,-2 -2,-4,,3;-7,-9,-8,-8,4,5")
    before = values(page, REWARDS)
    with page.expect_download() as download:
        button(page, f"Table as {kind}").click()
    saved = tmp_path / f"pairs.{kind.lower()}"
    download.value.save_as(saved)
    assert read_pairs(parse_file(saved.read_bytes())).chosen.tolist() == [-3.75, -7.0]
    open_link(page, "/preference")
    page.get_by_text("Read a CSV or JSON file").click()
    page.locator("input[type=file]").set_input_files(saved)
    two_pairs = f"""() => document.querySelector(".st-key-{REWARDS} .figure").calcdata[2].length === 2"""
    page.wait_for_function(two_pairs, timeout=PATIENCE)
    ready(page)
    assert values(page, REWARDS) == before


def test_a_file_that_is_no_table_leaves_the_table_alone(page: Page, tmp_path: Path) -> None:
    open_link(page, "/preference")
    before = values(page, REWARDS)
    page.get_by_text("Read a CSV or JSON file").click()
    wrong = tmp_path / "picture.png"
    wrong.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff\xfe")
    page.locator("input[type=file]").set_input_files(wrong)
    expect(page.get_by_text("The file is neither CSV nor JSON.")).to_be_visible(timeout=PATIENCE)
    long = tmp_path / "long.csv"
    long.write_text("chosen,rejected,ref_chosen,ref_rejected\n" + "-1,-2,-1,-2\n" * 100_000)
    page.locator("input[type=file]").set_input_files(long)
    expect(page.get_by_text("The table has 100000 rows")).to_be_visible(timeout=PATIENCE)
    ready(page)
    assert values(page, REWARDS) == before


def test_a_click_on_the_plane_adds_a_pair_and_beta_is_live(page: Page) -> None:
    open_link(page, "/preference?preference_view=plane")
    click_cell(page, PLANE, -4.0, 6.0)
    expect(page).to_have_url(re.compile(r"-24(%2C|,)-14(%2C|,)-20(%2C|,)-20"), timeout=PATIENCE)
    expect(page.get_by_role("figure", name="Every loss at pair 7")).to_be_visible(timeout=PATIENCE)
    ready(page)
    before, drawn = values(page, PLANE), redraws(page, PLANE)
    with held(page, "preference_beta", 0.5):
        move(page, "preference_beta", 0.8)
        expect(figure(page, PLANE)).not_to_have_attribute("data-drawn", str(drawn), timeout=PATIENCE)
    ready(page)
    assert values(page, PLANE) != before


def test_a_real_run_lowers_the_loss_from_ln_2(page: Page) -> None:
    open_link(page, "/preference?preference_view=real&preference_real_steps=3")
    assert values(page, "preference_losses") == "0.693147"
    button(page, "Start").click()
    page.wait_for_function(
        """() => document.querySelector(".st-key-preference_losses .figure")?.calcdata?.[0].length === 4""",
        timeout=PATIENCE,
    )
    expect(page.get_by_text("After step 3")).to_be_visible(timeout=PATIENCE)
    ready(page)
    first, *_between, last = map(float, values(page, "preference_losses").split())
    assert first == pytest.approx(0.693147)
    assert last < first
