"""What the process says about itself to whoever runs it: /metrics for a collector, /status to look at."""

import html
import time

from prometheus_client import Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from components.server.watch import COMPUTATIONS, KEPT_BYTES, REGISTRY, RERUNS, RESIDENT, RUNS, SESSIONS
from components.streamlit_private import open_sessions
from components.work.queue import QUEUE
from models.runtime.memory import is_short, resident_bytes
from models.runtime.settings import settings

_STARTED = time.time()
WITHIN = 0.15  # seconds, a bound of the histograms' buckets: what a rerun should take at most


def refresh() -> None:
    """Read the gauges' values now."""
    RESIDENT.set(resident_bytes())
    for what, size in _kept_bytes().items():
        KEPT_BYTES.labels(what).set(size)
    at_work, waiting = QUEUE.counts()
    RUNS.labels("at work").set(at_work)
    RUNS.labels("waiting").set(waiting)
    SESSIONS.set(open_sessions())


def metrics(_request: Request) -> Response:
    """Timings and gauges as OpenMetrics; Streamlit's own are under /_stcore/metrics."""
    refresh()
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def status(_request: Request) -> Response:
    """A page of plain HTML, in English, for whoever runs the process."""
    refresh()
    parts = (_table(("process", ""), _process_rows()), _table(PAGE_COLUMNS, _page_rows(RERUNS)))
    body = "".join((*parts, _table(WORK_COLUMNS, _work_rows(COMPUTATIONS))))
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Loupe: status</title>'
        f"<style>{STYLE}</style><h1>Loupe</h1>{body}</html>",
        headers={"Cache-Control": "no-store"},
    )


STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2rem}table{border-collapse:collapse;margin:0 0 1.5rem}"
    "th,td{padding:.2rem .9rem .2rem 0;border-bottom:1px solid #ccc;text-align:left}"
    "td+td{font-variant-numeric:tabular-nums}"
)
PAGE_COLUMNS = ("page", "reruns", "mean, ms", f"within {1000 * WITHIN:.0f} ms")
WORK_COLUMNS = ("computation", "count", "mean, ms", f"within {1000 * WITHIN:.0f} ms")


def _process_rows() -> list[tuple[str, ...]]:
    limit = settings().memory_megabytes
    at_work, waiting = QUEUE.counts()
    memory = f"{resident_bytes() / 1e6:,.0f} MB" + (f" of {limit:,} MB" if limit else "")
    return [
        ("up", f"{(time.time() - _STARTED) / 60:,.0f} min"),
        ("profile", settings().profile),
        ("sessions", str(open_sessions())),
        ("memory", memory + (", too much: nothing large begins" if is_short() else "")),
        (
            "kept traces and networks",
            f"{sum(_kept_bytes().values()) / 1e6:,.0f} MB of {settings().cache_megabytes:,} MB",
        ),
        ("long runs", f"{at_work} at work, {waiting} waiting"),
        ("networks run in", _engine_said()),
    ]


def _kept_bytes() -> dict[str, int]:
    from components.traces import TRACES  # imports torch, before which the home page paints
    from models.networks.loading import kept_bytes

    return {"traces": TRACES.bytes, "networks": kept_bytes()}


def _engine_said() -> str:
    if settings().engine == "process":
        return "this process"
    from models.networks.engine.choice import engine

    trouble = engine().trouble
    return f"the pool at {settings().engine_address}" + ("" if trouble is None else f": {trouble}")


def _page_rows(timings: Histogram) -> list[tuple[str, ...]]:
    """Reruns of whole pages; those of their panels are in the metrics."""
    return [row for labels, row in _timed(timings) if labels["part"] == "page"]


def _work_rows(timings: Histogram) -> list[tuple[str, ...]]:
    return [row for _labels, row in _timed(timings)]


def _timed(timings: Histogram) -> list[tuple[dict[str, str], tuple[str, ...]]]:
    """For each set of labels: its first label, how often, the mean, and the share within WITHIN."""
    (family,) = timings.collect()
    found: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in family.samples:
        labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        values = found.setdefault(labels, {})
        if "le" not in sample.labels:
            values[sample.name.rpartition("_")[2]] = sample.value
        elif float(sample.labels["le"]) == WITHIN:
            values["within"] = sample.value
    rows: list[tuple[dict[str, str], tuple[str, ...]]] = []
    for labels, values in sorted(found.items()):
        count = values["count"]
        name = dict(labels).get("page") or dict(labels).get("kind", "")
        numbers = (
            f"{count:,.0f}",
            f"{1000 * values['sum'] / count:,.1f}",
            f"{values['within'] / count:.0%}",
        )
        rows.append((dict(labels), (name, *numbers)))
    return rows


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
