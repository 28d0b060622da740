"""Long work in this process: so many runs at once, the others wait in order and are told their place.

A run is a generator that a page draws from, a little at each rerun of a fragment. Whoever stops asking
(a closed tab, another page) loses the slot, so that nobody waits for nobody; what the run has yielded
stays for a while, and it can go on. A session has one run at work, and so many starts a minute.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from components.server.watch import COMPUTATIONS, event
from components.work.presence import is_present, session_here
from models.errors import InputError
from models.runtime.memory import make_room
from models.runtime.settings import settings

PATIENCE = 20.0  # seconds without a question, after which others no longer wait for a run
MOST_HELD = 64  # runs that are kept to look at or go on with; the oldest goes first
FORGOTTEN = 180.0  # seconds after which the run of a session that is gone is not kept either
MINUTE = 60.0


@dataclass(eq=False)
class Held:
    """A run: what it was asked for, what it has yielded, and whether it is at its end."""

    settings: object
    iterator: Iterator[Any]
    seen: list[Any] = field(default_factory=list)
    is_done: bool = False
    asked_at: float = 0.0
    owner: str | None = None  # the session that began it
    is_real: bool = False  # a training of a whole network, of which fewer may work at once
    worked: float = 0.0  # seconds

    def draw(self, seconds: float) -> None:
        """Let the generator work for about so long, by one step at least.

        Raises InputError where it has worked for as long as the settings allow.
        """
        begun = now = time.monotonic()
        try:
            while not self.is_done:
                self._check_length()
                try:
                    self.seen.append(next(self.iterator))
                except StopIteration:
                    self.is_done = True
                self.worked += time.monotonic() - now
                now = time.monotonic()
                if now >= begun + seconds:
                    return
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

    @property
    def is_over_length(self) -> bool:
        return self.worked >= settings().real_run_seconds


class Queue:
    """Runs by name, in the order in which they were asked for; the first ``slots`` may work.

    Without ``slots`` the settings say how many.
    """

    def __init__(self, slots: int | None = None, patience: float = PATIENCE):
        self._slots, self.patience = slots, patience
        self._held: dict[str, Held] = {}
        self._starts: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    @property
    def slots(self) -> int:
        return settings().heavy_at_once if self._slots is None else self._slots

    def start(
        self, name: str, settings: object, make: Callable[[], Iterator[Any]], *, is_real: bool = False
    ) -> Held:
        """Put a new run at the end of the queue, in place of the one that had this name.

        Raises InputError where the session has begun too many within a minute, and where memory is
        short.
        """
        owner, now = session_here(), time.monotonic()
        make_room()
        with self._lock:
            self._spend(owner, now)
            self._forget(now)
            self._held.pop(name, None)
            for other in self._held.values():
                if owner is not None and other.owner == owner:
                    other.asked_at = now - self.patience - 1  # the new one goes first, unless it asks again
            held = Held(settings, make(), asked_at=now, owner=owner, is_real=is_real)
            self._held[name] = held
        event("run started", run=name.rpartition(":")[2])
        return held

    def _spend(self, owner: str | None, now: float) -> None:
        """Count a start of this session. Raises InputError where it has had its share of this minute."""
        most = settings().heavy_per_minute
        if owner is None or not most:
            return
        starts = self._starts.setdefault(owner, deque())
        while starts and now - starts[0] > MINUTE:
            starts.popleft()
        if len(starts) >= most:
            raise InputError(
                "You have begun {count} long computations within a minute; "
                "the next one can begin in {seconds} s.",
                count=most,
                seconds=int(MINUTE - (now - starts[0])) + 1,
            )
        starts.append(now)

    def _forget(self, now: float) -> None:
        """Runs that nobody can come back to, the oldest ones beyond so many, and starts of long ago."""
        for name, held in list(self._held.items()):
            if now - held.asked_at > FORGOTTEN and not is_present(held.owner):
                del self._held[name]
        while len(self._held) >= MOST_HELD:
            del self._held[next(iter(self._held))]
        for owner, starts in list(self._starts.items()):
            if not starts or now - starts[-1] > MINUTE:
                del self._starts[owner]

    def find(self, name: str) -> Held | None:
        return self._held.get(name)

    def place(self, name: str) -> int:
        """0 while the run may work, else how many must leave before it; asking keeps the place."""
        now = time.monotonic()
        with self._lock:
            if name in self._held:
                self._held[name].asked_at = now
            waiting = {key: held for key, held in self._held.items() if self._waits(held, now)}
            held = self._held.get(name)
        if name not in waiting:
            return 0 if held is None or is_present(held.owner) else 1  # nobody looks: it does not work
        first_of_session, later = _turns(waiting)
        if name in later:  # a session's second run waits for its first
            return max(1, len(first_of_session) - self.slots + 1 + later.index(name))
        place = first_of_session.index(name) - self.slots + 1
        if waiting[name].is_real:
            real = [key for key in first_of_session if waiting[key].is_real]
            place = max(place, real.index(name) - settings().real_runs + 1)
        return max(0, place)

    def _waits(self, held: Held, now: float) -> bool:
        return (
            not (held.is_done or held.is_over_length)
            and now - held.asked_at <= self.patience
            and is_present(held.owner)
        )

    def counts(self) -> tuple[int, int]:
        """How many runs may work now, and how many wait."""
        now = time.monotonic()
        with self._lock:
            waiting = sum(self._waits(held, now) for held in self._held.values())
        return min(waiting, self.slots), max(0, waiting - self.slots)

    def stop(self, name: str) -> None:
        """Give the slot back; what the run has yielded is gone with it."""
        with self._lock:
            self._held.pop(name, None)


def _turns(waiting: dict[str, Held]) -> tuple[list[str], list[str]]:
    """Names of the first run of each session, and those of the others; runs of nobody are all first."""
    first, later, owners = [], [], set()
    for name, held in waiting.items():
        if held.owner is not None and held.owner in owners:
            later.append(name)
        else:
            first.append(name)
            owners.add(held.owner)
    return first, later


QUEUE = Queue()


def name_here(run: str) -> str:
    """The name of a run of this session."""
    return f"{st.session_state.setdefault('loupe_runner', uuid.uuid4().hex)}:{run}"
