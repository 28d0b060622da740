"""The policy page as a person meets it: a cell is edited, a reward is dragged, a file goes in and out."""

import json
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.driving import (
    button,
    cell_is_selected,
    click_cell,
    figure,
    held,
    move,
    ready,
    redraws,
    slider,
    values,
)

ADVANTAGES, PUSHES = "policy_advantages", "policy_pushes"
CELL_WIDTH, HEADER, ROW = 0.2, 36, 35  # of the table: five columns with the groups' numbers
PROGRESS = re.compile(r"\d+ of \d+ steps")


def open_view(page: Page, view: str, more: str = "") -> None:
    page.goto(f"/policy?policy_view={view}{more}")
    ready(page)


def edit(page: Page, group: int, answer: int, letter: str) -> None:
    """Type one letter into a cell of the table; rows and columns count from 1."""
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    x = box["x"] + box["width"] * CELL_WIDTH * (answer + 0.5)
    page.mouse.click(x, box["y"] + HEADER + ROW * (group - 0.5))
    cell_is_selected(page, answer, group - 1)
    page.keyboard.press(letter)  # opens the cell, in place of what stood there
    expect(page.locator(".gdg-input").last).to_have_value(letter)
    page.keyboard.press("Enter")


def numbers(page: Page, key: str) -> list[float]:
    return [float(value) for value in values(page, key).split()]


def test_an_edited_cell_changes_the_advantages_and_the_address(page: Page) -> None:
    open_view(page, "group")
    drawn, before = redraws(page, ADVANTAGES), values(page, ADVANTAGES)
    edit(page, 3, 2, "1")
    expect(figure(page, ADVANTAGES)).not_to_have_attribute("data-drawn", str(drawn))
    expect(page).to_have_url(re.compile(r"policy_rewards=[^&]*0%2C1%2C0%2C0"))
    ready(page)
    assert values(page, ADVANTAGES) != before
    edit(page, 3, 2, "x")
    expect(page.get_by_text("Row 3, column 2").first).to_be_visible()
    expect(page).to_have_url(re.compile("0%2Cx%2C0"))  # what was typed stays


def test_a_chosen_reward_is_dragged_and_written_into_the_table(page: Page) -> None:
    open_view(page, "group")
    drawn = redraws(page, ADVANTAGES)
    click_cell(page, ADVANTAGES, 2, 3)
    expect(page.get_by_text("Reward of answer 3 in group 4")).to_be_visible()
    ready(page)
    before = values(page, ADVANTAGES)
    with held(page, "policy_reward", 0.5):
        move(page, "policy_reward", 0.9)
        expect(figure(page, ADVANTAGES)).not_to_have_attribute("data-drawn", str(drawn))
        page.wait_for_function("before => true", arg=before)
        expect(page).not_to_have_url(re.compile("policy_rewards"))  # nothing was written down yet
    expect(page).to_have_url(re.compile("policy_rewards="))
    ready(page)
    assert values(page, ADVANTAGES) != before


def test_figures_follow_epsilon_without_a_rerun(page: Page) -> None:
    open_view(page, "group")
    slider(page, "policy_epsilon").scroll_into_view_if_needed()
    before = values(page, ADVANTAGES)
    with held(page, "policy_epsilon", 0.5):
        drawn = redraws(page, ADVANTAGES)
        move(page, "policy_epsilon", 0.99)
        expect(figure(page, ADVANTAGES)).not_to_have_attribute("data-drawn", str(drawn))
        assert values(page, ADVANTAGES) != before
        expect(page).not_to_have_url(re.compile("policy_epsilon"))


def test_an_exported_file_imports_to_the_same_numbers(page: Page, tmp_path: Path) -> None:
    open_view(page, "group", "&policy_rewards=0.25,0.5,1;1,0,-0.125")
    before = values(page, PUSHES)
    files = page.get_by_role("button", name="Files")
    for kind in ("CSV", "JSON"):
        files.click()
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Table as {kind}").click()
        saved = tmp_path / f"groups.{kind.lower()}"
        download.value.save_as(saved)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Random").click()
        expect(page).not_to_have_url(re.compile("policy_rewards=0.25"))
        ready(page)
        assert values(page, PUSHES) != before
        files.click()
        page.locator("input[type=file]").set_input_files(saved)
        expect(page).to_have_url(re.compile("policy_rewards=0.25"))
        ready(page)
        assert values(page, PUSHES) == before
        page.keyboard.press("Escape")
    assert json.loads((tmp_path / "groups.json").read_text())[0]["reward"] == "0.25"
    files.click()
    (tmp_path / "bad.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    page.locator("input[type=file]").set_input_files(tmp_path / "bad.csv")
    expect(page.get_by_text("The file is neither CSV nor JSON.")).to_be_visible()
    assert values(page, PUSHES) == before


def test_a_network_learns_shows_progress_and_stops(page: Page) -> None:
    open_view(page, "real", "&policy_real_steps=60&policy_real_answers=16&policy_new_tokens=64")
    button(page, "Start").click()
    expect(page.get_by_text(PROGRESS)).to_be_visible()
    expect(page.get_by_text(re.compile(r"Step ([3-9]|\d\d):"))).to_be_visible()
    button(page, "Stop").click()
    expect(button(page, "Go on")).to_be_visible()
    ready(page)
    assert len(numbers(page, "policy_real_reward")) > 4
