"""A generator drawn from on a thread of its own, between the redraws of pages, until it ends."""

import atexit
import logging
import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from components.server.watch import COMPUTATIONS
from components.streamlit_private import is_on_screen, is_present
from components.work.queue import QUEUE, Queue, Ticket
from models.errors import InputError
from models.runtime.settings import settings
from models.runtime.turns import let_pass

T = TypeVar("T")

SLICE_SECONDS = 0.1  # of work, by one step at least, between two looks at everything else
TURN_SECONDS = 0.1  # between two questions for a slot
STEP_BACK_SECONDS = 0.5  # that a slice waits at most while pages are being redrawn
ABSENT_SECONDS = 5.0  # a connection that breaks for a moment ends nothing
_log = logging.getLogger("loupe")


class Job(Generic[T]):
    """What a generator has yielded so far. It ends by itself, by ``stop``, by an error, or when its
    person has gone: the browser is closed, or another page or view is open.

    session: whose queue place it takes.
    is_real: whether a whole network is trained, of which fewer may work at once.
    is_cumulative: whether each result holds those before it, so that the last one is enough.
    """

    def __init__(
        self,
        steps: Iterator[T],
        session: str | None,
        *,
        is_real: bool = False,
        is_cumulative: bool = False,
        queue: Queue = QUEUE,
    ):
        self.results: list[T] = []
        self.count = 0  # of what was yielded
        self.error: Exception | None = None
        self.is_finished = False  # the generator has come to its end
        self.stage: str | None = None  # the fragment that shows it; it ends when that is gone
        self.worked = 0.0  # seconds
        self._steps, self._session = steps, session
        self._is_real, self._is_cumulative, self._queue = is_real, is_cumulative, queue
        self._present_at = 0.0
        self._stop, self._ended = Event(), Event()
        self._thread: Thread | None = None
        self.go_on()

    def go_on(self) -> None:
        """Begin, or go on where it was stopped; at the end of the queue."""
        self._stop, self._ended, before = Event(), Event(), self._thread
        self._present_at = time.monotonic()
        self._ticket = self._queue.join(self._session, self._is_real)
        turn = (self._ticket, self._stop, self._ended, before)
        self._thread = Thread(target=self._run, args=turn, name="loupe-work", daemon=True)
        _jobs.add(self)
        self._thread.start()

    def stop(self) -> None:
        """End before the next step; what was yielded stays."""
        self._stop.set()

    @property
    def is_running(self) -> bool:
        """Whether it works or waits for a slot, and nobody has stopped it."""
        return not (self._stop.is_set() or self._ended.is_set() or self.is_finished or self.error)

    @property
    def place(self) -> int:
        """0 while it may work, else how many stand in the queue up to and with it."""
        try:
            return self._queue.place(self._ticket) if self.is_running else 0
        except LookupError:  # it has come to its end meanwhile
            return 0

    @property
    def is_watched(self) -> bool:
        """Whether its person is here and has its stage on the screen."""
        is_shown = self.stage is not None and is_on_screen(self._session, self.stage)
        return is_shown and is_present(self._session)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the thread, for at most so long; whether it has come."""
        return self._ended.wait(seconds)

    def _run(self, ticket: Ticket, stop: Event, ended: Event, before: Thread | None) -> None:
        try:
            if before is not None:
                before.join()  # a step that was at work when somebody pressed Stop
            while not (stop.is_set() or self.is_finished or self.error):
                if self._is_left():
                    stop.set()
                elif not self._queue.may_work(ticket):
                    stop.wait(TURN_SECONDS)
                else:
                    let_pass(STEP_BACK_SECONDS)
                    self._work(stop)
        except Exception as error:  # shown by the page, in its own thread
            self.error = error
            if not isinstance(error, InputError):
                _log.exception("Long work failed.")
        finally:
            self._queue.leave(ticket)
            ended.set()

    def _work(self, stop: Event) -> None:
        """A slice of work. Raises InputError where the job has had all the time that is allowed."""
        begun = now = time.monotonic()
        try:
            while not stop.is_set() and now < begun + SLICE_SECONDS:
                self._check_length()
                try:
                    result = next(self._steps)
                except StopIteration:
                    self.is_finished = True
                    return
                finally:
                    self.worked += time.monotonic() - now
                    now = time.monotonic()
                self.count += 1
                if self._is_cumulative:
                    self.results = [result]
                else:
                    self.results.append(result)
        finally:
            COMPUTATIONS.labels("run").observe(time.monotonic() - begun)

    def _check_length(self) -> None:
        most = settings().real_run_seconds
        if self.worked >= most:
            raise InputError(
                "This run has worked for {seconds} s, the longest that is allowed here; "
                "choose fewer steps or a smaller setting.",
                seconds=most,
            )

    def _is_left(self) -> bool:
        """Whether nobody looks any more: another page or view is open, or the browser is gone."""
        now = time.monotonic()
        if is_present(self._session):
            self._present_at = now
            return self.stage is not None and not is_on_screen(self._session, self.stage)
        return now - self._present_at > ABSENT_SECONDS


_jobs: "WeakSet[Job[Any]]" = WeakSet()


@atexit.register
def stop_all(patience: float = 10.0) -> None:
    """The process ends: torch must not be at work on a thread that is cut off."""
    for job in list(_jobs):
        job.stop()
    for job in list(_jobs):
        job.wait(patience)
