"""What a live element in the browser has sent: it may be late, and it may be anything."""

import math
from collections.abc import Mapping
from typing import Any

import streamlit as st


def sent_by(element: str, name: str) -> Any:
    """What the element has sent under ``name``; None where there is nothing."""
    held = st.session_state.get(element)
    return held.get(name) if isinstance(held, Mapping) else None


def number_in(sent: Any, name: str) -> float | None:
    """A finite number that stands in what was sent; None where there is none."""
    value = sent.get(name) if isinstance(sent, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of 400 digits
        return None
