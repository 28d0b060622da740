"""Figure and control on one screen: every view, without scrolling, on two laptops and a phone."""

from contextlib import suppress

import pytest
from playwright.sync_api import Page, TimeoutError

from components.catalogue import PAGES
from tests.browser.driving import ready
from tests.browser.test_every_view import SHORT
from tests.pages.screen import views

SIZES = {"laptop": (1280, 720, 0.6), "large laptop": (1440, 900, 0.6), "phone": (390, 844, 0.5)}
LAID_OUT = 10_000  # milliseconds in which a window of another size has found its layout
# How much of the first figure (or table) of the stage is in sight, and whether a control of the rail is;
# where the rail has sliders, one of them must be.
SEEN = """() => {
    const bar = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--bar")) * 16 || 44;
    const rectOf = element => element.getBoundingClientRect();
    const isThere = box => box.width > 20 && box.height > 8;
    const share = box => {
        const height = Math.max(0, Math.min(box.bottom, innerHeight) - Math.max(box.top, bar));
        const width = Math.max(0, Math.min(box.right, innerWidth) - Math.max(box.left, 0));
        return height * width / Math.max(1, Math.min(box.width, innerWidth) * box.height);
    };
    const stage = document.querySelector(".st-key-stage");
    const boxes = (root, selector) => [...root.querySelectorAll(selector)].map(rectOf).filter(isThere);
    const first = boxes(stage, ".figure, [data-testid=stDataFrame], [data-testid=stTable], pre")[0];
    const sliders = boxes(document, ".st-key-rail [class*='_slider']");
    const others = boxes(document, ".st-key-rail [class*='_widget'], .st-key-rail button");
    const controls = sliders.length ? sliders : others;
    const inside = box => box.top >= bar - 2 && box.bottom <= innerHeight + 2;
    return {
        figure: first ? share(first) : 0,
        control: controls.length === 0 || controls.some(inside),
        sideways: document.documentElement.scrollWidth > innerWidth + 1,
    };
}"""


@pytest.mark.parametrize("name", [entry.name for entry in PAGES])
def test_figure_and_control_are_on_one_screen(page: Page, name: str) -> None:
    """Each view opens on the smaller laptop; the window then becomes the others."""
    missed = {}
    for view in views(name):
        page.set_viewport_size({"width": 1280, "height": 720})
        page.goto(f"/{name}?{name}_view={view.name}{SHORT.get(name, '')}")
        ready(page)
        for size, (width, height, least) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            with suppress(TimeoutError):
                page.wait_for_function(
                    f"least => {{ const seen = ({SEEN})();"
                    "return seen.figure >= least && seen.control && !seen.sideways; }",
                    arg=least,
                    timeout=LAID_OUT,
                )
                continue
            missed[view.name, size] = page.evaluate(SEEN)
    assert not missed
