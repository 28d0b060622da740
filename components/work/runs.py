"""A session's runs: for each key, what was computed under the settings that its person asked for.

``run`` names one in every rerun; ``drawing.stage`` shows it. Settings that change stop the run that
was at work, and its results are there again when they come back.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast
from weakref import WeakSet

import streamlit as st

from components.server.watch import event
from components.streamlit_private import session_here
from components.words import mark
from components.work.job import Job
from components.work.queue import QUEUE
from models.errors import InputError
from models.runtime.kept import Kept
from models.runtime.memory import drop_when_short, make_room

T = TypeVar("T")

STEPS = mark("{done} of {total} steps")
KEPT_SETTINGS = 4  # under one key of one session, whose results are there when they come back
MOST_KEPT = 64  # runs of the whole process that hold results and are at rest; the oldest are emptied
SHARED_BYTES = 32_000_000  # of results that are there at once for others
_RUNS = "loupe_work"
_all: "WeakSet[Run[Any]]" = WeakSet()


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    done: int
    total: int
    words: str  # with {done} and {total}, in English

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 1.0


class Run(Generic[T]):
    """Long work of this session under one key with one settings value: idle until it is started.

    It is idle, running, stopped, finished, or ended by an error.
    """

    def __init__(self, key: str, settings: Hashable):
        self.key, self.settings = key, settings
        self.refusal: InputError | None = None  # why the last start was not possible
        self.is_stopped_by_person = False
        self.seen_at = time.monotonic()
        self._job: Job[T] | None = None
        self._shared: tuple[T, ...] = ()

    def describe(
        self,
        steps: Callable[[], Iterator[T]],
        total: int,
        *,
        real: bool = False,
        cumulative: bool = False,
        done: Callable[[T], int] | None = None,
        words: str = STEPS,
    ) -> None:
        """What the rerun that goes on says about it; see ``run``."""
        self._steps, self._total, self._done, self._words = steps, total, done, words
        self._is_real, self._is_cumulative = real, cumulative
        self.seen_at = time.monotonic()

    def start(self) -> None:
        """Begin anew, at the end of the queue; what was there is gone.

        Raises InputError where the session has begun too many within a minute, and where memory is
        short; what was there stays then.
        """
        make_room()
        QUEUE.spend(session_here())
        self.leave()
        _empty_oldest()
        self.is_stopped_by_person, self._shared = False, ()
        self._job = Job(
            self._steps(), session_here(), is_real=self._is_real, is_cumulative=self._is_cumulative
        )
        event("run started", run=self.key)

    def stop(self) -> None:
        """End before the next step; what was yielded stays, and ``go_on`` takes it up again."""
        self.is_stopped_by_person = True
        self.leave()

    def leave(self) -> None:
        """Stop, as one whose person has turned to something else."""
        if self._job is not None:
            self._job.stop()

    def go_on(self) -> None:
        """Take up what was stopped, at the end of the queue."""
        self.is_stopped_by_person = False
        if self._job is not None and self.is_stopped:
            self._job.go_on()

    def adopt(self, results: tuple[T, ...]) -> None:
        """Hold what another session's run of the same settings came to; this one is finished then."""
        self._job, self._shared = None, results

    def forget(self) -> None:
        """Be idle again; what was there is gone."""
        self.leave()
        self._job, self._shared, self.is_stopped_by_person = None, (), False

    def shown_by(self, fragment: str | None) -> None:
        """The fragment that shows it: when that is no longer on the page, the run stops."""
        if self._job is not None:
            self._job.stage = fragment

    @property
    def results(self) -> list[T]:
        """What was yielded so far; of cumulative results the last one."""
        return list(self._shared) if self._job is None else list(self._job.results)

    @property
    def progress(self) -> Progress:
        results = self.results
        if self._done is not None:
            done = self._done(results[-1]) if results else 0
        else:
            done = self._job.count if self._job is not None else len(results)
        return Progress(done, self._total, self._words)

    @property
    def place(self) -> int:
        """0 while it may work, else its number among those who wait."""
        return 0 if self._job is None else self._job.place

    @property
    def is_idle(self) -> bool:
        return self._job is None and not self._shared

    @property
    def is_running(self) -> bool:
        """Whether it works or waits."""
        return self._job is not None and self._job.is_running

    @property
    def is_watched(self) -> bool:
        """Whether its results are on somebody's screen."""
        return self._job is not None and self._job.is_watched

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped before its end, by its person or because that had left."""
        return not (self.is_idle or self.is_running or self.finished or self.error)

    @property
    def finished(self) -> bool:
        """Whether it came to its end, and all results are there."""
        return bool(self._shared) or (self._job is not None and self._job.is_finished)

    @property
    def error(self) -> Exception | None:
        """What ended it, an InputError where it is the person's to mend."""
        return None if self._job is None else self._job.error

    def wait(self, seconds: float) -> bool:
        """Wait for its end or stop, for at most so long; whether it has come."""
        return self._job is None or self._job.wait(seconds)


def run(
    key: str,
    settings: Hashable,
    steps: Callable[[], Iterator[T]],
    total: int,
    *,
    real: bool = False,
    cumulative: bool = False,
    done: Callable[[T], int] | None = None,
    words: str = STEPS,
) -> Run[T]:
    """The session's run under ``key`` with these settings; a run with other settings is stopped.

    key: unique in the app, its page's name and its own: "optimizers_training".
    settings: a frozen value; results are kept under it for as long as the session lasts.
    steps: makes the generator. It runs on another thread and must not touch Streamlit.
    total: how often the generator yields, or what ``done`` comes to at its end.
    real: whether a whole network is trained, of which fewer may work at once.
    cumulative: whether each result holds those before it; only the last is kept then.
    done: how far a result is, where that is not the number of results.
    words: how progress is said, with {done} and {total}, marked for translation.
    """
    runs: OrderedDict[Hashable, Run[Any]] = st.session_state.setdefault(_RUNS, {}).setdefault(
        key, OrderedDict()
    )
    for other in runs.values():
        if other.settings != settings:
            other.leave()
    if settings not in runs:
        runs[settings] = Run(key, settings)
        _all.add(runs[settings])
    runs.move_to_end(settings)
    while len(runs) > KEPT_SETTINGS:
        runs.popitem(last=False)
    asked = cast(Run[T], runs[settings])
    asked.describe(steps, total, real=real, cumulative=cumulative, done=done, words=words)
    return asked


def _empty_oldest() -> None:
    """Hold the results of so many runs at rest that nobody looks at, in the whole process."""
    unwatched = [
        asked for asked in list(_all) if not (asked.is_idle or asked.is_running or asked.is_watched)
    ]
    unwatched.sort(key=lambda asked: asked.seen_at)
    for asked in unwatched[: max(0, len(unwatched) - MOST_KEPT + 1)]:
        asked.forget()


def forget(key: str) -> None:
    """The session's runs under the key are idle again; what was there is gone."""
    for asked in st.session_state.get(_RUNS, {}).get(key, {}).values():
        asked.forget()


def was_started(key: str) -> bool:
    """Whether this session has begun any run under the key that it still knows."""
    return any(not asked.is_idle for asked in st.session_state.get(_RUNS, {}).get(key, {}).values())


def _bytes_of(value: Any) -> int:
    """Of the arrays and tensors in a result, however it is made up."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, dict):
        return sum(map(_bytes_of, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes_of, value))
    return _bytes_of(vars(value)) if hasattr(value, "__dict__") else 0


SHARED: Kept[tuple[str, Hashable], tuple[Any, ...]] = Kept(lambda: SHARED_BYTES, _bytes_of)
drop_when_short(SHARED.clear)
