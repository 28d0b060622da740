"""A browser for measuring, and a stopwatch inside its pages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.driving import LAUNCH_ARGS, track
from tests.browser.find_chromium import NONE_FOUND, own_chromium, system_chromium

EVENTS_A_SECOND = 30  # of the mouse, while something is dragged

# Notes when an event of the person happened, and when a matching part of the page last changed.
_STOPWATCH = """([event, selector]) => {
    const watch = window.stopwatch = { event: null, drawn: null, events: 0 };
    addEventListener(event, () => {
        watch.event = performance.now(); watch.drawn = null; watch.events += 1;
    }, true);
    const touches = ({ target, addedNodes }) =>
        target.matches?.(selector) ||
        [...addedNodes].some(node => node.matches?.(selector) || node.querySelector?.(selector));
    new MutationObserver(changes => {
        if (watch.event !== null && changes.some(touches)) watch.drawn = performance.now();
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""
_STILL = "still => stopwatch.drawn !== null && performance.now() - stopwatch.drawn > still"


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium. Raises RuntimeError where there is none."""
    with sync_playwright() as playwright:
        path = system_chromium() or own_chromium(playwright)
        if path is None:
            raise RuntimeError(NONE_FOUND)
        running = playwright.chromium.launch(executable_path=path, args=LAUNCH_ARGS)
        try:
            yield running
        finally:
            running.close()


def start_stopwatch(page: Page, event: str, selector: str) -> None:
    """From now on note each ``event``, and each change of an element that matches ``selector``."""
    page.evaluate(_STOPWATCH, [event, selector])


def milliseconds_to_redraw(page: Page, still: int) -> float:
    """From the last event to the last change, once nothing has changed for ``still`` milliseconds."""
    page.wait_for_function(_STILL, arg=still, timeout=30_000)
    return page.evaluate("() => stopwatch.drawn - stopwatch.event")


def events(page: Page) -> int:
    """How many events the stopwatch has noted."""
    return page.evaluate("() => stopwatch.events")


def drag(page: Page, key: str, seconds: float) -> float:
    """Move the pressed mouse to and fro on a live slider, EVENTS_A_SECOND times; the seconds it took."""
    left, middle, width = track(page, key)
    moves = round(EVENTS_A_SECOND * seconds)
    begun = time.perf_counter()
    for step in range(1, moves + 1):
        phase = 2 * step / moves % 1
        page.mouse.move(left + width * (0.1 + 1.6 * min(phase, 1 - phase)), middle)
        time.sleep(max(0.0, begun + step / EVENTS_A_SECOND - time.perf_counter()))
    return time.perf_counter() - begun
