"""The process: ready when the default network answers, plotly.js from here, help for lost addresses."""

import gc
import logging
import threading
from importlib.metadata import distribution
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from components.catalogue import PAGES
from components.live.figure import PLOTLY_ROUTE
from components.server import process

A_PERSON = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def cold(monkeypatch):
    """A process that has not warmed up yet."""
    monkeypatch.setattr(process, "_ready", threading.Event())
    monkeypatch.setattr(process, "_device_name", "")


@pytest.fixture
def client():
    """Loupe's own routes and middleware before an application that answers everything else."""

    async def anything(request):
        return PlainTextResponse(f"the app at {request.url.path}")

    app = Starlette(
        routes=[*process.ROUTES, Route("/{path:path}", anything)],
        middleware=[Middleware(process.HelpfulNotFound)],
    )
    return TestClient(app, follow_redirects=False)


def test_ready_is_503_until_the_default_network_has_answered(cold, client):
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False})
    assert process.device_name() == ""
    try:
        process.warm_up()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True})
    assert process.device_name()


def test_a_network_that_does_not_load_leaves_ready_at_503_and_is_logged(cold, client, monkeypatch, caplog):
    def fail():
        raise OSError("no such file")

    monkeypatch.setattr(process, "warm_up", fail)
    with caplog.at_level(logging.ERROR, logger="loupe"):
        process._warm_up_or_say_why()
    assert client.get("/ready").status_code == 503
    assert "no such file" in str(caplog.records[0].exc_info[1])


def test_the_lifespan_warms_up_beside_the_running_app(cold, monkeypatch):
    monkeypatch.setattr(process, "warm_up", lambda: process._ready.set())
    app = Starlette(routes=process.ROUTES, lifespan=process.lifespan)
    with TestClient(app) as client:
        assert process._ready.wait(timeout=30)
        assert client.get("/ready").status_code == 200


def test_plotly_js_is_the_file_of_the_installed_package(client):
    answer = client.get(PLOTLY_ROUTE)
    packaged = distribution("plotly").locate_file("plotly/package_data/plotly.min.js")
    assert answer.status_code == 200
    assert answer.content == packaged.read_bytes()
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "max-age" in answer.headers["cache-control"]


@pytest.mark.parametrize("name", ["atention", "nowhere", "注意力", "a b&c=d"])
def test_a_page_that_does_not_exist_leads_home_which_says_so(client, name):
    answer = client.get(f"/{name}", headers=A_PERSON)
    assert answer.status_code == 307
    address = urlsplit(answer.headers["location"])
    assert (address.netloc, address.path) == ("", "/")
    assert parse_qs(address.query) == {"missing": [name]}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        *(f"/{entry.name}" for entry in PAGES),
        "/favicon.png",
        "/static/js/index.js",
        "/ready",
        "/oauth2callback",
    ],
)
def test_what_exists_is_answered_in_place(client, path):
    assert client.get(path, headers=A_PERSON).status_code in (200, 503)


def test_only_documents_are_redirected(client):
    assert client.get("/nowhere", headers={"accept": "application/json"}).status_code == 200


def test_the_app_has_these_routes_and_this_middleware(cold):
    from app import app

    client = TestClient(app, follow_redirects=False)
    assert client.get("/ready").status_code == 503
    assert client.get(PLOTLY_ROUTE).status_code == 200
    assert client.get("/nowhere", headers=A_PERSON).headers["location"] == "/?missing=nowhere"
