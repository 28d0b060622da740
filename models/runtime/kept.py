"""Results that are kept to be used again, up to so many bytes; what was used longest ago goes first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key, shared by all threads, so that nothing may be changed in them.

    most_bytes: how much may be kept, asked whenever something is added. The newest value stays,
        however large it is: whoever asked for it would else compute it again at every turn.
    size: the bytes of a value.
    """

    def __init__(self, most_bytes: Callable[[], int], size: Callable[[V], int]):
        self._most_bytes, self._size = most_bytes, size
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._making: dict[K, Lock] = {}
        self._lock = Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value kept for ``key``; else what ``make`` returns, which one thread alone computes.

        What ``make`` raises is raised here, and nothing is kept then.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            making = self._making.setdefault(key, Lock())
        with making:
            found = self.find(key)  # another thread may have made it meanwhile
            if found is None:
                try:
                    found = make()
                    self._keep(key, found)
                finally:
                    with self._lock:
                        self._making.pop(key, None)
            return found

    def find(self, key: K) -> V | None:
        """The value that is kept, if one is."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def _keep(self, key: K, value: V) -> None:
        size, most = self._size(value), self._most_bytes()
        with self._lock:
            self._values[key] = value, size
            while len(self._values) > 1 and self._total() > most:
                self._values.popitem(last=False)

    def _total(self) -> int:
        return sum(size for _value, size in self._values.values())

    @property
    def bytes(self) -> int:
        """Of everything that is kept."""
        with self._lock:
            return self._total()

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:
        """Keep nothing any more; whoever still holds a value goes on with it."""
        with self._lock:
            self._values.clear()
