"""The LoRA page as a person meets it: dials, a grid that grows, a real run that stops."""

import re

from playwright.sync_api import Page, expect

from tests.browser.driving import PATIENCE, button, figure, held, move, pick, ready, redraws, values

DIRECTIONS, QUICK, CURVES, NEW = "lora_directions", "lora_quick", "lora_curves", "lora_new"
SMALL = "lora_names=kaiming,pissa&lora_ranks=2,8&lora_width=32&lora_steps=20"
PROGRESS = re.compile(r"\d+ of \d+ steps")


def open_link(page: Page, link: str) -> None:
    page.goto(link)
    expect(page.get_by_role("heading", name="LoRA", exact=True)).to_be_visible(timeout=PATIENCE)


def test_the_grid_trains_by_itself_and_ends_with_a_verdict(page: Page) -> None:
    open_link(page, f"/lora?{SMALL}")
    expect(page.get_by_text("Within the noise of the seeds?")).to_be_visible(timeout=PATIENCE)
    ready(page)
    expect(page.get_by_text(PROGRESS)).to_have_count(0)
    assert values(page, CURVES)


def test_the_ranks_change_twenty_times_while_the_grid_trains(page: Page) -> None:
    """Its timer asks while the page itself is run again; the log of the server stays clean of both."""
    open_link(page, f"/lora?{SMALL.replace('lora_steps=20', 'lora_steps=400')}")
    field = page.get_by_role("combobox", name="Ranks", exact=True)
    for change in range(10):
        field.press("Backspace")  # the last one goes
        expect(page).to_have_url(re.compile(r"lora_ranks=2(&|$)"))
        pick(page, "Ranks", ("4", "8")[change % 2])
        expect(page).not_to_have_url(re.compile(r"lora_ranks=2(&|$)"))
    expect(page.get_by_text("Something went wrong")).to_have_count(0)
    expect(page.get_by_text("Within the noise of the seeds?")).to_be_visible(timeout=PATIENCE)


def test_the_task_follows_its_dial_while_it_is_dragged(page: Page) -> None:
    open_link(page, f"/lora?{SMALL}")
    expect(page.get_by_text("Within the noise of the seeds?")).to_be_visible(timeout=PATIENCE)
    ready(page)
    before, drawn = values(page, QUICK), redraws(page, DIRECTIONS)
    with held(page, "lora_alignment", 0.5):
        move(page, "lora_alignment", 0.95)
        expect(figure(page, DIRECTIONS)).not_to_have_attribute("data-drawn", str(drawn))
    expect(page).to_have_url(re.compile("lora_alignment="))
    ready(page)
    assert values(page, QUICK) != before


def test_a_real_run_starts_shows_progress_and_stops(page: Page) -> None:
    open_link(page, "/lora?lora_view=real&lora_real_steps=400&lora_real_rank=2")
    ready(page)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text(PROGRESS)).to_be_visible(timeout=PATIENCE)
    button(page, "Stop").click(timeout=PATIENCE)
    expect(page.get_by_role("button", name="Go on", exact=True)).to_be_visible(timeout=PATIENCE)
    ready(page)
    drawn = redraws(page, NEW)
    page.wait_for_timeout(1_500)  # a run that went on would have drawn again by now
    assert redraws(page, NEW) == drawn


def test_a_moved_control_ends_a_real_run(page: Page) -> None:
    open_link(page, "/lora?lora_view=real&lora_real_steps=400&lora_real_rank=2")
    ready(page)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text(PROGRESS)).to_be_visible(timeout=PATIENCE)
    pick(page, "New domain", "arithmetic")
    expect(page.get_by_text(PROGRESS)).to_have_count(0, timeout=PATIENCE)
    expect(button(page, "Stop")).to_have_count(0)


def test_a_short_real_run_ends_with_a_checked_adapter(page: Page) -> None:
    open_link(page, "/lora?lora_view=real&lora_real_steps=3&lora_real_rank=2")
    ready(page)
    page.get_by_role("button", name="Start", exact=True).click()
    adapter = page.get_by_role("button", name="The adapter as peft saves it")
    expect(adapter).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="1 check").click()
    expect(page.get_by_text("Checked against transformers with")).to_be_visible(timeout=PATIENCE)
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        adapter.click()
    assert download.value.suggested_filename == "loupe-kaiming-r2.zip"
