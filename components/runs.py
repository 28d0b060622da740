"""Long work in this process: so many runs at once, the others wait in order and are told their place.

A run is a generator that a page draws from, a little at each rerun of a fragment. Whoever stops
asking (a closed tab, another page) loses the slot after a while, so that nobody waits for nobody.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

SLOTS = 2
PATIENCE = 20.0  # seconds without a question, after which a run is dropped


@dataclass(eq=False)
class Held:
    """A run: what it was asked for, what it has yielded, and whether it is at its end."""

    settings: object
    iterator: Iterator[Any]
    seen: list[Any] = field(default_factory=list)
    is_done: bool = False
    asked_at: float = 0.0

    def draw(self, seconds: float) -> None:
        """Let the generator work for about so long."""
        end = time.monotonic() + seconds
        while not self.is_done and time.monotonic() < end:
            try:
                self.seen.append(next(self.iterator))
            except StopIteration:
                self.is_done = True


class Queue:
    """Runs by name, in the order in which they were asked for; the first ``slots`` may work."""

    def __init__(self, slots: int = SLOTS, patience: float = PATIENCE):
        self.slots, self.patience = slots, patience
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()

    def start(self, name: str, settings: object, make: Callable[[], Iterator[Any]]) -> Held:
        """Put a new run at the end of the queue, in place of the one that had this name."""
        held = Held(settings, make(), asked_at=time.monotonic())
        with self._lock:
            self._held.pop(name, None)
            self._held[name] = held
        return held

    def find(self, name: str) -> Held | None:
        return self._held.get(name)

    def place(self, name: str) -> int:
        """0 while the run may work, else how many must leave before it; asking keeps the place."""
        now = time.monotonic()
        with self._lock:
            if name in self._held:
                self._held[name].asked_at = now
            waiting = [
                key
                for key, held in self._held.items()
                if not held.is_done and now - held.asked_at <= self.patience
            ]
            self._held = {
                key: held for key, held in self._held.items() if now - held.asked_at <= self.patience
            }
        return max(0, waiting.index(name) - self.slots + 1) if name in waiting else 0

    def stop(self, name: str) -> None:
        """Give the slot back; what the run has yielded is gone with it."""
        with self._lock:
            self._held.pop(name, None)


QUEUE = Queue()


def name_here(run: str) -> str:
    """The name of a run of this session."""
    return f"{st.session_state.setdefault('loupe_runner', uuid.uuid4().hex)}:{run}"
