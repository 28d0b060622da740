"""The context page as a person meets it: curves that follow the factor, long work that can be stopped."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from components.catalogue import lesson
from tests.browser.driving import (
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

FACTOR, BASE = "context_factor", "context_base"
WAVELENGTHS, RATIOS, LOSSES = "context_wavelengths", "context_ratios", "context_losses"
VIEWS = ("loss", "frequencies", "distance", "needle", "config")


def open_link(page: Page, query: str) -> None:
    page.goto(f"/context?{query}")
    ready(page)


def wait_for_change(page: Page, key: str, before: str) -> str:
    """The values of a figure, once they differ from ``before``."""
    drawn = redraws(page, key)
    while (now := values(page, key)) == before:
        expect(figure(page, key)).not_to_have_attribute("data-drawn", str(drawn))
        drawn = redraws(page, key)
    return now


def finished(page: Page) -> None:
    """Wait until long work is done: its results in files stand below it."""
    expect(page.get_by_role("button", name="1 check")).to_be_visible()
    ready(page)


@pytest.mark.parametrize(("key", "parameter"), [(FACTOR, "factor"), (BASE, "base")])
def test_curves_move_while_a_slider_is_dragged(page: Page, key: str, parameter: str) -> None:
    open_link(page, "context_view=frequencies")
    before = {name: values(page, name) for name in (WAVELENGTHS, RATIOS)}
    with held(page, key, 0.6):
        move(page, key, 0.75)
        halfway = wait_for_change(page, WAVELENGTHS, before[WAVELENGTHS])
        move(page, key, 0.9)
        wait_for_change(page, WAVELENGTHS, halfway)
    ready(page)
    expect(page).to_have_url(re.compile(f"context_{parameter}="))
    if key == FACTOR:
        wait_for_change(page, RATIOS, before[RATIOS])


def test_the_score_of_a_real_query_and_key_follows_the_factor(page: Page) -> None:
    open_link(page, "context_view=distance&context_length=512")
    score, shares = values(page, "context_score"), values(page, "context_shares")
    with held(page, FACTOR, 0.6):
        move(page, FACTOR, 0.2)
        wait_for_change(page, "context_score", score)
    wait_for_change(page, "context_shares", shares)
    ready(page)


def test_losses_come_one_after_another_and_follow_the_factor_when_it_rests(page: Page) -> None:
    open_link(page, "context_view=loss&context_length=512&context_factor=5")
    finished(page)
    before = values(page, LOSSES)
    assert len(before.splitlines()) == 9  # eight methods and the band of the chosen one
    preview = values(page, "context_stretch")
    with held(page, FACTOR, 0.4):
        move(page, FACTOR, 0.1)
        wait_for_change(page, "context_stretch", preview)
    after = wait_for_change(page, LOSSES, before)
    finished(page)
    assert values(page, LOSSES) != before
    assert after != before


def test_long_work_is_stopped_by_its_button_and_goes_on_with_another_control(page: Page) -> None:
    open_link(page, "context_view=needle&context_seed=77&context_trials=8")
    button(page, "Stop").click()
    expect(button(page, "Go on")).to_be_visible()
    pick(page, "Up to (tokens)", "512")
    expect(button(page, "Go on")).to_have_count(0)
    finished(page)


def test_a_click_on_a_pair_explains_it(page: Page) -> None:
    open_link(page, "context_view=frequencies")
    at = figure(page, WAVELENGTHS).evaluate("figure => figure._fullLayout.yaxis.l2c(Math.log10(353.3))")
    assert at > 0
    click_cell(page, RATIOS, 12, 1)
    expect(page.get_by_label("Pair i", exact=True)).to_have_value("12")
    expect(page).to_have_url(re.compile("context_pair=12"))


def test_a_config_is_pasted_refused_and_mended(page: Page) -> None:
    open_link(page, "context_view=config")
    box = page.get_by_label("config.json", exact=True)
    for text, said in (("{", "no JSON"), ('{"model_type": "bert"}', "encoder"), ("[]", "brace")):
        box.fill(text)
        box.press("Control+Enter")
        expect(page.get_by_test_id("stAlert").filter(has_text=said)).to_be_visible()
        expect(box).to_have_value(text)
    config = {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2.0, "fector": 3}}
    box.fill(json.dumps(config))
    box.press("Control+Enter")
    expect(page.get_by_text("rope_scaling.fector").first).to_be_visible()
    ready(page)  # until then the last config's figure stands beside its own
    expect(figure(page, "context_config_wavelengths")).to_be_visible()
    ready(page)


def test_a_scene_sets_the_controls_that_it_names(page: Page) -> None:
    open_link(page, "context_view=frequencies")
    before = values(page, WAVELENGTHS)
    scene = next(scene for scene in lesson("context", "en").scenes if "base=500000" in scene.query)
    page.get_by_role("button", name="Scenes").click()
    page.get_by_role("button", name=scene.label).click()
    wait_for_change(page, WAVELENGTHS, before)
    expect(slider(page, BASE)).to_have_attribute("aria-valuetext", re.compile("500,?000"))
    ready(page)
