"""Every field of every view, given what no control has written: a value in range, or one sentence."""

import math
from typing import Any

import pytest

from components.catalogue import PAGES
from components.control_kinds import Control, Flag, Number, OneOf, Several, Slider, Text, of
from components.settings import View
from models.errors import InputError
from tests.pages.screen import views

VIEWS = [
    pytest.param(view, id=f"{entry.name} {view.name}") for entry in PAGES for view in views(entry.name)
]
TEXTS = ("", "x" * 10_000, "nan", "1e999", "-1e999", "9" * 400, "[1, 2]", "{'a': 1}", "\x00;|,", "١٢")
VALUES = (None, math.nan, math.inf, -math.inf, [1, 2], {"a": 1}, b"x", True, 10**400, -(10**9))


def is_allowed(control: Control, value: Any, view: View) -> bool:
    """Whether a control may stand at a value."""
    match control:
        case Slider():
            is_number = isinstance(value, int if control.whole else float) and not isinstance(value, bool)
            return is_number and of(control.low, view) <= value <= of(control.high, view)
        case Number():
            return type(value) is int and of(control.low, view) <= value <= of(control.high, view)
        case OneOf():
            return value in control.options_of(view)
        case Several():
            options = control.options_of(view)
            known = (
                isinstance(value, tuple) and set(value) <= set(options) and len(value) == len(set(value))
            )
            return known and control.least <= len(value) <= control.most
        case Flag():
            return isinstance(value, bool)
        case _:
            return isinstance(value, str) and isinstance(control, Text) and len(value) <= control.most


@pytest.mark.parametrize("view", VIEWS)
def test_a_field_stands_at_what_it_may_whatever_it_is_given(view):
    default = view.at()
    for name, control in view.controls().items():
        assert is_allowed(control, getattr(default, name), default), name
        for text in TEXTS:
            made = view.settled({name: text})
            assert is_allowed(control, getattr(made, name), made), (name, text[:20])
            if made.trouble is None:  # else the address leaves out what cannot be read now
                assert view.from_query(made.address()) == made, (name, text[:20])
        for value in VALUES:
            made = view.settled({name: value})
            assert is_allowed(control, getattr(made, name), made), (name, value)


def refusal(view: View) -> str:
    """The sentence in which a view refuses what it stands at; none where it can be drawn."""
    try:
        view.stage()
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("view", VIEWS)
def test_a_text_that_means_nothing_is_refused_with_one_sentence_or_read(view):
    for name, control in view.controls().items():
        if not isinstance(control, Text) or control.place == "head" or control.kept:
            continue
        for text in TEXTS:
            sentence = refusal(view.at(**{name: text}))
            assert sentence == "" or sentence.endswith("."), sentence
