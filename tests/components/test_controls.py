"""Links set controls: every value as the type of its default, and nothing that the page has not."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from components.old_controls import parse_link

DEFAULTS = {
    "page_text": "",
    "page_count": 0,
    "page_width": 1.0,
    "page_flag": False,
    "page_heads": [],
}


@given(
    text=st.text(st.characters(codec="utf-8")),
    count=st.integers(-(10**9), 10**9),
    width=st.floats(allow_nan=False, allow_infinity=False),
    heads=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1),
)
def test_a_link_says_what_was_written_into_it(text, count, width, heads):
    values = {"page_text": text, "page_count": count, "page_width": width, "page_heads": heads}
    assert parse_link(urlencode(values, doseq=True), DEFAULTS) == values


def test_values_have_the_types_of_their_defaults():
    values = parse_link("page_width=3&page_count=-1&page_flag=true", DEFAULTS)
    assert values == {"page_width": 3.0, "page_count": -1, "page_flag": True}
    assert [type(value) for value in values.values()] == [float, int, bool]


def test_booleans_and_empty_values():
    assert parse_link("page_flag=true", DEFAULTS) == {"page_flag": True}
    assert parse_link("page_flag=false", DEFAULTS) == {"page_flag": False}
    assert parse_link("page_text=", DEFAULTS) == {"page_text": ""}
    assert parse_link("", DEFAULTS) == {}


def test_lists_are_written_by_repeating_and_the_defaults_stay_as_they_are():
    assert parse_link("page_heads=0.1&page_heads=2.3", DEFAULTS) == {"page_heads": ["0.1", "2.3"]}
    assert DEFAULTS["page_heads"] == []


@pytest.mark.parametrize(
    "query",
    [
        "page_other=1",
        "page_count=1.5",
        "page_count=many",
        "page_count=",
        "page_width=wide",
        "page_flag=maybe",
        *(f"page_width={word}" for word in ("nan", "NaN", "inf", "-inf", "1e999")),
    ],
)
def test_what_a_page_does_not_have_or_is_not_of_its_type_is_refused(query):
    with pytest.raises(ValueError):  # noqa: PT011  # int() and float() word theirs themselves
        parse_link(query, DEFAULTS)


def linked_page():
    import streamlit as st

    from components.old_controls import apply_link

    defaults = {"page_width": 1.0, "page_count": 3, "page_text": "typed"}
    for key, value in defaults.items():
        st.session_state.setdefault(key, value)
    st.button("Go", on_click=apply_link, args=("page_width=2", defaults, frozenset({"page_text"})))


def test_a_link_puts_other_controls_back_and_leaves_kept_ones():
    page = AppTest.from_function(linked_page).run()
    page.session_state["page_count"] = 4
    page.session_state["page_text"] = "my own words"
    page.button[0].click().run()
    assert not page.exception
    assert page.session_state["page_width"] == 2.0
    assert page.session_state["page_count"] == 3
    assert page.session_state["page_text"] == "my own words"


def numbered_page():
    import streamlit as st

    from components.old_controls import whole_number

    st.write(whole_number("Count", 0, 9, "page_count", 3))


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("7", 7),
        ("12", 9),
        ("-2", 3),
        ("2.5", 3),
        ("nan", 3),
        ("1e999", 3),
        ("９", 3),
        ("9" * 400, 3),
        ("", 3),
    ],
)
def test_a_whole_number_from_the_address_is_clamped_or_the_default(asked, shown):
    page = AppTest.from_function(numbered_page)
    page.query_params["page_count"] = asked
    page.run()
    assert not page.exception
    assert page.session_state["page_count"] == page.number_input[0].value == shown


def test_a_whole_number_keeps_what_is_typed():
    page = AppTest.from_function(numbered_page).run()
    page.number_input[0].set_value(5).run()
    assert page.session_state["page_count"] == 5


FIELDS = """
import streamlit as st
from components.old_controls import switch, text_field

st.session_state["seen"] = (text_field("Words", "page_words", "as ever"), switch("Off", "page_off"))
"""


def test_text_and_switch_come_from_the_address_and_outlive_their_widgets():
    screen = AppTest.from_string(FIELDS)
    screen.query_params["page_words"], screen.query_params["page_off"] = "from afar", "true"
    screen.run()
    assert screen.session_state["seen"] == ("from afar", True)
    screen.text_input[0].set_value("typed").run()
    screen.toggle[0].set_value(False).run()
    assert screen.session_state["seen"] == ("typed", False)
    screen.session_state["page_words"], screen.session_state["page_off"] = "of a scene", True
    screen.run()
    assert (screen.text_input[0].value, screen.toggle[0].value) == ("of a scene", True)


@pytest.mark.parametrize("asked", ["1", "True", "yes", ""])
def test_a_switch_is_on_only_for_the_word_true(asked):
    screen = AppTest.from_string(FIELDS)
    screen.query_params["page_off"] = asked
    assert screen.run().session_state["seen"] == ("as ever", False)


def test_a_text_too_long_for_an_address_does_not_stand_in_it():
    screen = AppTest.from_string(FIELDS).run()
    for typed, written in (("short", "short"), ("x" * 1_501, None)):
        screen.text_input[0].set_value(typed).run()
        assert screen.session_state["loupe_address"]["page_words"] == written
