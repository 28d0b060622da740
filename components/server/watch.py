"""What whoever runs Loupe can see of it: events as lines of JSON, timings as OpenMetrics.

Nothing that a person types goes in: pages and sessions have names, texts are never written down.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st
from prometheus_client import CollectorRegistry, Gauge, Histogram

from components.work.presence import session_here

REGISTRY = CollectorRegistry()
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.3, 0.5, 1, 2.5, 5, 10, 30)  # seconds
RERUNS = Histogram(
    "loupe_rerun_seconds",
    "Time of a rerun in the server, by page and by the part of it that ran.",
    ["page", "part"],
    buckets=BUCKETS,
    registry=REGISTRY,
)
COMPUTATIONS = Histogram(
    "loupe_computation_seconds",
    "Time of a computation: a trace here or in the pool, a share of a long run, a followed slider.",
    ["kind"],
    buckets=BUCKETS,
    registry=REGISTRY,
)
RESIDENT = Gauge("loupe_resident_bytes", "Memory that the process holds.", registry=REGISTRY)
KEPT_BYTES = Gauge("loupe_kept_bytes", "Memory of what is kept.", ["what"], registry=REGISTRY)
SESSIONS = Gauge("loupe_sessions", "Open sessions.", registry=REGISTRY)
RUNS = Gauge("loupe_runs", "Long runs of this process.", ["state"], registry=REGISTRY)

_PAGE = "loupe_page"  # in the session: the page that runs
_log = logging.getLogger("loupe.events")


class JsonLines(logging.Formatter):
    """One line of JSON a record; a traceback is a field of it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "session": getattr(record, "session", None) or session_here(),
            "page": getattr(record, "page", None) or page_here(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["failure"] = frames(record.exc_info[1])
        return json.dumps({key: value for key, value in line.items() if value is not None}, default=str)


def frames(error: BaseException | None) -> list[str]:
    """Where an exception and its causes came from; their messages may quote a person and are left out."""
    said = []
    while error is not None:
        said.append(type(error).__name__)
        said += [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(error.__traceback__)]
        error = error.__cause__ or error.__context__
    return said


def log_as_json() -> None:
    """Write Loupe's own log to standard error, a JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    log = logging.getLogger("loupe")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def event(what: str, **fields: object) -> None:
    """Write down that something happened. ``fields`` hold names and numbers, no one's words."""
    _log.info(what, extra={"fields": fields})


def page_here() -> str | None:
    """The page that this thread runs a session's script of."""
    return None if session_here() is None else st.session_state.get(_PAGE)


@contextmanager
def rerun(page: str) -> Iterator[None]:
    """Time a rerun of the whole page, and write it down."""
    st.session_state[_PAGE] = page
    begun = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - begun
        RERUNS.labels(page, "page").observe(seconds)
        event("rerun", milliseconds=round(1000 * seconds, 1))


@contextmanager
def timed(kind: str) -> Iterator[None]:
    """Time a computation."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        COMPUTATIONS.labels(kind).observe(time.perf_counter() - begun)


@contextmanager
def panel_timed(name: str) -> Iterator[None]:
    """Time a panel, of which a rerun may consist."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        RERUNS.labels(page_here() or "", name).observe(time.perf_counter() - begun)
