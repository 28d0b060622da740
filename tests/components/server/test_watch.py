"""What the operator sees: lines of JSON without anyone's words, OpenMetrics, and a page of HTML."""

import io
import json
import logging

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient

from components.server import process, status, watch
from tests.pages.screen import open_page

SECRET = "Quixotic marmalade diary"


@pytest.fixture
def lines():
    """Everything that Loupe logs, as it would be written."""
    written, log = io.StringIO(), logging.getLogger("loupe")
    handler = logging.StreamHandler(written)
    handler.setFormatter(watch.JsonLines())
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.fixture
def client():
    return TestClient(Starlette(routes=process.ROUTES))


def samples(client, name: str) -> list:
    """Samples of a metric, read by the library's own parser."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return [sample for family in families for sample in family.samples if sample.name == name]


def reruns(client, **labels: str) -> float:
    found = samples(client, "loupe_rerun_seconds_count")
    return sum(sample.value for sample in found if labels.items() <= sample.labels.items())


def test_a_rerun_is_written_down_with_session_and_page_and_without_the_text(lines):
    screen = open_page("attention", attention_text=SECRET)
    assert not screen.exception
    written = lines()
    (rerun,) = [line for line in written if line["event"] == "rerun"]
    assert rerun["page"] == "attention"
    assert rerun["session"]
    assert rerun["milliseconds"] > 0
    assert SECRET.split()[0] not in json.dumps(written)


def test_a_failure_is_written_down_with_its_place_and_without_what_it_quotes(lines):
    try:
        try:
            {}[SECRET]
        except KeyError as error:
            raise RuntimeError(f"cannot read {SECRET}") from error
    except RuntimeError as error:
        logging.getLogger("loupe").error("A page failed.", exc_info=error)
    (line,) = lines()
    assert (line["event"], line["level"]) == ("A page failed.", "error")
    assert "RuntimeError" in line["failure"]
    assert "KeyError" in line["failure"]
    assert any("test_watch.py" in place for place in line["failure"])
    assert SECRET not in json.dumps(line)


def test_metrics_count_reruns_of_pages_and_of_their_panels(client):
    before = {part: reruns(client, page="attention", part=part) for part in ("page", "live_head")}
    open_page("attention").run()
    assert reruns(client, page="attention", part="page") == before["page"] + 2
    assert reruns(client, page="attention", part="live_head") == before["live_head"] + 2


def test_metrics_are_openmetrics_and_hold_the_memory(client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    (resident,) = samples(client, "loupe_resident_bytes")
    assert 1e8 < resident.value < 1e11
    assert {sample.labels["what"] for sample in samples(client, "loupe_kept_bytes")} == {
        "traces",
        "networks",
    }
    assert {sample.labels["state"] for sample in samples(client, "loupe_runs")} == {"at work", "waiting"}


def test_a_trace_is_a_computation(client):
    def traces() -> float:
        found = samples(client, "loupe_computation_seconds_count")
        return sum(sample.value for sample in found if sample.labels["kind"] == "trace")

    before = traces()
    open_page("attention", attention_text=f"{SECRET}, never traced before.")
    assert traces() > before


def test_the_status_page_says_how_the_process_is(client):
    open_page("attention")
    answer = client.get("/status")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-store"
    for said in ("attention", "within 150 ms", "memory", "0 at work, 0 waiting", "this process"):
        assert said in answer.text, said
    assert "<script" not in answer.text


def test_the_status_page_escapes_what_it_shows():
    assert status._table(("a",), [("<b>",)]).count("&lt;b&gt;") == 1


def test_the_shares_on_the_status_page_are_those_of_the_timings():
    timings = watch.Histogram("t_seconds", "t", ["page", "part"], buckets=watch.BUCKETS, registry=None)
    for seconds in (0.01, 0.1, 0.2, 1.0):
        timings.labels("masks", "page").observe(seconds)
    timings.labels("masks", "panel").observe(9.0)
    assert status._page_rows(timings) == [("masks", "4", "327.5", "50%")]
