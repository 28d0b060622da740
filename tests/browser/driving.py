"""Hands and eyes in the browser: wait until Loupe is still, drag, click a cell, read a figure.

Nothing here sleeps for a fixed time: it waits for what it needs to see.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, expect

LAUNCH_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STILL = "[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"
PATIENCE = 60_000  # milliseconds, no measure of speed: the machine may be shared with others

_ALL_DRAWN = """() => !document.querySelector("[data-testid=stSkeleton]") &&
    [...document.querySelectorAll(".figure")].every(figure => figure.dataset.drawn)"""
_FITS = """() => ["html", "[data-testid=stMain]"].every(selector => {
    const area = document.querySelector(selector);
    return area.scrollWidth <= area.clientWidth && area.clientWidth <= innerWidth;
})"""
_VALUES = """figure => figure.calcdata.map(([{z, trace}]) => Array.from(
    z ? Array.from(z).flatMap(row => Array.from(row)) : (trace.orientation === "h" ? trace.x : trace.y),
    value => Number(value).toFixed(6)).join(" ")).join("\\n")"""
_RANGES = "figure => [figure._fullLayout.xaxis.range, figure._fullLayout.yaxis.range]"
_CELL = """(figure, [column, row]) => {
    const { xaxis, yaxis } = figure._fullLayout, box = figure.getBoundingClientRect();
    return [box.left + xaxis._offset + xaxis.c2p(column), box.top + yaxis._offset + yaxis.c2p(row)];
}"""


def ready(page: Page) -> None:
    """Wait until the connection stands, no script runs, and all elements are mounted and drawn."""
    expect(page.locator(STILL)).to_be_attached(timeout=PATIENCE)
    page.wait_for_function(_ALL_DRAWN, timeout=PATIENCE)


def fits_the_window(page: Page) -> None:
    """Wait until nothing reaches past the window's right edge."""
    page.wait_for_function(_FITS)


def figure(page: Page, key: str) -> Locator:
    """A live figure by its key, once it has been drawn."""
    return page.locator(f".st-key-{key} .figure[data-drawn]")


def button(page: Page, label: str) -> Locator:
    """A button of the page by its words; Streamlit's own "Stop" in the header is another one."""
    return page.get_by_test_id("stMainBlockContainer").get_by_role("button", name=label, exact=True)


def open_menu(page: Page, key: str) -> Locator:
    """Open one of the head line's menus by its key, where it is not open; what is in it."""
    inside = page.get_by_test_id("stPopoverBody")
    if inside.count() == 0:
        page.locator(f".st-key-{key}").get_by_role("button").click()
    expect(inside).to_be_visible()
    return inside


def slider(page: Page, key: str) -> Locator:
    """A live slider by its key."""
    return page.locator(f"#slider-{key}")


def values(page: Page, key: str) -> str:
    """All numbers that a figure shows, as text with six decimals: equal where the data are."""
    return figure(page, key).evaluate(_VALUES)


def ranges(page: Page, key: str) -> list[list[float]]:
    """The x and y ranges of a figure: its zoom."""
    return figure(page, key).evaluate(_RANGES)


def redraws(page: Page, key: str) -> int:
    """How often a live figure has been drawn since it was mounted."""
    return int(figure(page, key).get_attribute("data-drawn") or 0)


def cell_position(page: Page, key: str, column: float, row: float) -> tuple[float, float]:
    """Where a point of a figure, in the axes' own numbers, is in the window."""
    figure(page, key).scroll_into_view_if_needed()
    x, y = figure(page, key).evaluate(_CELL, [column, row])
    return x, y


def click_cell(page: Page, key: str, column: float, row: float) -> None:
    """Click a point of a figure, in the axes' own numbers."""
    x, y = cell_position(page, key, column, row)
    page.mouse.move(x, y)  # Plotly takes a click for the point it last hovered
    page.mouse.click(x, y)


def zoom_in(page: Page, key: str) -> None:
    """Zoom by dragging a rectangle over the middle of a figure, as a person does."""
    before = ranges(page, key)
    box = figure(page, key).locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"], steps=8)
    page.mouse.up()
    page.wait_for_function(
        f"([figure, before]) => JSON.stringify(({_RANGES})(figure)) !== JSON.stringify(before)",
        arg=[figure(page, key).element_handle(), before],
    )


@contextmanager
def held(page: Page, key: str, at: float) -> Iterator[None]:
    """Press the mouse on a live slider, ``at`` a share of its width, and release it at the end."""
    move(page, key, at)
    page.mouse.down()
    try:
        yield
    finally:
        page.mouse.up()


def track(page: Page, key: str) -> tuple[float, float, float]:
    """Left end, middle height and width of a live slider, in the window's pixels."""
    box = slider(page, key).bounding_box()
    assert box is not None
    return box["x"], box["y"] + box["height"] / 2, box["width"]


def move(page: Page, key: str, at: float) -> None:
    """Move the mouse to a share, 0 to 1, of a live slider's width."""
    left, middle, width = track(page, key)
    page.mouse.move(left + at * width, middle)


def cell_is_selected(page: Page, column: int, row: int) -> None:
    """Wait until the first table says that a cell is selected; its row labels are column 0.

    It says so a fifth of a second later, and moves the focus then: an editor that was opened sooner, as
    no person could, loses its keys.
    """
    cell = page.get_by_test_id("stDataFrame").first.get_by_test_id(f"glide-cell-{column}-{row}")
    expect(cell).to_have_attribute("aria-selected", "true", timeout=PATIENCE)


def pick(page: Page, label: str, option: str) -> None:
    """Choose an option of a selectbox, both by the words on them."""
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option).click()
