"""Fixtures of the browser tests: a running Loupe, a Chromium, and a watch on what goes wrong."""

import re
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Playwright, WebError, expect

from tests.browser.driving import LAUNCH_ARGS, PATIENCE
from tests.browser.find_chromium import NONE_FOUND, in_ci, own_chromium, system_chromium
from tests.browser.server import Server, serving

expect.set_options(timeout=PATIENCE)

# On a deep link Streamlit's page looks for its server under the link's own path first.
_LOOKING_FOR_BASE = re.compile(r"/[a-z]+/_stcore/(health|host-config)$")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser test is tried once more: three browsers on two cores lose a key press now and then."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> str:
    """The browser's path. With none, tests skip with a written reason, or fail under CI=true."""
    path = system_chromium() or own_chromium(playwright)
    if path is None and in_ci():
        pytest.fail(NONE_FOUND)
    return path or pytest.skip(NONE_FOUND)


@pytest.fixture(scope="session")
def server(chromium: str) -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def base_url(server: Server) -> str:
    return server.address


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict, chromium: str) -> dict:
    return {**browser_type_launch_args, "executable_path": chromium, "args": LAUNCH_ARGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict, base_url: str) -> dict:
    # Tall enough that a slider and the figure it moves are on screen together.
    window = {"width": 1280, "height": 1600}
    # Without a graphics card every frame of an animation costs: a third of the work of opening a page.
    still = {"reduced_motion": "reduce"}
    return {**browser_context_args, **still, "base_url": base_url, "viewport": window}


@pytest.fixture(scope="session")
def warm_context(browser: Browser, browser_context_args: dict) -> Iterator[BrowserContext]:
    """One context for all tests of a worker: to compile the scripts anew takes most of opening a page."""
    with closing(browser.new_context(**browser_context_args)) as context:
        context.set_default_timeout(PATIENCE)
        yield context


@pytest.fixture
def context(warm_context: BrowserContext) -> Iterator[BrowserContext]:
    """That context with nothing in it but its caches; ``new_context`` gives one that nobody has used."""
    yield warm_context
    for page in warm_context.pages:
        with suppress(Error):  # a page that was never opened has no storage
            page.evaluate("() => localStorage.clear()")
        page.close()
    warm_context.clear_cookies()
    warm_context.clear_permissions()


@pytest.fixture(autouse=True)
def nothing_went_wrong(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no error in a console, no traceback on a page or in the server's log."""
    if "browser" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("new_context")  # first, so that its pages are still open at the end
    warm: BrowserContext = request.getfixturevalue("context")
    browser: Browser = request.getfixturevalue("browser")
    server: Server = request.getfixturevalue("server")
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and not _LOOKING_FOR_BASE.search(message.location["url"]):
            errors.append(f"{message.text} ({message.location['url']})")

    def caught(error: WebError) -> None:
        errors.append(str(error.error))

    def watch(context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE)
        context.on("console", note)
        context.on("weberror", caught)

    warm.on("console", note)
    warm.on("weberror", caught)
    browser.on("context", watch)
    already_said = len(server.said)
    yield
    browser.remove_listener("context", watch)
    warm.remove_listener("console", note)
    warm.remove_listener("weberror", caught)
    assert not errors
    said = server.said[already_said:]
    assert "Traceback" not in said, said[-4_000:]
    pages = [page for context in browser.contexts for page in context.pages]
    assert all(page.get_by_text("Traceback").count() == 0 for page in pages)
