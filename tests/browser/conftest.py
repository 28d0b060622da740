"""Fixtures of the browser tests: a running Loupe, a Chromium, and a watch on what goes wrong."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Playwright, expect

from tests.browser.driving import LAUNCH_ARGS, PATIENCE
from tests.browser.find_chromium import NONE_FOUND, in_ci, own_chromium, system_chromium
from tests.browser.server import Server, serving

expect.set_options(timeout=PATIENCE)

# On a deep link Streamlit's page looks for its server under the link's own path first.
_LOOKING_FOR_BASE = re.compile(r"/[a-z]+/_stcore/(health|host-config)$")


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
    return {**browser_context_args, "base_url": base_url, "viewport": window}


@pytest.fixture(autouse=True)
def nothing_went_wrong(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no error in a console, no traceback on a page or in the server's log."""
    if "new_context" not in request.fixturenames:  # a test without a browser
        yield
        return
    request.getfixturevalue("new_context")  # first, so that its pages are still open at the end
    browser: Browser = request.getfixturevalue("browser")
    server: Server = request.getfixturevalue("server")
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and not _LOOKING_FOR_BASE.search(message.location["url"]):
            errors.append(f"{message.text} ({message.location['url']})")

    def watch(context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE)
        context.on("console", note)
        context.on("weberror", lambda error: errors.append(str(error.error)))

    browser.on("context", watch)
    already_said = len(server.said)
    yield
    browser.remove_listener("context", watch)
    assert not errors
    said = server.said[already_said:]
    assert "Traceback" not in said, said[-4_000:]
    pages = [page for context in browser.contexts for page in context.pages]
    assert all(page.get_by_text("Traceback").count() == 0 for page in pages)
