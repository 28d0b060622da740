"""Panels: a few controls, a figure and its arithmetic, which pages put together."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from components.live.address import write_address
from components.refusal import refusals

P = ParamSpec("P")


def panel(draw: Callable[P, None]) -> Callable[P, None]:
    """A fragment, named like its function, whose refusals appear as a sentence in its place."""

    @st.fragment(key=draw.__name__)
    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> None:
        with refusals():
            draw(*args, **kwargs)
        write_address(draw.__name__)

    return inside


def live_panel(draw: Callable[P, None]) -> Callable[P, None]:
    """A panel that reruns while a slider is dragged. Keep it to the sliders and what must follow.

    The browser needs a millisecond or two for every element of a rerun, more than the server: what
    may wait for the release belongs into another panel.
    """

    @st.fragment(key=draw.__name__)
    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> None:
        with refusals():
            draw(*args, **kwargs)

    return inside
