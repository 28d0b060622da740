"""The attention page as a person meets it: by link, mouse, keyboard, in both languages and themes."""

import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from components.catalogue import lesson
from components.live.follow import FOLLOW_ROUTE
from tests.browser.driving import (
    click_cell,
    figure,
    held,
    move,
    open_menu,
    pick,
    ranges,
    ready,
    redraws,
    slider,
    values,
    zoom_in,
)

HEATMAP, GRID, TEMPERATURE = "attention_heatmap", "attention_grid", "attention_temperature"
LINK = "/attention?attention_layer=1&attention_head=4&attention_temperature=2"
VIEWS = ("look", "find", "depth", "scale", "softmax", "sharing")


def open_link(page: Page, link: str = LINK) -> None:
    page.goto(link)
    ready(page)


def combobox(page: Page, label: str) -> Locator:
    return page.get_by_role("combobox", name=label, exact=True)


def shows_head(page: Page, layer: int, head: int) -> None:
    """The controls, the heatmap's name and the address all speak of one head."""
    expect(combobox(page, "Layer")).to_have_value(str(layer))
    expect(combobox(page, "Head")).to_have_value(str(head))
    expect(figure(page, HEATMAP)).to_have_attribute("aria-label", f"Layer {layer}, head {head}, Softmax")
    for name, value in (("layer", layer), ("head", head)):  # a default does not stand in the address
        expect(page).not_to_have_url(re.compile(rf"attention_{name}=(?!{value}(&|$))"))


def in_address(page: Page, name: str) -> str | None:
    return parse_qs(urlsplit(page.url).query).get(name, [None])[0]


def number_on(page: Page, key: str) -> float:
    """The number that a live slider shows."""
    return float(slider(page, key).get_attribute("aria-valuetext").split()[0])


def wait_for_change(page: Page, key: str, before: str) -> str:
    """The values of a figure, once they differ from ``before``."""
    drawn = redraws(page, key)
    while (now := values(page, key)) == before:
        expect(figure(page, key)).not_to_have_attribute("data-drawn", str(drawn))
        drawn = redraws(page, key)
    return now


def text_box(page: Page) -> Locator:
    """Where the text is written, in the menu of network and text."""
    return open_menu(page, "loupe_text").get_by_label("Text", exact=True)


def type_text(page: Page, text: str) -> Locator:
    box = text_box(page)
    box.fill(text)
    box.press("Control+Enter")
    return box


# By link


def test_a_cold_deep_link_restores_its_state(page: Page) -> None:
    open_link(page)
    shows_head(page, 1, 4)
    expect(slider(page, TEMPERATURE)).to_have_attribute("aria-valuetext", "2.00")
    assert in_address(page, TEMPERATURE) == "2"


