"""A long run on a page: started by hand or by itself, stoppable, with progress and a place in the queue.

The panel that shows a run draws from it a little at each of its reruns. Changed settings, another view
or another page end it: nobody asks any more, and nothing works on.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from components.live.address import remember, write_address
from components.page import Page
from components.refusal import sentence
from components.words import _
from components.work.runs import QUEUE, Held, name_here
from models.errors import InputError
from models.runtime.kept import Kept
from models.runtime.memory import drop_when_short
from models.runtime.turns import aside

SHARE = 0.35  # seconds of work between two drawings
TICK = 0.2  # seconds between two questions of a timer
WAITING = 0.5  # seconds between two questions for a slot
AT_ONCE = 1.0  # seconds, more than a result that is there already needs
ENDED_BYTES = 32_000_000  # of results that are kept for others


def _bytes_of(ended: tuple) -> int:
    """Of the tensors in a result."""
    return sum(
        value.nbytes for result in ended for value in vars(result).values() if hasattr(value, "nbytes")
    )


ENDED: Kept[tuple[str, object], tuple] = Kept(lambda: ENDED_BYTES, _bytes_of)
drop_when_short(ENDED.clear)


def forget_running(page: Page) -> None:
    """Begin a full run of the page: what was running pauses, and is not gone."""
    st.session_state.pop(f"{page.name}_going", None)


def run_of(
    page: Page, name: str, settings: object, make: Callable[[], Iterator[Any]], *, by_itself: bool = False
) -> Held | None:
    """The run of these settings, as far as it has come; a run of other settings is ended.

    ``by_itself`` starts it at once; else ``run_buttons`` do. What has started by itself for somebody and
    came to its end is not computed again for others: its last result is theirs at once. Raises
    InputError where none may start.
    """
    key, going = name_here(name), f"{page.name}_going"
    held = QUEUE.find(key)
    if held is not None and held.settings != settings:
        QUEUE.stop(key)
        st.session_state.pop(going, None)
        held = None
    if by_itself:
        if (held is None or not held.is_done) and (ended := ENDED.find((name, settings))) is not None:
            QUEUE.stop(key)
            held = QUEUE.start(key, settings, lambda: iter(ended))
            held.draw(AT_ONCE)
            st.session_state[going] = name
        held = held or QUEUE.start(key, settings, make)
        if held.is_done:
            ENDED.get((name, settings), lambda: tuple(held.seen[-1:]))
        else:
            st.session_state[going] = name
    return held


def run_buttons(
    page: Page,
    name: str,
    settings: object,
    make: Callable[[], Iterator[Any]],
    held: Held | None,
    *,
    is_real: bool = False,
) -> None:
    """Start, stop and go on. ``is_real``: a whole network is trained, of which fewer may be at once."""
    key, going = name_here(name), f"{page.name}_going"
    refused = f"{key}_refused"

    def start() -> None:
        st.session_state.pop(refused, None)
        try:
            QUEUE.start(key, settings, make, is_real=is_real)
        except InputError as error:  # said below, until the next press: a running panel is redrawn at once
            st.session_state[refused] = error
        else:
            st.session_state[going] = name

    def go_on() -> None:
        if QUEUE.find(key) is None:
            start()
        else:
            st.session_state[going] = name

    def stop() -> None:
        st.session_state.pop(refused, None)
        st.session_state.pop(going, None)

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(_("Start"), key=f"{page.name}_{name}_start", icon=":material/play_arrow:", on_click=start)
        if is_going(page, name):
            st.button(_("Stop"), key=f"{page.name}_{name}_stop", icon=":material/stop:", on_click=stop)
        elif held is not None and held.seen and not held.is_done:
            st.button(_("Go on"), key=f"{page.name}_{name}_on", icon=":material/resume:", on_click=go_on)
    if (error := st.session_state.get(refused)) is not None:
        st.warning(sentence(error), icon=":material/info:")
    _mark_in_address(page, name, held)


def _mark_in_address(page: Page, name: str, held: Held | None) -> None:
    """Keep in the address that a run is going on, and say so where its process is gone."""
    mark = f"{page.name}_going_on"
    was_interrupted = held is None and st.query_params.get(mark) == name
    if was_interrupted:
        st.info(
            _("A run that was going on here was interrupted. Start begins it again."),
            icon=":material/info:",
        )
    remember(mark, name if is_going(page, name) or was_interrupted else "", "")
    write_address(mark)


def run_controls(
    page: Page, name: str, settings: object, make: Callable[[], Iterator[Any]], total: int
) -> Held | None:
    """The run of these settings, as far as it has come, with its buttons and a progress bar."""
    held = run_of(page, name, settings, make)
    run_buttons(page, name, settings, make, held)
    if held is not None:
        show_progress(len(held.seen), total)
    return held


def is_going(page: Page, name: str) -> bool:
    return st.session_state.get(f"{page.name}_going") == name


def show_progress(done: int, total: int) -> None:
    st.progress(min(1.0, done / total), _("{done} of {total} steps").format(done=done, total=total))


def timer_for(page: Page, name: str, settings: object) -> float | None:
    """How often a panel asks again for its run; None once that is done.

    A run that starts by itself begins in a rerun of the whole page, from which no panel can ask for
    a rerun of itself.
    """
    held = QUEUE.find(name_here(name))
    is_done = held is not None and held.settings == settings and held.is_done
    st.session_state[f"{page.name}_timed"] = not is_done
    return None if is_done else TICK


def keep_going(page: Page, name: str, held: Held | None) -> None:
    """Work a little and draw the panel again, while the run is going; at most so many do at once.

    The last line of a panel: whatever stands after it would not be drawn.
    """
    if held is None or not is_going(page, name):
        return
    if held.is_done:
        st.session_state.pop(f"{page.name}_going", None)
        if st.session_state.pop(f"{page.name}_timed", False):
            st.rerun()  # the whole page, so that the timer ends
        _again()
        return
    place = QUEUE.place(name_here(name))
    said = (
        st.empty()
    )  # overwrites what an earlier run of the panel said: a run that is cut short clears nothing
    if place:
        said.info(_("Other runs are at work. Your place in the queue: {place}").format(place=place))
    with aside():
        if place:
            time.sleep(WAITING)
        else:
            held.draw(SHARE)
    _again()


def _again() -> None:
    """Rerun this panel, unless it was drawn as part of the page: then its timer does."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:
        return
