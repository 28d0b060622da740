"""A browser for measuring, and a stopwatch inside its pages."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.driving import LAUNCH_ARGS
from tests.browser.find_chromium import NONE_FOUND, own_chromium, system_chromium

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
