"""The mixture-of-experts page as a person meets it: turn a knob during training, drag, click, look."""

import re
from statistics import mean

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driving import (
    PATIENCE,
    button,
    click_cell,
    figure,
    held,
    move,
    pick,
    ready,
    redraws,
    slider,
    values,
)

LOADS = """figure => figure.calcdata[0][0].z.map(row => Array.from(row, value => value ?? null))"""


def open_view(page: Page, view: str, **query: str) -> None:
    rest = "".join(f"&moe_{key}={value}" for key, value in query.items())
    page.goto(f"/moe?moe_view={view}{rest}")
    ready(page)


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


def test_load_responds_to_a_knob_that_is_turned_during_training(page: Page) -> None:
    """Uneven while nothing balances; even from where the bias is switched on in the middle."""
    open_view(page, "train", steps="3200", balancing="none")
    button(page, "Start").click()
    wait_for_step(page, 100)
    pick(page, "Balancing", "bias, by sign")
    page.get_by_text("MaxVio_global").wait_for(timeout=4 * PATIENCE)  # the run is over
    ready(page)
    rows = figure(page, "moe_load_time").evaluate(LOADS)  # a row an expert, a column for 32 steps
    fullest = [max(column) for column in zip(*rows, strict=True)]
    assert len(fullest) == 100
    assert fullest[1] > 1.6 > 1.4 > mean(fullest[90:])  # before anybody could turn it, and at the end
    lines = figure(page, "moe_violation_time").evaluate("figure => figure._fullLayout.shapes.length")
    assert lines == 1  # the moment is marked


def test_training_can_be_stopped_and_started_again(page: Page) -> None:
    open_view(page, "train", steps="12800")
    button(page, "Start").click()
    wait_for_step(page, 20)
    stop = page.locator(".st-key-moe_layer_stop button")
    stop.click()
    expect(stop).to_have_count(0)
    stopped = steps_done(page)
    pick(page, "Balancing", "none")
    ready(page)
    assert steps_done(page) == stopped
    button(page, "Start").click()
    expect(stop).to_be_visible()
    wait_for_step(page, 20)


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
        for at in (0.7, 0.3, 0.15):
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
