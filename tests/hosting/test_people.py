"""People in front of a hosted Loupe: they sign in, work, lose their replica, and go on."""

import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.browser.driving import (
    PATIENCE,
    button,
    figure,
    held,
    move,
    open_menu,
    ready,
    redraws,
    slider,
    values,
)
from tests.hosting.hosting import Hosted

HEATMAP, TEMPERATURE = "attention_heatmap", "attention_temperature"
WINDOW = {"width": 1280, "height": 1600}
_EXPECTED = re.compile(
    r"_stcore/(health|host-config|stream)|502|503|ERR_CONNECTION|WebSocket|favicon.ico|"
    "when disconnected from server"  # the timer of a run asks on
)
SETTLED_MILLISECONDS = 700  # without a change, after which a figure is the last one
LINK = "/attention?attention_text=The+cat+sat+on+the+mat.+The+dog+sat&attention_layer=2&attention_head=3"


@pytest.fixture
def person(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of somebody's own; at the end, nothing but the loss of a connection has gone wrong."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        said = f"{message.text} ({message.location['url']})"
        is_ours = message.location["url"].startswith("http://127.0.0.1")  # the provider's page is not
        if message.type == "error" and is_ours and not _EXPECTED.search(said):
            errors.append(said)

    context = browser.new_context(viewport=WINDOW, locale="en-US")
    context.set_default_timeout(PATIENCE)
    context.on("console", note)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    assert not errors  # among them whatever the content security policy stops
    assert all(page.get_by_text("Traceback").count() == 0 for page in context.pages)
    context.close()


def text_box(page: Page) -> Locator:
    """Where the text is written, in the menu of network and text."""
    return open_menu(page, "loupe_text").get_by_role("textbox", name="Text", exact=True)


def replica_of(person: BrowserContext) -> str:
    return next(cookie["value"] for cookie in person.cookies() if cookie["name"] == "loupe_replica")


def drag(page: Page, start: float) -> None:
    """Drag the temperature a little to the right, and see the heatmap follow before it is let go."""
    slider(page, TEMPERATURE).scroll_into_view_if_needed()
    before = values(page, HEATMAP)
    with held(page, TEMPERATURE, start):
        drawn = redraws(page, HEATMAP)
        for step in range(1, 6):
            move(page, TEMPERATURE, start + 0.02 * step)
        page.wait_for_function(
            "([figure, drawn]) => Number(figure.dataset.drawn) > drawn",
            arg=[figure(page, HEATMAP).element_handle(), drawn],
        )
    wait_for_address(page, TEMPERATURE)
    settle(page)
    assert values(page, HEATMAP) != before


def settle(page: Page) -> None:
    """Wait for the last value of a drag: on a busy machine it is drawn after those that came before."""
    last = None
    while (now := (page.url, values(page, HEATMAP))) != last:
        last = now
        page.wait_for_timeout(SETTLED_MILLISECONDS)
        ready(page)


def lose_replica(hosted: Hosted, person: BrowserContext, page: Page) -> float:
    """Kill the process that serves this person; the seconds until the page stands on another one."""
    lost = replica_of(person)
    hosted.wait_until_in()
    begun = time.monotonic()
    page.evaluate("() => { window.isBefore = true; }")
    hosted.kill(lost)
    page.wait_for_function("() => !window.isBefore")  # it has loaded itself by its address
    ready(page)
    taken = time.monotonic() - begun
    assert replica_of(person) != lost
    return taken


def wait_for_address(page: Page, part: str) -> None:
    page.wait_for_function("part => window.location.href.includes(part)", arg=part)


def test_signing_in_working_losing_the_replica_and_going_on(closed: Hosted, person: BrowserContext):
    page = person.new_page()
    page.goto(closed.address + LINK)
    expect(page.get_by_role("heading", name="Loupe")).to_be_visible()
    assert page.locator(".figure").count() == 0
    assert page.get_by_text("Attention").count() == 0
    refused = page.request.post(closed.address + "/loupe/follow", data="{}")
    assert refused.status == 401

    page.get_by_role("button", name="Sign in").click()
    page.get_by_placeholder("sub").fill("ada@example.org")
    page.get_by_role("button", name="Authorize").click()
    wait_for_address(page, closed.address + LINK)  # what was asked for, not the home page
    ready(page)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()

    drag(page, 0.6)
    shown, address = values(page, HEATMAP), page.url
    lose_replica(closed, person, page)
    assert page.url == address
    settle(page)
    assert values(page, HEATMAP) == shown
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()  # still signed in
    expect(text_box(page)).to_have_value("The cat sat on the mat. The dog sat")
    page.keyboard.press("Escape")
    drag(page, 0.8)
    assert parse_qs(urlsplit(page.url).query)["attention_layer"] == ["2"]

    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()
    page.goto(address)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_long_text_and_an_interrupted_run_outlive_the_replica(plain: Hosted, person: BrowserContext):
    page = person.new_page()
    text = "Every lighthouse keeper writes down the wind, the sea and the hour. " * 30
    page.goto(plain.address + "/attention")
    ready(page)
    area = text_box(page)
    area.fill(text)
    area.press("Control+Enter")
    wait_for_address(page, "attention_text_kept=true")
    ready(page)
    lose_replica(plain, person, page)
    expect(text_box(page)).to_have_value(text)
    page.reload()
    ready(page)
    expect(text_box(page)).to_have_value(text)

    page.goto(plain.address + "/optimizers?optimizers_view=training")
    ready(page)
    button(page, "Start").click()
    wait_for_address(page, "going=optimizers_training")
    expect(button(page, "Stop")).to_be_visible()
    lose_replica(plain, person, page)
    expect(page.get_by_text("A run that was going on here was interrupted.")).to_be_visible()
    button(page, "Start").click()
    expect(button(page, "Stop")).to_be_visible()
    expect(page.get_by_text("A run that was going on here was interrupted.")).not_to_be_visible()