def test_a_copied_link_opens_the_same_state_elsewhere(
    page: Page, context: BrowserContext, new_context: Callable[..., BrowserContext]
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_link(page, "/attention?attention_layer=2&attention_head=3&attention_temperature=0.5")
    type_text(page, "The cat saw the dog, and the dog saw the cat.")
    expect(page).to_have_url(re.compile("attention_text="))
    page.keyboard.press("Escape")
    ready(page)
    before = values(page, GRID)
    click_cell(page, HEATMAP, 4, 9)
    expect(combobox(page, "Query")).to_have_value(re.compile("^9 "))
    open_menu(page, "loupe_take")
    page.get_by_role("button", name="Copy the link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()

    other = new_context().new_page()
    open_link(other, page.evaluate("() => navigator.clipboard.readText()"))
    shows_head(other, 2, 3)
    expect(text_box(other)).to_have_value(re.compile("^The cat saw the dog"))
    expect(combobox(other, "Query")).to_have_value(re.compile("^9 "))
    expect(combobox(other, "Key")).to_have_value(re.compile("^4 "))
    assert values(other, HEATMAP) == values(page, HEATMAP)
    assert values(other, GRID) == before


def test_back_and_forward_restore_pages_and_their_state(page: Page) -> None:
    open_link(page, "/")
    page.get_by_role("link", name="Attention").last.click()
    expect(page).to_have_url(re.compile("/attention"))
    ready(page)
    head = int(combobox(page, "Head").input_value())
    pick(page, "Layer", "2")
    shows_head(page, 2, head)
    page.get_by_role("link", name="Loupe").first.click()
    expect(page).not_to_have_url(re.compile("/attention"))
    expect(page.get_by_role("heading", name=lesson("home", "en").title, exact=True)).to_be_visible()
    page.go_back()
    expect(page).to_have_url(re.compile("/attention"))
    ready(page)
    shows_head(page, 2, head)
    page.go_back()
    expect(page).not_to_have_url(re.compile("attention_layer"))
    page.go_forward()
    expect(page).to_have_url(re.compile("/attention"))
    ready(page)
    expect(figure(page, HEATMAP)).to_be_visible()


# Others without a browser: tests/pages/test_attention_input.py
BAD_QUERY = (
    "attention_temperature=abc&attention_layer=99&attention_view=nowhere&attention_text=%00%07&unknown=1"
)


def test_a_query_string_with_bad_values_opens_a_page_that_works(page: Page) -> None:
    open_link(page, f"/attention?{BAD_QUERY}")
    expect(page.get_by_role("heading", name="Attention", exact=True)).to_be_visible()
    expect(page.get_by_text("Something went wrong")).to_have_count(0)
    page.get_by_role("radio", name="Entropy and rank").click()
    ready(page)
    expect(figure(page, "attention_rank")).to_be_visible()
    ready(page)


# By mouse and keyboard


def test_a_dragged_slider_redraws_the_figure_before_it_is_released(page: Page) -> None:
    open_link(page)
    node = figure(page, HEATMAP).element_handle()
    zoom_in(page, HEATMAP)
    zoomed, before = ranges(page, HEATMAP), values(page, HEATMAP)
    with held(page, TEMPERATURE, 0.62):
        move(page, TEMPERATURE, 0.75)
        halfway = wait_for_change(page, HEATMAP, before)
        move(page, TEMPERATURE, 0.9)
        wait_for_change(page, HEATMAP, halfway)
        assert ranges(page, HEATMAP) == zoomed
    ready(page)
    assert ranges(page, HEATMAP) == zoomed
    assert node.evaluate(
        "(node, key) => node === document.querySelector(key)", f".st-key-{HEATMAP} .figure"
    )


def test_what_a_drag_painted_is_what_a_fresh_page_paints(page: Page) -> None:
    ends = listen_to_runs(page)
    open_link(page)
    before = values(page, HEATMAP)
    ends.clear()
    with held(page, TEMPERATURE, 0.62):
        move(page, TEMPERATURE, 0.9)
        wait_for_change(page, HEATMAP, before)
        assert ends == []  # figures followed without a rerun
    ready(page)
    dragged = painted(page)
    page.reload()
    ready(page)
    assert painted(page) == dragged


def test_where_figures_cannot_follow_alone_a_drag_redraws_by_reruns(page: Page) -> None:
    ends = listen_to_runs(page)
    open_link(page)
    page.route(f"**{FOLLOW_ROUTE}", lambda route: route.fulfill(json={"figures": None}))
    before = values(page, HEATMAP)
    ends.clear()
    with held(page, TEMPERATURE, 0.62):
        move(page, TEMPERATURE, 0.9)
        wait_for_change(page, HEATMAP, before)
        assert ends


def painted(page: Page) -> str | None:
    """The picture of the heatmap's cells."""
    return figure(page, HEATMAP).locator("image").first.get_attribute("href")


def test_the_address_holds_the_value_after_release(page: Page) -> None:
    open_link(page)
    with held(page, TEMPERATURE, 0.62):
        move(page, TEMPERATURE, 0.9)
        expect(slider(page, TEMPERATURE)).not_to_have_attribute("aria-valuetext", "2.00")
    expect(page).not_to_have_url(re.compile("temperature=2(&|$)"))
    ready(page)
    assert float(in_address(page, TEMPERATURE)) == pytest.approx(number_on(page, TEMPERATURE), rel=0.01)


def test_the_slider_moves_by_keyboard_and_a_double_click_puts_it_back(page: Page) -> None:
    open_link(page)
    before = values(page, HEATMAP)
    slider(page, TEMPERATURE).focus()
    for _press in range(3):
        page.keyboard.press("ArrowRight")
    after = wait_for_change(page, HEATMAP, before)
    ready(page)
    step = (20 / 0.05) ** (1 / 200)  # 200 equal factors from the lower to the upper end
    assert number_on(page, TEMPERATURE) == pytest.approx(2 * step**3, rel=0.01)
    assert float(in_address(page, TEMPERATURE)) == pytest.approx(2 * step**3, rel=0.01)
    slider(page, TEMPERATURE).dblclick()
    wait_for_change(page, HEATMAP, after)
    expect(slider(page, TEMPERATURE)).to_have_attribute("aria-valuetext", "1.00")
    expect(page).not_to_have_url(re.compile(TEMPERATURE))


def test_a_click_on_a_cell_explains_that_cell(page: Page) -> None:
    open_link(page)
    products = values(page, "attention_products")
    click_cell(page, HEATMAP, 3, 9)
    expect(page.get_by_text(re.compile(r"\(token 9\) read from .* \(token 3\)"))).to_be_visible()
    expect(combobox(page, "Query")).to_have_value(re.compile("^9 "))
    expect(combobox(page, "Key")).to_have_value(re.compile("^3 "))
    assert wait_for_change(page, "attention_products", products)


def test_a_click_on_a_head_opens_it(page: Page) -> None:
    open_link(page)
    before = values(page, HEATMAP)
    layers = figure(page, GRID).evaluate("figure => figure._fullLayout.yaxis.tickvals")
    heads = figure(page, GRID).evaluate("figure => figure._fullLayout.xaxis.tickvals")
    click_cell(page, GRID, heads[2] - 4, layers[3] + 4)
    shows_head(page, 3, 2)
    wait_for_change(page, HEATMAP, before)


def test_a_scene_sets_the_controls_that_it_names(page: Page) -> None:
    open_link(page)
    before = values(page, HEATMAP)
    scene = next(scene for scene in lesson("attention", "en").scenes if "exponent=0" in scene.query)
    open_menu(page, "loupe_scenes").get_by_role("button", name=scene.label).click()
    expect(slider(page, "attention_exponent")).to_have_attribute("aria-valuetext", "0.00")
    expect(slider(page, TEMPERATURE)).to_have_attribute("aria-valuetext", "1.00")
    wait_for_change(page, HEATMAP, before)
    ready(page)
    assert in_address(page, "attention_exponent") == "0"
    assert in_address(page, TEMPERATURE) is None


def test_a_fragment_does_not_rerun_the_page(page: Page) -> None:
    ends = listen_to_runs(page)
    with page.expect_websocket() as opened:
        open_link(page)
    before = values(page, HEATMAP)
    ends.clear()
    run_ends = opened.value.expect_event("framereceived", lambda frame: _end_of_run(frame) is not None)
    with run_ends, held(page, TEMPERATURE, 0.62):
        move(page, TEMPERATURE, 0.9)
        wait_for_change(page, HEATMAP, before)
    ready(page)
    assert ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY in ends
    assert ForwardMsg.FINISHED_SUCCESSFULLY not in ends


def listen_to_runs(page: Page) -> list[int]:
    """A list that grows from now on with every script run that ends: how it ended."""
    ends: list[int] = []

    def hear(frame: bytes | str) -> None:
        if (end := _end_of_run(frame)) is not None:
            ends.append(end)

    page.on("websocket", lambda socket: socket.on("framereceived", hear))
    return ends


def _end_of_run(frame: bytes | str) -> int | None:
    """How a script run ended, if the message says that one did."""
    if isinstance(frame, str):
        return None
    message = ForwardMsg.FromString(frame)
    return message.script_finished if message.WhichOneof("type") == "script_finished" else None


# Words and looks


def test_the_language_switch_turns_the_whole_page_and_back(page: Page) -> None:
    open_link(page)
    for language, name in (("zh", "中文"), ("en", "English")):
        pick(page, "Language · 语言", name)
        there = lesson("attention", language)
        expect(page.get_by_role("heading", name=there.title, exact=True)).to_be_visible()
        expect(page.get_by_text(there.question)).to_be_visible()
        expect(page.get_by_text(there.views["look"].watch)).to_be_visible()
        ready(page)
        expect(slider(page, TEMPERATURE)).to_have_attribute("aria-valuetext", "2.00")
        expect(figure(page, HEATMAP)).to_have_attribute("aria-label", re.compile("1.*4"))
    shows_head(page, 1, 4)


@pytest.mark.parametrize(("scheme", "darkest", "lightest"), [("light", 200, 255), ("dark", 0, 60)])
def test_figures_are_drawn_on_the_theme_s_paper(
    page: Page, scheme: Literal["light", "dark"], darkest: int, lightest: int
) -> None:
    page.emulate_media(color_scheme=scheme)
    open_link(page)
    paper = figure(page, HEATMAP).evaluate(
        "figure => getComputedStyle(figure.querySelector('.main-svg')).backgroundColor"
    )
    ink = (
        figure(page, HEATMAP)
        .locator(".xaxislayer-above text")
        .first.evaluate("text => getComputedStyle(text).fill")
    )
    assert all(darkest <= part <= lightest for part in _rgb(paper))
    assert abs(sum(_rgb(paper)) - sum(_rgb(ink))) > 300  # of 765: the labels can be read


def _rgb(colour: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", colour)[:3]]


# Bad input. What is refused and how it is said: tests/pages/test_attention_input.py, without a browser.


def test_a_text_that_cannot_be_read_gets_one_sentence_and_stays(page: Page) -> None:
    open_link(page)
    box = type_text(page, "x" * 100_001)
    alert = page.get_by_test_id("stAlert")
    expect(alert).to_have_count(1)
    expect(alert).to_have_text(re.compile(r"The text .*\.$"))
    expect(box).to_have_value("x" * 100_001)
    type_text(page, "The session goes on.")
    expect(alert).to_have_count(0)
    ready(page)  # before that the figure that goes stands beside the one that comes
    expect(figure(page, HEATMAP)).to_be_visible()


def test_an_unusual_text_is_shown(page: Page) -> None:
    open_link(page)
    before = values(page, HEATMAP)
    text = "a\x07b 👩‍🚀 灯塔上的钟声。<|start|> <b>&amp;</b>"
    box = type_text(page, text)
    wait_for_change(page, HEATMAP, before)
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    expect(box).to_have_value(text)
    ready(page)
