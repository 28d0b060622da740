"""Padding, packing and streaming as a person meets them: switches, sliders, typed text, narrow windows."""

import re

from playwright.sync_api import Page, expect

from tests.browser.driving import figure, held, move, ready, redraws, slider, values

SHAPE, LOSSES, WINDOW = "masks_stream_shape", "masks_stream_losses", "masks_stream_window"
STREAM = "/masks?masks_view=stream&masks_stream_tokens=200&masks_stream_prefill=150"


def open_link(page: Page, link: str) -> None:
    page.goto(link)
    ready(page)


def wait_for_change(page: Page, key: str, before: str) -> str:
    """The values of a figure, once they differ from ``before``."""
    drawn = redraws(page, key)
    while (now := values(page, key)) == before:
        expect(figure(page, key)).not_to_have_attribute("data-drawn", str(drawn))
        drawn = redraws(page, key)
    return now


def flip(page: Page, label: str) -> None:
    page.get_by_text(label, exact=True).click()


def test_a_forgotten_mask_changes_logits_and_stands_in_the_address(page: Page) -> None:
    open_link(page, "/masks?masks_view=padding")
    changes, bars = values(page, "masks_pad_changes"), values(page, "masks_pad_next")
    flip(page, "Forget the mask")
    wait_for_change(page, "masks_pad_changes", changes)
    wait_for_change(page, "masks_pad_next", bars)
    expect(page).to_have_url(re.compile("masks_pad_no_mask=true"))
    ready(page)
    flip(page, "Forget the mask")
    expect(page).not_to_have_url(re.compile("masks_pad_no_mask"))
    ready(page)
    assert values(page, "masks_pad_changes") == changes


def test_typed_prompts_make_another_batch(page: Page) -> None:
    open_link(page, "/masks?masks_view=padding")
    before = values(page, "masks_pad_row1")
    field = page.get_by_role("textbox", name="Second prompt")
    field.fill("The tide turned and the boat came home.")
    field.press("Control+Enter")
    wait_for_change(page, "masks_pad_row1", before)
    expect(page).to_have_url(re.compile("masks_pad_second=The"))


def test_the_block_mask_leaks_when_it_is_forgotten(page: Page) -> None:
    open_link(page, "/masks?masks_view=packing")
    before = values(page, "masks_pack_mask")
    flip(page, "Forget the block mask")
    wait_for_change(page, "masks_pack_mask", before)
    ready(page)
    expect(page.get_by_text("This check failed.")).to_have_count(0)


def test_a_line_that_is_no_conversation_gets_one_sentence_and_stays(page: Page) -> None:
    open_link(page, "/masks?masks_view=packing")
    box = page.get_by_role("textbox", name=re.compile("^Conversations"))
    box.fill("no border here")
    box.press("Control+Enter")
    alert = page.get_by_test_id("stAlert")
    expect(alert).to_have_text(re.compile("Line 1 is not of the form"))
    expect(box).to_have_value("no border here")
    box.fill("one => two")
    box.press("Control+Enter")
    expect(alert).to_have_count(0)
    ready(page)
    expect(figure(page, "masks_pack_mask")).to_be_visible()
    ready(page)


def test_the_cache_follows_the_slider_and_the_losses_follow_its_release(page: Page) -> None:
    open_link(page, STREAM)
    shape, losses = values(page, SHAPE), values(page, LOSSES)
    with held(page, WINDOW, 0.45):
        move(page, WINDOW, 0.6)
        shape = wait_for_change(page, SHAPE, shape)
        move(page, WINDOW, 0.7)
        wait_for_change(page, SHAPE, shape)
        assert values(page, LOSSES) == losses
    wait_for_change(page, LOSSES, losses)
    ready(page)
    assert re.search(r"masks_stream_window=\d", page.url)
    expect(page.get_by_text("This check failed.")).to_have_count(0)


def test_a_scene_shows_what_it_names(page: Page) -> None:
    open_link(page, STREAM)
    page.get_by_role("button", name="Scenes").click()
    page.get_by_role("button", name="A narrow window, no sinks").click()
    expect(slider(page, "masks_stream_sinks")).to_have_attribute("aria-valuetext", "0")
    expect(slider(page, WINDOW)).to_have_attribute("aria-valuetext", "8")
    ready(page)


def test_cells_too_narrow_for_their_words_keep_them_for_hover(page: Page) -> None:
    written = "figure => [figure.data[0].text, figure.data[0].customdata]"
    for width, rows_written in ((1280, 3), (390, 2)):  # the ids of tokens are too wide for a phone
        page.set_viewport_size({"width": width, "height": 900})
        open_link(page, "/masks?masks_view=padding")
        shown, kept = figure(page, "masks_pad_row0").evaluate(written)
        assert sum(any(row) for row in shown) == rows_written
        assert all(all(row) for row in kept)
