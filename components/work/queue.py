"""Who may work now: so many long computations at once in this process, the others wait in order.

A session has one at work; trainings of a whole network have fewer places than there are; and what
belongs to somebody who is away holds no place.
"""

import time
from collections import deque
from dataclasses import dataclass
from threading import Lock

from components.streamlit_private import is_present
from models.errors import InputError
from models.runtime.settings import settings

MINUTE = 60.0  # seconds


@dataclass(eq=False)
class Ticket:
    """A computation in the queue."""

    session: str | None  # that began it; None outside of one
    is_real: bool = False  # it trains a whole network
    is_working: bool = False

    @property
    def counts(self) -> bool:
        """Whether its person is here: else it neither works nor keeps others waiting."""
        return is_present(self.session)


class Queue:
    """Tickets in the order in which they were drawn; ``slots`` may work, or as many as the settings say."""

    def __init__(self, slots: int | None = None):
        self._slots = slots
        self._tickets: list[Ticket] = []
        self._starts: dict[str, deque[float]] = {}
        self._lock = Lock()

    @property
    def slots(self) -> int:
        return settings().heavy_at_once if self._slots is None else self._slots

    def spend(self, session: str | None) -> None:
        """Count a start of this session. Raises InputError where it has had its share of this minute."""
        most, now = settings().heavy_per_minute, time.monotonic()
        if session is None or not most:
            return
        with self._lock:
            for other, starts in list(self._starts.items()):
                while starts and now - starts[0] > MINUTE:
                    starts.popleft()
                if not starts:
                    del self._starts[other]
            starts = self._starts.setdefault(session, deque())
            if len(starts) >= most:
                raise InputError(
                    "You have begun {count} long computations within a minute; "
                    "the next one can begin in {seconds} s.",
                    count=most,
                    seconds=int(MINUTE - (now - starts[0])) + 1,
                )
            starts.append(now)

    def join(self, session: str | None, is_real: bool = False) -> Ticket:
        """A ticket at the end of the queue."""
        ticket = Ticket(session, is_real)
        with self._lock:
            self._tickets.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Make room; does nothing for a ticket that has left already."""
        with self._lock:
            if ticket in self._tickets:
                self._tickets.remove(ticket)

    def may_work(self, ticket: Ticket) -> bool:
        """Take a slot if there is one, and keep it until the ticket leaves or its person is away."""
        with self._lock:
            for other in self._tickets:
                if not other.counts:
                    other.is_working = False  # who comes back asks anew: the slot may be taken
            ticket.is_working = ticket in self._tickets and ticket.counts and self._place(ticket) == 0
            return ticket.is_working

    def place(self, ticket: Ticket) -> int:
        """0 for one that works or may work at once, else its number among those who wait.

        Raises LookupError for one that has left: it may not work.
        """
        with self._lock:
            if ticket not in self._tickets:
                raise LookupError("The ticket is not in the queue.")
            return self._place(ticket)

    def counts(self) -> tuple[int, int]:
        """How many work or may work now, and how many wait."""
        with self._lock:
            here = [ticket for ticket in self._tickets if ticket.counts]
            waiting = sum(self._place(ticket) > 0 for ticket in here)
        return len(here) - waiting, waiting

    def _place(self, ticket: Ticket) -> int:
        here = [other for other in self._tickets if other.counts or other is ticket]
        working = [other for other in here if other.is_working]
        if ticket in working:
            return 0
        free = self.slots - len(working)
        free_for_real = settings().real_runs - sum(other.is_real for other in working)
        waiting = 0
        for other, is_first in _turns(here):
            if other.is_working:
                continue
            may = is_first and free > 0 and (free_for_real > 0 or not other.is_real)
            if may:
                free, free_for_real = free - 1, free_for_real - other.is_real
            else:
                waiting += 1
            if other is ticket:
                return 0 if may else waiting
        raise LookupError("The ticket is not in the queue.")


def _turns(tickets: list[Ticket]) -> list[tuple[Ticket, bool]]:
    """The first ticket of each session, then the others; those of nobody are all first.

    A session's working ticket is its first: another one that came before it (and waited while its
    person was away) does not take the session's slot from it.
    """
    first: list[Ticket] = []
    later: list[Ticket] = []
    owners = {ticket.session for ticket in tickets if ticket.is_working} - {None}
    for ticket in tickets:
        if ticket.is_working or ticket.session is None:
            first.append(ticket)
        elif ticket.session in owners:
            later.append(ticket)
        else:
            first.append(ticket)
            owners.add(ticket.session)
    return [(ticket, True) for ticket in first] + [(ticket, False) for ticket in later]


QUEUE = Queue()
