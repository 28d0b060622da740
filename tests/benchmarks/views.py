"""Every view on a laptop's screen: figure beside control, sizes of letters, what a slider changes, axe.

Counts, and no times: another machine gives the same.
"""

import sys
from collections import Counter
from contextlib import suppress
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, TimeoutError, ViewportSize

from components.catalogue import PAGES
from tests.benchmarks.browsing import browser
from tests.benchmarks.figures import Figure, Goal
from tests.browser.driving import ready
from tests.browser.fold import SEEN, SIZES
from tests.browser.server import serving
from tests.browser.test_every_view import SHORT
from tests.pages.screen import views

LAPTOP: ViewportSize = {"width": 1280, "height": 720}
SMALLEST, SMALLEST_PRESENTING = 10.5, 16.0  # CSS pixels
SERIOUS = ("serious", "critical")
CHANGES = 6_000  # milliseconds in which a moved slider has changed a figure
# The size of every word in a figure, as it stands on the screen.
LETTERS = """() => [...document.querySelectorAll(".st-key-stage .figure svg text")]
    .filter(text => text.textContent.trim() && text.getBoundingClientRect().width > 0)
    .map(text => Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b)
        * parseFloat(getComputedStyle(text).fontSize))"""
# What each figure of the page shows, by its key.
SHOWN = """() => Object.fromEntries([...document.querySelectorAll(".figure")].map((figure, place) =>
    [place, [...figure.querySelectorAll("svg")].map(svg => svg.innerHTML).join("")]))"""
# Shares in sight of the figures that no longer show what they showed.
CHANGED = f"""before => {{
    const now = ({SHOWN})();
    return [...document.querySelectorAll(".figure")].flatMap((figure, place) => {{
        if (now[place] === before[place]) return [];
        const box = figure.getBoundingClientRect();
        return [Math.max(0, Math.min(box.bottom, innerHeight) - Math.max(box.top, 44)) / box.height];
    }});
}}"""
SLIDERS = """() => [...document.querySelectorAll(".st-key-rail input[type=range]")].filter(input => {
    const box = input.getBoundingClientRect();
    return !input.disabled && box.height > 0 && box.top >= 44 && box.bottom <= innerHeight;
}).map(input => input.id)"""


def measure() -> list[Figure]:
    counted: Counter[str] = Counter()
    shown = [(entry.name, view.name) for entry in PAGES for view in views(entry.name)]
    with browser() as opened, serving() as loupe:
        page = opened.new_page(base_url=loupe.address, viewport=LAPTOP, reduced_motion="reduce")
        for name, view in shown:
            counted += look(page, f"/{name}?{name}_view={view}{SHORT.get(name, '')}")
    return figures_of(counted)


def look(page: Page, address: str) -> Counter[str]:
    """What one view adds to the counts; what falls short is said on the standard error."""
    page.set_viewport_size(LAPTOP)
    page.goto(address)
    ready(page)
    made = Counter({"views": 1})
    sizes = page.evaluate(LETTERS)
    made |= Counter({"labels": len(sizes), "small labels": sum(size < SMALLEST for size in sizes)})
    for name, (width, height, least) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        made[name] = int(fits(page, least))
    page.set_viewport_size(LAPTOP)
    ready(page)
    found = Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in SERIOUS]
    for each in serious:
        say(address, f"axe {each['id']}: {each['nodes'][0]['html'][:160]}")
    made["axe"] = len(serious)
    for slider in page.evaluate(SLIDERS):
        made += changed_by(page, address, slider)
    page.goto(f"{address}&present=1")
    ready(page)
    with suppress(TimeoutError):  # laid out once more when the page knows that it is presented
        page.wait_for_function(
            f"least => ({LETTERS})().every(size => size >= least)", arg=SMALLEST_PRESENTING, timeout=CHANGES
        )
    sizes = page.evaluate(LETTERS)
    made |= Counter(
        {"presented": len(sizes), "small presented": sum(size < SMALLEST_PRESENTING for size in sizes)}
    )
    if small := [size for size in sizes if size < SMALLEST_PRESENTING]:
        say(
            address,
            f"{len(small)} labels under {SMALLEST_PRESENTING} px while presenting, {min(small):.1f}",
        )
    return made


def fits(page: Page, least: float) -> bool:
    """Whether figure and control are in sight, once the window's new size is laid out."""
    seen = f"least => {{ const seen = ({SEEN})(); return seen.figure >= least && seen.control; }}"
    try:
        page.wait_for_function(seen, arg=least, timeout=CHANGES)
    except TimeoutError:
        return False
    return True


def changed_by(page: Page, address: str, slider: str) -> Counter[str]:
    """Whether a figure that one step of a slider changes is in sight; none where it changes none."""
    shown = page.evaluate(SHOWN)
    handle = page.locator(f"[id='{slider}']")
    at_end = handle.evaluate("input => input.value === input.max")
    handle.press("ArrowLeft" if at_end else "ArrowRight")
    try:
        page.wait_for_function(f"before => ({CHANGED})(before).length > 0", arg=shown, timeout=CHANGES)
    except TimeoutError:
        say(address, f"{slider} changes no figure")
        return Counter({"idle sliders": 1})
    ready(page)
    in_sight = max(page.evaluate(CHANGED, shown), default=0.0) >= 0.6
    if not in_sight:
        say(address, f"{slider} changes a figure out of sight")
    return Counter({"sliders": 1, "sliders in sight": int(in_sight)})


def say(address: str, words: str) -> None:
    print(f"{address}: {words}", file=sys.stderr)


def figures_of(counted: Counter[str]) -> list[Figure]:
    """The table's rows; the reference is how many there are."""

    def row(name: str, part: str, whole: str, side: Literal["<=", ">="], limit: float) -> Figure:
        goal = Goal("ratio", side, limit) if limit else Goal("value", side, 0)
        return Figure("views", name, counted[part], "", goal, counted[whole])

    return [
        *(row(f"figure and control in sight, {size}", size, "views", ">=", 1.0) for size in SIZES),
        row("sliders whose changed figure is in sight", "sliders in sight", "sliders", ">=", 0.95),
        row("labels under 10.5 px", "small labels", "labels", "<=", 0.05),
        row("labels under 16 px, presenting", "small presented", "presented", "<=", 0.0),
        row("axe, serious", "axe", "views", "<=", 0.0),
    ]
