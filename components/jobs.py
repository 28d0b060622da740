"""Long work beside the page: a generator on a thread of its own, drawn as it yields, and stoppable."""

import logging
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Generic, TypeVar

import streamlit as st

from models.errors import InputError

T = TypeVar("T")

AT_ONCE = 2  # jobs in the process; others wait their turn
POLL_SECONDS = 0.4
_log = logging.getLogger("loupe")
_workers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="loupe-job")


class Job(Generic[T]):
    """What a generator has yielded so far. It ends by itself, by ``stop``, or by an error."""

    def __init__(self, settings: Hashable, steps: Iterator[T], total: int):
        self.settings, self.total = settings, total
        self.results: list[T] = []
        self.error: Exception | None = None
        self._stop, self._finished = Event(), Event()
        _workers.submit(self._run, steps)

    def _run(self, steps: Iterator[T]) -> None:
        try:
            while not self._stop.is_set():
                self.results.append(next(steps))
        except StopIteration:
            pass
        except Exception as error:  # shown by the page, in its own thread
            self.error = error
            if not isinstance(error, InputError):
                _log.exception("A job failed.")
        finally:
            self._finished.set()

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
        """Wait for the end; whether it has come."""
        return self._finished.wait(seconds)


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
        draw(job)
        if job.error is not None:
            raise job.error
        if running and over:
            st.rerun()  # the page without the timer

    again()
