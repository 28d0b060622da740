"""Finished runs on the real network: kept for the process, as a run of the same settings is the same."""

from collections import OrderedDict
from threading import Lock

from models.lora.fine_tuning import FineTuning, Tuned

KEPT = 4  # each holds two copies of 1.6 M weights


class Finished:
    """The last few finished runs, by their settings."""

    def __init__(self) -> None:
        self._runs: OrderedDict[FineTuning, Tuned] = OrderedDict()
        self._lock = Lock()

    def keep(self, run: FineTuning, tuned: Tuned) -> None:
        with self._lock:
            self._runs[run] = tuned
            self._runs.move_to_end(run)
            while len(self._runs) > KEPT:
                self._runs.popitem(last=False)

    def find(self, run: FineTuning) -> Tuned | None:
        return self._runs.get(run)

    def latest(self) -> dict[FineTuning, Tuned]:
        """All that are kept, the newest first."""
        with self._lock:
            return dict(reversed(self._runs.items()))


FINISHED = Finished()
