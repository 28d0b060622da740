"""The home page and the process: first paint, memory once it is warm."""

from statistics import median

from playwright.sync_api import Browser

from tests.benchmarks.bare import HELLO, bare
from tests.benchmarks.browsing import browser
from tests.benchmarks.figures import Figure, Goal
from tests.browser.driving import ready
from tests.browser.server import serving

LOADS = 9
PAINT = "first-contentful-paint"
# Streamlit paints its own frame before a script has answered, so the script's words are timed too.
_NOTE_WORDS = """new MutationObserver((_, observer) => {
    if (!document.querySelector("[data-testid=stHeading] h1, [data-testid=stMarkdown] p")) return;
    window.wordsAt = performance.now();
    observer.disconnect();
}).observe(document, { subtree: true, childList: true });"""


def load(opened: Browser, address: str) -> tuple[float, float]:
    """Milliseconds to the first contentful paint and to the script's first words, nothing cached."""
    with opened.new_context() as context:
        page = context.new_page()
        page.add_init_script(_NOTE_WORDS)
        page.goto(address)
        page.wait_for_function("() => window.wordsAt")
        ready(page)
        paint = page.evaluate("name => performance.getEntriesByName(name)[0].startTime", PAINT)
        return paint, page.evaluate("() => wordsAt")


def measure() -> list[Figure]:
    with browser() as opened, serving() as loupe, bare(HELLO) as hello:
        memory = loupe.resident_megabytes
        for server in (loupe, hello):
            load(opened, server.address)  # the first load of a process is not measured
        bare_memory = hello.resident_megabytes
        pairs = [(load(opened, loupe.address), load(opened, hello.address)) for _ in range(LOADS)]
    figures = [
        Figure(
            "home",
            name,
            median(ours[index] for ours, _ in pairs),
            "ms",
            Goal("ratio", "<=", 1.3),
            median(theirs[index] for _, theirs in pairs),
        )
        for index, name in enumerate(("first paint", "first words of the script"))
    ]
    return [
        *figures,
        Figure("home", "memory after warm-up", memory, "MB", Goal("value", "<=", 1200), bare_memory),
    ]
