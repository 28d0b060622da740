"""Markup in every text field, and addresses that no control has written: nothing of it is carried out."""

import html
import re

import pytest

from components.catalogue import PAGES
from tests.pages.screen import constant, open_page

NAMES = [entry.name for entry in PAGES]
MARK = "lOuPe"  # in no page's own words
SCRIPT = f"<script>{MARK}()</script><img src=x onerror={MARK}()>"
MARKDOWN = f"[{MARK}](javascript:{MARK}()) ![{MARK}](https://elsewhere.example/{MARK}) **{MARK}** :red[{MARK}]"
INPUTS = [SCRIPT, MARKDOWN, f"$\\href{{javascript:{MARK}()}}{{x}}$ `{MARK}` ${{{MARK}}} {{0}} %s"]
CARRIED_OUT = re.compile(
    rf"<(script|img)[^>]*{MARK}|<script>|\]\(javascript:|!\[{MARK}|\*\*{MARK}\*\*|:red\[{MARK}", re.IGNORECASE
)


def shown_as_markup(screen):
    """What the browser would read as HTML or Markdown. Quoted code in it is text."""
    for kind in ("html", "markdown", "caption", "info", "warning", "error", "success", "title"):
        for element in screen.get(kind):
            body = getattr(element, "value", None) or getattr(element.proto, "body", "")
            without_code = re.sub(r"(`+).+?\1|\\[\[\]()!*:<$`_{}]", "", str(body), flags=re.DOTALL)
            yield kind, body, without_code


def nothing_is_carried_out(screen):
    for kind, body, without_code in shown_as_markup(screen):
        assert not CARRIED_OUT.search(without_code), (kind, body)
        if kind != "html":
            assert not getattr(getattr(screen, kind, None), "allow_html", False)
    assert not screen.exception


def views_of(name):
    try:
        return list(constant(name, "VIEWS"))
    except (KeyError, ValueError):
        return [None]


@pytest.mark.parametrize("typed", INPUTS, ids=["script", "markdown", "formula"])
@pytest.mark.parametrize("name", NAMES)
def test_markup_in_every_text_field_stays_text(name, typed):
    for view in views_of(name):
        screen = open_page(name, **({f"{name}_view": view} if view else {}))
        for kind in ("text_area", "text_input"):
            for number in range(len(getattr(screen, kind))):
                fields = getattr(screen, kind)
                if number >= len(fields):  # what was typed has taken it away
                    break
                fields[number].set_value(typed).run()
                nothing_is_carried_out(screen)
                screen = open_page(name, **({f"{name}_view": view} if view else {}))


@pytest.mark.parametrize("value", ["x" * 1_000, SCRIPT, "-1", "1e999", "nan", "\x00", "9" * 1_000, "注" * 400])
@pytest.mark.parametrize("name", NAMES)
def test_addresses_that_no_control_has_written_open_the_page(name, value):
    controls = [key for key in constant(name, "DEFAULTS") if not key.endswith("_view")]
    screen = open_page(name, lang=value, missing=value, **dict.fromkeys(controls, value))
    assert screen.title
    nothing_is_carried_out(screen)


@pytest.mark.parametrize("asked", [SCRIPT, MARKDOWN, "x" * 10_000])
def test_a_page_that_is_not_there_is_named_as_text(asked):
    screen = open_page("home", missing=asked)
    nothing_is_carried_out(screen)
    assert html.unescape(screen.info[0].value)
