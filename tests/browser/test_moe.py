"""The mixture-of-experts page as a person meets it: turn a knob during training, drag, click, look."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from components.words import LANGUAGES
from tests.browser.driving import (
    click_cell,
    figure,
    fits_the_window,
    held,
    move,
    ready,
    redraws,
    slider,
    track,
    values,
)
from tests.pages.moe_screen import VIEWS

LOADS = """figure => figure.calcdata[0][0].z.map(row => Array.from(row, value => value ?? null))"""


def open_view(page: Page, view: str, **query: str) -> None:
    rest = "".join(f"&moe_{key}={value}" for key, value in query.items())
    page.goto(f"/moe?moe_view={view}{rest}")
    ready(page)


def segment(page: Page, name: str) -> Locator:
    return page.get_by_role("radio", name=name, exact=True)


def steps_done(page: Page) -> int:
    """How many steps the progress bar says are done; 0 before there is one."""
    text = page.get_by_test_id("stProgress").text_content() or "0"
    return int(re.search(r"\d+", text).group())


def wait_for_step(page: Page, step: int) -> None:
    page.wait_for_function(
        "step => parseInt(document.querySelector('[data-testid=stProgress]')?.textContent) >= step",
        arg=step,
    )


def drop(page: Page, key: str, at: float) -> None:
    """Drag a live slider to a share of its width, and let it go."""
    with held(page, key, 0.5):
        move(page, key, at)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_fits_the_window(page: Page, view: str, language: str) -> None:
    open_view(page, view, lang=language)
    for key in VIEWS[view]:
        expect(figure(page, key)).to_be_visible()
    fits_the_window(page)


def test_load_responds_to_a_knob_that_is_turned_during_training(page: Page) -> None:
    """Balanced at first; pushed towards expert 0 in the middle: its row lights up from there on."""
    open_view(page, "train")
    page.get_by_role("button", name="Start").click()
    wait_for_step(page, 60)
    left, middle, width = track(page, "moe_push")
    page.mouse.click(left + 0.99 * width, middle)
    expect(slider(page, "moe_push")).to_have_attribute("aria-valuetext", re.compile(r"^[78]"))
    turned = steps_done(page)
    assert turned < 700, "the run was over before the knob was turned"
    page.get_by_text("MaxVio_global").wait_for()  # the run is over
    ready(page)
    first = figure(page, "moe_load_time").evaluate(LOADS)[0]  # expert 0, a column for 8 steps
    assert len(first) == 100
    late = [load for load in first[(turned + 120) // 8 :] if load is not None]
    early = [load for load in first[2 : 60 // 8] if load is not None]
    assert max(early) < 3 < max(late)
    lines = figure(page, "moe_violation_time").evaluate("figure => figure._fullLayout.shapes.length")
    assert lines >= 1  # the moment is marked


def test_training_can_be_stopped_and_started_again(page: Page) -> None:
    open_view(page, "train")
    page.get_by_role("button", name="Start").click()
    wait_for_step(page, 20)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    stopped = steps_done(page)
    segment(page, "none").locator("..").click()
    ready(page)
    assert steps_done(page) == stopped
    page.get_by_role("button", name="Start").click()
    page.get_by_text("MaxVio_global").wait_for()


@pytest.mark.parametrize(
    ("view", "key", "shown"),
    [
        ("groups", "moe_kept", "moe_grid"),
        ("groups", "moe_skew", "moe_grid"),
        ("capacity", "moe_factor", "moe_dropped"),
        ("loss", "moe_collapse", "moe_layers"),
        ("loss", "moe_share", "moe_dragged"),
    ],
)
def test_figures_follow_a_slider_while_it_is_dragged(page: Page, view: str, key: str, shown: str) -> None:
    open_view(page, view)
    slider(page, key).scroll_into_view_if_needed()
    before, drawn = values(page, shown), redraws(page, shown)
    with held(page, key, 0.5):
        for at in (0.3, 0.25, 0.2):
            move(page, key, at)
            expect(figure(page, shown)).not_to_have_attribute("data-drawn", str(drawn))
            drawn = redraws(page, shown)
        assert values(page, shown) != before
    ready(page)


def test_a_click_on_a_tile_shows_that_tokens_gate(page: Page) -> None:
    open_view(page, "route")
    before = values(page, "moe_gate")
    click_cell(page, "moe_tiles", 3, 2)
    expect(page.get_by_role("combobox", name="Token", exact=True)).to_have_value(re.compile("^27 "))
    expect(figure(page, "moe_gate")).to_have_attribute("aria-label", re.compile("token 27"))
    ready(page)
    assert values(page, "moe_gate") != before


def test_a_phone_shows_every_view_without_a_sideways_scroll(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for view in VIEWS:
        open_view(page, view)
        fits_the_window(page)
