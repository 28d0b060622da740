"""One session's redraw after the other, in the order in which they were asked for.

Redraws are short work in threads of one interpreter. Side by side they take the interpreter from each
other at every tensor operation, and all of them finish late; one after the other, each takes only its
own time. Whoever holds the turn for longer than PATIENCE is passed by, so that nothing long, stuck or
waiting keeps the others back, and two threads can never wait for each other.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Condition, local

PATIENCE = 0.25  # seconds: several ordinary redraws, also where the processor is shared


class Turns:
    """A queue of threads, the first of which has the turn."""

    def __init__(self, patience: float = PATIENCE):
        self._patience = patience
        self._line: deque[object] = deque()
        self._since = 0.0  # when the first of the line began
        self._changed = Condition()
        self._mine = local()

    @contextmanager
    def turn(self, waiting: AbstractContextManager[None] | None = None) -> Iterator[None]:
        """Wait until it is this thread's turn, or those before it are overdue; inside a turn, go on.

        The wait happens inside of ``waiting``, which may time it.
        """
        if getattr(self._mine, "ticket", None) is not None:
            yield
            return
        with waiting or nullcontext():
            self._mine.ticket = self._enter()
        try:
            yield
        finally:
            self._leave(self._mine.ticket)
            self._mine.ticket = None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let the others go on during long work, a wait or a sleep; then line up again."""
        ticket = getattr(self._mine, "ticket", None)
        if ticket is None:
            yield
            return
        self._leave(ticket)
        try:
            yield
        finally:
            self._mine.ticket = self._enter()

    def let_pass(self, most: float) -> None:
        """Between two steps of long work: wait until nobody is in line, for ``most`` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._line, timeout=most)

    def _enter(self) -> object:
        ticket = object()
        with self._changed:
            if not self._line:
                self._since = time.monotonic()
            self._line.append(ticket)
            # It may have come to the front and been passed by before this thread woke up.
            while ticket in self._line and self._line[0] is not ticket:
                left = self._since + self._patience - time.monotonic()
                if left <= 0:
                    self._next()
                else:
                    self._changed.wait(left)
        return ticket

    def _leave(self, ticket: object) -> None:
        with self._changed:
            if self._line and self._line[0] is ticket:
                self._next()
            # else it was overdue, and has been passed by

    def _next(self) -> None:
        self._line.popleft()
        self._since = time.monotonic()
        self._changed.notify_all()


TURNS = Turns()
turn, aside, let_pass = TURNS.turn, TURNS.aside, TURNS.let_pass
