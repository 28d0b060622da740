"""Refusals reach the person as one sentence in their language, and failures never as a traceback."""

import logging
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from streamlit.testing.v1 import AppTest

from components import words
from components.refusal import JOINER, plain, sentence
from models.errors import InputError

TOO_LONG = "The text has {count} characters; at most {most} are accepted."


@pytest.fixture
def speaking():
    before = words._language
    yield lambda code: words.follow(lambda: code)
    words.follow(before)


def test_a_refusal_is_spoken_in_the_language_of_the_session(speaking):
    error = InputError(TOO_LONG, count=7, most=5)
    assert sentence(error) == str(error) == "The text has 7 characters; at most 5 are accepted."
    speaking("zh")
    assert sentence(error) == "文本有 7 个字符；最多接受 5 个。"


def test_values_with_braces_are_not_filled_in_again():
    assert sentence(InputError("There is no folder {name}.", name="{name}")) == "There is no folder {name}."


MARKUP = "[a](https://x.y) ![b](c) `d` **e** $f$ <g> www.h.i \\\\ :red[j]"


def test_what_was_typed_is_quoted_and_not_carried_out():
    said = sentence(InputError("There is no folder {name}.", name=MARKUP))
    shown = MarkdownIt("gfm-like", {"linkify": False}).renderInline(said)
    assert shown.replace(JOINER, "") == escapeHtml(f"There is no folder {MARKUP}.")
    assert sentence(InputError("{value!r} is wrong.", value="*a*")) == r"'\*a\*' is wrong."
    assert sentence(InputError("{value:.3} is wrong.", value="***a")) == r"\*\*\* is wrong."
    assert sentence(InputError("There are {count}.", count=7)) == "There are 7."


TYPED = [
    "https://evil.example/login",
    "Sign in again: HTTP://evil.example/login",
    "www.evil.example",
    "WWW.evil.example/a_b_c",
    "a@evil.example",
    "mailto:a@evil.example xmpp:a@evil.example/x",
    "<https://evil.example>",
    "<a href=https://evil.example>x</a>",
    "[Click](https://evil.example)",
    "[Click][1]\n\n[1]: https://evil.example",
    "![x](https://tracker.example/p.png)",
    "rope_![x](https://tracker.example/p.png)",
    "*a* **a** _a_ __a__ ~~a~~ ~a~ `a` ``a`` ==a==",
    "snake_case_name __init__ a * b * c",
    "$x$ $$x$$ \\(x\\)",
    ":red[a] :red :blue-background[a] :material/delete: :smile: :streamlit: :badge[a]",
    "# a",
    "- a\n- b",
    "1. a",
    "---",
    "> a",
    "|a|b|\n|-|-|\n|c|d|",
    "    code",
    "&lt;b&gt; &#x3c; AT&T",
    "[^1] [ ] [x] \\[a] \\\\ \\*a*",
    "C:\\Users\\a:b",
]


# What mdast-util-gfm-autolink-literal 2.0.1 makes links of in text whose marks have been read.
LINKS = [
    re.compile(r"(https?://|www(?=\.))([-.\w]+)([^ \t\r\n]*)", re.IGNORECASE),
    re.compile(r"(?<![-.\w+])([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)"),
]


@pytest.mark.parametrize("typed", TYPED, ids=range(len(TYPED)))
def test_nothing_that_is_typed_becomes_markup(typed):
    """By a parser of the same dialect; Chromium is asked in tests/browser/test_plain.py."""
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(plain(typed))
    text = shown.removeprefix("<p>").removesuffix("</p>\n")
    assert not any(link.search(text) for link in LINKS)
    assert text.replace(JOINER, "").split() == escapeHtml(" ".join(typed.splitlines())).split()


def test_values_of_any_kind_are_quoted():
    error = InputError("{path} and {list} and {count:,}.", path=Path("/*a*"), list=["*b*"], count=1_000)
    assert sentence(error) == r"/\*a\* and \['\*b\*'\] and 1,000."


def refusing_page():
    import streamlit as st

    from components.refusal import refusals
    from models.errors import InputError

    typed = st.text_input("Text", key="typed")
    with refusals():
        if typed == "long":
            raise InputError(
                "The text has {count} characters; at most {most} are accepted.", count=7, most=5
            )
        if typed == "broken":
            raise RuntimeError("a secret of the server")
        st.write("drawn")
    st.write("the rest")


def test_a_refused_part_leaves_the_rest_of_the_page_and_what_was_typed():
    page = AppTest.from_function(refusing_page).run()
    page.text_input(key="typed").set_value("long").run()
    assert not page.exception
    assert [warning.value for warning in page.warning] == [
        "The text has 7 characters; at most 5 are accepted."
    ]
    assert [text.value for text in page.markdown] == ["the rest"]
    assert page.text_input(key="typed").value == "long"
    page.text_input(key="typed").set_value("short").run()
    assert [text.value for text in page.markdown] == ["drawn", "the rest"]


def test_what_is_not_a_refusal_is_not_swallowed():
    page = AppTest.from_function(refusing_page).run()
    page.text_input(key="typed").set_value("broken").run()
    assert page.exception
    assert not page.warning


def failing_page():
    import streamlit as st

    from components.refusal import show_failure
    from models.errors import InputError

    handled = [
        show_failure(RuntimeError("a secret of the server")),
        show_failure(InputError("There is no folder {name}.", name="'x'")),
    ]
    st.write(str(handled))


def test_a_failure_is_logged_with_its_traceback_and_shown_as_a_sentence(caplog):
    with caplog.at_level(logging.ERROR, logger="loupe"):
        page = AppTest.from_function(failing_page).run()
    assert not page.exception
    assert [text.value for text in page.markdown] == ["[True, True]"]
    (shown,) = page.error
    assert shown.value.startswith("Something went wrong on this page.")
    assert "secret" not in shown.value
    assert [warning.value for warning in page.warning] == ["There is no folder 'x'."]
    (record,) = caplog.records
    assert str(record.exc_info[1]) == "a secret of the server"
