"""Buttons and progress of a long run: start, stop, go on; any changed control ends it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import streamlit as st

from components.page import Page
from components.runs import QUEUE, Held, name_here
from components.words import _

SHARE = 0.35  # seconds of work between two drawings
WAITING = 0.5  # seconds between two questions for a slot


def forget_running(page: Page) -> None:
    """Begin a full run of the page: what was running pauses, and is not gone."""
    st.session_state.pop(f"{page.name}_going", None)


def run_controls(
    page: Page, name: str, settings: object, make: Callable[[], Iterator[Any]], total: int
) -> Held | None:
    """The run of these settings, as far as it has come; with its buttons and a progress bar."""
    key, going = name_here(name), f"{page.name}_going"
    held = QUEUE.find(key)
    if held is not None and held.settings != settings:
        QUEUE.stop(key)
        st.session_state.pop(going, None)
        held = None

    def start() -> None:
        QUEUE.start(key, settings, make)
        st.session_state[going] = name

    def go_on() -> None:
        if QUEUE.find(key) is None:
            QUEUE.start(key, settings, make)
        st.session_state[going] = name

    def stop() -> None:
        st.session_state.pop(going, None)

    is_going = st.session_state.get(going) == name
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(_("Start"), key=f"{page.name}_{name}_start", icon=":material/play_arrow:", on_click=start)
        if is_going:
            st.button(_("Stop"), key=f"{page.name}_{name}_stop", icon=":material/stop:", on_click=stop)
        elif held is not None and not held.is_done:
            st.button(_("Go on"), key=f"{page.name}_{name}_on", icon=":material/resume:", on_click=go_on)
        if held is not None:
            done = len(held.seen)
            st.progress(min(1.0, done / total), _("{done} of {total} steps").format(done=done, total=total))
    return held


def keep_going(page: Page, name: str, held: Held | None) -> None:
    """Work a little and draw again, while the run is going; at most so many do at once.

    The last line of a panel: whatever stands after it would not be drawn.
    """
    going, key = f"{page.name}_going", name_here(name)
    if held is None or st.session_state.get(going) != name:
        return
    if held.is_done:
        st.session_state.pop(going, None)
        st.rerun(scope="fragment")
    place = QUEUE.place(key)
    if place:
        st.info(_("Other runs are at work. Your place in the queue: {place}").format(place=place))
        time.sleep(WAITING)
    else:
        held.draw(SHARE)
    st.rerun(scope="fragment")
