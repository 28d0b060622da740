"""The memory of this process, held below what the settings allow.

Where it grows beyond, everything that is kept only to be used again is dropped; where that does not
help, whoever begins something large is refused.
"""

import ctypes
import gc
import time
from collections.abc import Callable
from threading import Lock

import psutil

from models.errors import InputError
from models.runtime.settings import settings

PAUSE = 10.0  # seconds between two attempts to make room
_process = psutil.Process()
_droppable: list[Callable[[], None]] = []
_lock = Lock()
_last_attempt = 0.0


def drop_when_short(drop: Callable[[], None]) -> None:
    """Have ``drop`` called when memory is short; it lets go of what is kept to be used again."""
    if drop not in _droppable:
        _droppable.append(drop)


def resident_bytes() -> int:
    """What the process holds of the machine's memory."""
    return _process.memory_info().rss


def is_short() -> bool:
    """Whether the process holds more than the settings allow."""
    most = settings().memory_megabytes * 1_000_000
    return 0 < most < resident_bytes()


def relieve() -> None:
    """Drop what is kept, if memory is short; at most once in a while, for it costs time to fill again."""
    global _last_attempt
    if not is_short():
        return
    with _lock:
        now = time.monotonic()
        if now - _last_attempt < PAUSE:
            return
        _last_attempt = now
        for drop in _droppable:
            drop()
        gc.collect()
        _return_to_machine()


def make_room() -> None:
    """Before something large is begun. Raises InputError where memory stays short."""
    relieve()
    if is_short():
        raise InputError("Memory is short here just now, and nothing large can be begun; try again later.")


def _return_to_machine() -> None:
    """Free memory goes back to the machine only when glibc is told so; other C libraries do it alone."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
