"""Panels: a few controls, a figure and its arithmetic, which pages put together."""

from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec

import streamlit as st

from components.live.address import write_address
from components.live.follow import remember_panel
from components.refusal import refusals
from components.server.watch import panel_timed

P = ParamSpec("P")


def panel(draw: Callable[P, None], run_every: float | None = None) -> Callable[P, None]:
    """A fragment, named like its function, whose refusals appear as a sentence in its place.

    ``run_every`` draws it again every so many seconds, as long work needs that starts by itself.
    """

    @st.fragment(key=draw.__name__, run_every=run_every)
    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> None:
        with panel_timed(draw.__name__), refusals():
            draw(*args, **kwargs)
        write_address(draw.__name__)

    return inside


def live_panel(draw: Callable[P, None]) -> Callable[P, None]:
    """A panel that is drawn again and again while a slider is dragged.

    Only its figures change: words, tables and checks that follow the slider wait for the release, in
    another panel. One whose words change is still correct, and several times slower.
    """

    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        with refusals():
            draw(*args, **kwargs)

    @st.fragment(key=draw.__name__)
    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> None:
        remember_panel(draw.__name__, partial(drawn, *args, **kwargs))
        with panel_timed(draw.__name__):
            drawn(*args, **kwargs)

    return inside
