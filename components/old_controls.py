"""Controls with translated labels, and setting a page's controls from a link."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl

import streamlit as st

from components.live.address import remember
from components.live.kept import keep

T = TypeVar("T")
LONGEST_IN_ADDRESS = 1_500  # characters; servers and browsers refuse much longer addresses


def choose(
    label: str,
    options: Sequence[T],
    key: str,
    label_of: Callable[[T], str],
    *,
    default: T,
    style: Literal["select", "segments", "radio"] = "select",
    **layout: Any,
) -> T:
    """One of several options whose labels are translated and whose values stand in the address.

    ``st.session_state[key]`` holds the value and outlives the widget; scenes may write it. A value
    that is no option (an old link, a shorter text) becomes the default.
    """
    state, widget = st.session_state, f"{key}_widget"
    default = default if default in options else options[0]
    if key not in state:
        asked = st.query_params.get(key)
        state[key] = next((option for option in options if str(option) == asked), default)
    if state[key] not in options:
        state[key] = default
    state[widget] = state[key]

    def take() -> None:
        state[key] = state[widget]

    common: dict[str, Any] = {"format_func": label_of, "key": widget, "on_change": take} | layout
    if style == "segments":
        st.segmented_control(label, options, required=True, **common)
    elif style == "radio":
        st.radio(label, options, **common)
    else:
        st.selectbox(label, options, **common)
    remember(key, state[key], default)
    return state[key]


def whole_number(label: str, low: int, high: int, key: str, default: int, **layout: Any) -> int:
    """A whole number that stands in the address; anything else there gives the default.

    ``st.session_state[key]`` holds the value and outlives the widget.
    """
    state, widget = st.session_state, f"{key}_widget"
    if key not in state:
        asked = st.query_params.get(key, "")
        state[key] = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else default
    state[key] = min(high, max(low, state[key]))
    state[widget] = state[key]

    def take() -> None:
        state[key] = state[widget]

    st.number_input(label, low, high, key=widget, on_change=take, **layout)
    remember(key, state[key], default)
    return state[key]


def choose_several(
    label: str,
    options: Sequence[str],
    key: str,
    label_of: Callable[[str], str],
    *,
    default: Sequence[str],
    most: int,
    least: int = 1,
    **layout: Any,
) -> list[str]:
    """Some of several options; the address holds their values between commas.

    ``st.session_state[key]`` holds the values and outlives the widget. Without any that is an option,
    the default is taken, unless ``least`` is 0.
    """
    state, widget = st.session_state, f"{key}_widget"
    asked = state[key] if key in state else [st.query_params.get(key, ",".join(default))]
    values = [value for item in asked for value in item.split(",")]
    known = [value for value in dict.fromkeys(values) if value in options][:most]
    state[key] = known if len(known) >= least else list(default)
    state[widget] = state[key]

    def take() -> None:
        state[key] = state[widget]

    st.multiselect(
        label, options, format_func=label_of, key=widget, on_change=take, max_selections=most, **layout
    )
    remember(key, ",".join(state[key]), ",".join(default))
    return state[key]


def text_field(label: str, key: str, default: str, *, lines: int = 1, **layout: Any) -> str:
    """Typed text that stands in the address, or in the browser's tab where it is too long for that.

    ``st.session_state[key]`` holds the text and outlives the widget; scenes may write it.
    """
    state, widget = st.session_state, f"{key}_widget"
    if key not in state:
        state[key] = st.query_params.get(key, default)
    state[widget] = state[key]

    def take() -> None:
        state[key] = state[widget]

    field = st.text_area if lines > 1 else st.text_input
    typed = field(label, key=widget, on_change=take, **layout)
    is_long = len(typed) > LONGEST_IN_ADDRESS and typed != default
    remember(key, default if is_long else typed, default)
    keep(key, typed, is_long)
    return typed


def switch(label: str, key: str, **layout: Any) -> bool:
    """A toggle, off at first, whose state stands in the address and outlives the widget."""
    state, widget = st.session_state, f"{key}_widget"
    if key not in state:
        state[key] = st.query_params.get(key) == "true"
    state[widget] = state[key]

    def take() -> None:
        state[key] = state[widget]

    st.toggle(label, key=widget, on_change=take, **layout)
    remember(key, str(state[key]).lower(), "false")
    return state[key]


def parse_link(query: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The controls that a link names, each as the type of its default.

    Lists are written by repeating the parameter. Raises ValueError on a control that the page
    does not have, or a value that is not of its type.
    """
    values: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in defaults:
            raise ValueError(f"There is no control called {key!r}.")
        default = defaults[key]
        if isinstance(default, list):
            values[key] = [*values.get(key, []), text]
        elif isinstance(default, bool):
            if text not in ("true", "false"):
                raise ValueError(f"{key} is true or false.")
            values[key] = text == "true"
        else:
            values[key] = type(default)(text)
            if isinstance(values[key], float) and not math.isfinite(values[key]):
                raise ValueError(f"{key} must be a finite number.")
    return values


def apply_link(query: str, defaults: Mapping[str, object], kept: frozenset[str]) -> None:
    """Set the controls that ``query`` names and put the others back, except the ``kept`` ones."""
    values = parse_link(query, defaults)
    for key, default in defaults.items():
        if key in values:
            st.session_state[key] = values[key]
        elif key not in kept:
            st.session_state[key] = default
