"""Refusals reach the person as one sentence in their language, and failures never as a traceback."""

import logging

import pytest
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from streamlit.testing.v1 import AppTest

from components import words
from components.refusal import sentence
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
    assert MarkdownIt("gfm-like", {"linkify": False}).renderInline(said) == escapeHtml(
        f"There is no folder {MARKUP}."
    )
    assert sentence(InputError("{value!r} is wrong.", value="*a*")) == r"'\*a\*' is wrong."
    assert sentence(InputError("{value:.3} is wrong.", value="***a")) == r"\*\*\* is wrong."
    assert sentence(InputError("There are {count}.", count=7)) == "There are 7."


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
