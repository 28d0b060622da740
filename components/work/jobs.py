"""Long work beside the page: a generator on a thread of its own, drawn as it yields, and stoppable.

Jobs wait in the same queue as the runs that a page draws from (components.work.runs), so that no more than
so many work in the process at once. A job whose person has left the page ends by itself.
"""

import atexit
import logging
import time
import uuid
from collections.abc import Callable, Hashable, Iterator
from threading import Event, Thread
from typing import Generic, TypeVar
from weakref import WeakSet

import streamlit as st

from components.words import _
from components.work.presence import is_present, session_here
from components.work.runs import PATIENCE, QUEUE
from models.errors import InputError
from models.runtime.turns import aside, let_pass

T = TypeVar("T")

POLL_SECONDS = 0.4
TURN_SECONDS = 0.1  # between two questions whether it is this job's turn
STEP_BACK_SECONDS = 0.5  # that a step waits at most while pages are being redrawn
UNWATCHED_SECONDS = 2.0  # after which another job of the same session may take this one's place
ABSENT_SECONDS = 5.0  # a connection that breaks for a moment ends nothing
_log = logging.getLogger("loupe")


_jobs: "WeakSet[Job]" = WeakSet()


@atexit.register
def stop_all() -> None:
    """The process ends: torch must not be at work on a thread that is cut off."""
    for job in list(_jobs):
        job.stop()
    for job in list(_jobs):
        job._thread.join(timeout=10)


class Job(Generic[T]):
    """What a generator has yielded so far. It ends by itself, by ``stop``, or by an error."""

    def __init__(self, settings: Hashable, steps: Iterator[T], total: int):
        self.settings, self.total = settings, total
        self.error: Exception | None = None
        self._stop, self._finished = Event(), Event()
        self._name = uuid.uuid4().hex
        self._session, self._present_at = session_here(), time.monotonic()
        self._take_place_of_unwatched()
        self._held = QUEUE.start(self._name, settings, lambda: steps)
        self._watched_at = time.monotonic()
        self._thread = Thread(target=self._run, name="loupe-job", daemon=True)
        _jobs.add(self)
        self._thread.start()

    @property
    def results(self) -> list[T]:
        return self._held.seen

    @property
    def place(self) -> int:
        """0 while the job may work, else how many must leave before it."""
        return 0 if self.finished else QUEUE.place(self._name)

    def _take_place_of_unwatched(self) -> None:
        """A session has one job at work: those that its person no longer looks at end."""
        now = time.monotonic()
        for other in list(_jobs):
            same = self._session is not None and other._session == self._session
            if same and now - other._watched_at > UNWATCHED_SECONDS:
                other.stop()

    def _is_abandoned(self) -> bool:
        """Whether nobody looks any more: another page is open, or the browser is gone."""
        now = time.monotonic()
        if is_present(self._session):
            self._present_at = now
        return now - self._watched_at > PATIENCE or now - self._present_at > ABSENT_SECONDS

    def _run(self) -> None:
        try:
            while not (self._stop.is_set() or self._held.is_done):
                if self._is_abandoned():
                    self.stop()
                elif QUEUE.place(self._name):
                    time.sleep(TURN_SECONDS)
                else:
                    let_pass(STEP_BACK_SECONDS)
                    self._held.draw(seconds=0)
        except Exception as error:  # shown by the page, in its own thread
            self.error = error
            if not isinstance(error, InputError):
                _log.exception("A job failed.")
        finally:
            QUEUE.stop(self._name)
            self._finished.set()

    def watch(self) -> None:
        """Somebody still looks at this job."""
        self._watched_at = time.monotonic()

    def stop(self) -> None:
        """End before the next step; what was yielded stays."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    def wait(self, seconds: float) -> bool:
        """Look on until the end, for at most so long; whether it has come."""
        end = time.monotonic() + seconds
        with aside():
            while not self.finished and time.monotonic() < end:
                self.watch()
                self._finished.wait(POLL_SECONDS)
        return self.finished


def job_for(key: str, settings: Hashable, steps: Callable[[], Iterator[T]], total: int) -> Job[T]:
    """The session's job under ``key``; with other settings the old one is stopped and one started."""
    state = st.session_state
    job: Job[T] | None = state.get(key)
    if job is None or job.settings != settings:
        if job is not None:
            job.stop()
        job = state[key] = Job(settings, steps(), total)
    return job


def followed(job: Job[T], draw: Callable[[Job[T]], None]) -> None:
    """Draw the job now, and again every ``POLL_SECONDS`` until it has finished.

    Raises in the page's own thread what the job's raised.
    """
    running = not job.finished

    @st.fragment(run_every=POLL_SECONDS if running else None)
    def again() -> None:
        over = job.finished
        job.watch()
        draw(job)
        if place := job.place:
            st.info(_("Other runs are at work. Your place in the queue: {place}").format(place=place))
        if job.error is not None:
            raise job.error
        if running and over:
            st.rerun()  # the page without the timer

    again()
