"""Figure and control on one screen: what is in sight of a view, without scrolling."""

from playwright.sync_api import Page, TimeoutError

from tests.browser.driving import PATIENCE, fits_the_window

SIZES = {"laptop": (1280, 720, 0.6), "large laptop": (1440, 900, 0.6), "phone": (390, 844, 0.5)}
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


def missed(page: Page) -> dict[str, dict]:
    """The sizes at which too little of a view is in sight, each with what is; the last one is a phone's.

    Waits at each size until nothing reaches past the window's right edge.
    """
    short = {}
    for size, (width, height, least) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        try:
            page.wait_for_function(
                f"least => {{ const seen = ({SEEN})();"
                "return seen.figure >= least && seen.control && !seen.sideways; }",
                arg=least,
                timeout=PATIENCE,
            )
        except TimeoutError:
            short[size] = page.evaluate(SEEN)
        fits_the_window(page)
    return short
