"""What was typed is text in Chromium: no link, no picture, no letter of another kind."""

from pathlib import Path

from playwright.sync_api import Page

from components.refusal import JOINER
from tests.browser.server import HEALTH, serving
from tests.components.test_refusal import TYPED

MARKED = "a, img, em, strong, code, del, h1, h2, h3, hr, ul, ol, table, blockquote, pre, sup, input, .katex"


def test_nothing_that_is_typed_is_carried_out(new_context):
    with serving(Path(__file__).parent / "plain_page.py", HEALTH) as server:
        page: Page = new_context().new_page()
        page.goto(server.address)
        page.wait_for_selector(f".st-key-typed_{len(TYPED) - 1} button")
        for number, typed in enumerate(TYPED):
            part = page.locator(f".st-key-typed_{number} [data-testid=stMarkdownContainer]")
            assert part.locator(MARKED).count() == 0, typed
            assert part.locator("[data-testid=stIconMaterial], [style*=color]").count() == 0, typed
            shown = {" ".join(text.replace(JOINER, "").split()) for text in part.all_inner_texts()}
            expected = " ".join(typed.split())
            assert shown <= {expected, f"Not known: {expected}"}, typed
        assert page.locator("a[href^=http], a[href^=mailto]").count() == 0
