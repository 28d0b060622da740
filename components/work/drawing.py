"""A stage that shows long work: a button that starts it, progress while it goes on, and its figure."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import streamlit as st

from components.live.address import remember, write_address
from components.refusal import refusals, sentence, show_failed
from components.server.watch import panel_timed
from components.streamlit_private import fragment_here
from components.words import _
from components.work.runs import SHARED, Run, was_started
from models.errors import InputError

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

GOING = "going"  # the address's parameter that names a run which goes on
QUEUE_SECONDS = 2.0  # between two looks at the place of a run that waits
BUTTONS = 52  # pixels of the line above the figures, with Start or the progress and Stop
REDRAW_SECONDS = 0.4  # between two redraws of a stage whose run is at work


class Draw(Protocol[T_contra]):
    """Draws results as far as there are any; ``faint`` where they are recorded and not the person's."""

    def __call__(self, results: Sequence[T_contra], *, faint: bool = False) -> None: ...


def stage(
    run: Run[T],
    draw: Draw[T],
    *,
    recorded: Callable[[], Sequence[T]] | None = None,
    autostart: bool = False,
) -> None:
    """Draw a run with its buttons, and again every so often while it is at work.

    A start, a stop and the end of the run each rerun the page once, so that what stands below the
    stage follows.

    draw: draws the results that there are. It may be called with none.
    recorded: results to show, faintly, until the person has some of their own.
    autostart: whether the run begins by itself. It has no Start button then, and what it came to for
        one session is there at once for others.
    """
    if autostart:
        _start_by_itself(run)

    # Two functions, so that the one is gone where the other is drawn: a timer outlives its fragment's
    # redraw without one, but not the fragment.
    @st.fragment(run_every=REDRAW_SECONDS)
    def stage_at_work() -> None:
        is_over = not run.is_running
        _stage(run, draw, recorded, autostart)
        if is_over:
            st.rerun()  # the page

    @st.fragment
    def stage_at_rest() -> None:
        _stage(run, draw, recorded, autostart)

    # Each has a place of its own, and empties the other's: where a tick of the timer and a moved control
    # come to one run of the script, the browser takes what the tick drew for new, and would keep it.
    if run.is_running and run.place:
        st.empty()
        _stage_in_queue(run, draw, recorded, autostart)
        st.empty()
    elif run.is_running:
        stage_at_work()
        st.empty()
        st.empty()
    else:
        st.empty()
        st.empty()
        stage_at_rest()


def _stage_in_queue(
    run: Run[T], draw: Draw[T], recorded: Callable[[], Sequence[T]] | None, autostart: bool
) -> None:
    """While it waits nothing is drawn again but the line with its place: twenty who wait keep nobody up."""

    @st.fragment(run_every=QUEUE_SECONDS)
    def place_in_queue() -> None:
        run.shown_by(fragment_here())
        with refusals():
            _line(run, autostart, is_recorded=recorded is not None)
        if not (run.is_running and run.place):
            st.rerun()  # the page

    with st.container():
        place_in_queue()
        with panel_timed("stage"), refusals():
            _figure(run, draw, recorded)
        if not autostart:
            _mark_in_address(run)


def _stage(run: Run[T], draw: Draw[T], recorded: Callable[[], Sequence[T]] | None, autostart: bool) -> None:
    run.shown_by(fragment_here())
    with panel_timed("stage"), refusals():
        _line(run, autostart, is_recorded=recorded is not None)
        _figure(run, draw, recorded)
        _say_error(run)
    if not autostart:
        _mark_in_address(run)


def _start_by_itself(run: Run[Any]) -> None:
    """Begin or go on, unless the person has stopped it. Raises InputError where none may begin."""
    shared = (run.key, run.settings)
    if run.finished:
        SHARED.get(shared, lambda: tuple(run.results))
    elif run.is_idle and (results := SHARED.find(shared)) is not None:
        run.adopt(results)
    elif run.is_idle:
        run.start()
    elif run.is_stopped and not run.is_stopped_by_person:
        run.go_on()


def _line(run: Run[Any], autostart: bool, *, is_recorded: bool) -> None:
    """One line in the corner: Start and what is shown before it, or how far the run is and Stop."""

    def start() -> None:
        run.refusal = None
        try:
            run.start()
        except InputError as error:  # said below, until the next press
            run.refusal = error
        st.rerun()

    def go_on() -> None:
        run.go_on()
        st.rerun()

    def stop() -> None:
        run.stop()
        st.rerun()

    with st.container(
        key=f"{run.key}_work",
        horizontal=True,
        horizontal_alignment="right",
        vertical_alignment="center",
    ):
        if run.is_running:
            show_progress(run)
            st.button(_("Stop"), key=f"{run.key}_stop", icon=":material/stop:", on_click=stop)
            return
        if run.is_stopped:
            show_progress(run)
            st.button(_("Go on"), key=f"{run.key}_on", icon=":material/resume:", on_click=go_on)
        if not autostart:
            is_first = run.is_idle
            if is_first and is_recorded:
                st.caption(_("Recorded; press Start for your own."))
            st.button(
                _("Start"),
                key=f"{run.key}_start",
                icon=":material/play_arrow:",
                type="primary" if is_first else "secondary",
                on_click=start,
            )
    if run.refusal is not None:
        st.warning(sentence(run.refusal), icon=":material/info:")


def show_progress(run: Run[Any]) -> None:
    """A bar with the number of steps, or the place in the queue."""
    progress, words = run.progress, ""
    if place := run.place:
        words = _("Other runs are at work. Your place in the queue: {place}").format(place=place)
    else:
        words = _(progress.words).format(done=progress.done, total=progress.total)
    st.progress(progress.fraction, words)


def _figure(run: Run[T], draw: Draw[T], recorded: Callable[[], Sequence[T]] | None) -> None:
    results = run.results
    if results or recorded is None or run.finished:
        draw(results)
        return
    draw(recorded(), faint=True)


def _say_error(run: Run[Any]) -> None:
    """What ended the run, as a sentence; the log has the traceback already."""
    if isinstance(run.error, InputError):
        st.warning(sentence(run.error), icon=":material/info:")
    elif run.error is not None:
        show_failed()


def _mark_in_address(run: Run[Any]) -> None:
    """Keep in the address that a run is going on, and say so where its process is gone."""
    page, _underscore, name = run.key.partition("_")
    asked = st.query_params
    was_going = (
        asked.get(GOING) == run.key or asked.get(f"{page}_going_on") == name
    )  # as it was once called
    was_interrupted = was_going and not was_started(run.key)
    if was_interrupted:
        st.info(
            _("A run that was going on here was interrupted. Start begins it again."),
            icon=":material/info:",
        )
    remember(GOING, run.key if run.is_running or was_interrupted else "", "")
    write_address(f"{run.key}_work")
