"""components.server.uploads: Streamlit's own store of files, and how much of it one session may take."""

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from components import streamlit_private
from components.server import uploads
from components.server.uploads import MOST_FILES, Uploads
from models.runtime.settings import Settings
from tests.loops import run


@pytest.fixture
def store(monkeypatch):
    manager = MemoryUploadedFileManager("/_stcore/upload_file")
    monkeypatch.setattr(streamlit_private, "_upload_manager", lambda: manager)
    monkeypatch.setattr(uploads, "settings", lambda: Settings(upload_megabytes=1))
    return manager


@pytest.fixture
def client(store):
    async def put(request):
        session, file = request.path_params["session"], request.path_params["file"]
        store.add_file(session, UploadedFileRec(file, "a", "text/csv", await request.body()))
        return Response(status_code=204)

    app = Starlette(routes=[Route("/_stcore/upload_file/{session}/{file}", put, methods=["PUT", "POST"])])
    return TestClient(Uploads(app))


def test_a_session_holds_its_latest_files_and_nobody_elses_are_touched(client, store):
    client.put("/_stcore/upload_file/bo/first", content=b"b")
    for number in range(40):
        assert client.put(f"/_stcore/upload_file/anna/{number}", content=b"a").status_code == 204
        assert len(store.file_storage["anna"]) <= MOST_FILES
    assert list(store.file_storage["anna"]) == ["38", "39"]
    assert list(store.file_storage["bo"]) == ["first"]


def test_they_are_counted_in_bytes_as_well(client, store):
    for number in range(3):
        client.put(f"/_stcore/upload_file/anna/{number}", content=b"a" * 1_500_000)
    assert list(store.file_storage["anna"]) == ["2"]
    client.put("/_stcore/upload_file/anna/huge", content=b"a" * 9_000_000)
    assert list(store.file_storage["anna"]) == ["huge"]  # the limit of one file is Streamlit's own


def test_so_many_may_be_on_their_way_at_once(store):
    statuses, waiting = [], []

    async def slow(scope, receive, send):
        event = anyio.Event()
        waiting.append(event)
        await event.wait()
        await Response(status_code=204)(scope, receive, send)

    guarded = Uploads(slow)

    async def ask(session):
        async def send(message):
            if message["type"] == "http.response.start":
                statuses.append((session, message["status"]))

        scope = {"type": "http", "method": "PUT", "path": f"/_stcore/upload_file/{session}/a"}
        await guarded(scope, None, send)

    async def everybody():
        async with anyio.create_task_group() as group:
            for session in ("anna",) * 5 + ("bo",):
                group.start_soon(ask, session)
            while len(statuses) < 3 or len(waiting) < 3:
                await anyio.sleep(0.001)
            assert statuses == [("anna", 429)] * 3
            for event in waiting:
                event.set()

    run(everybody())
    assert sorted(statuses[3:]) == [("anna", 204), ("anna", 204), ("bo", 204)]
    assert not guarded._on_the_way


@pytest.mark.parametrize("path", ["/", "/_stcore/upload_file/a", "/_stcore/health", "/media/a/b"])
def test_all_else_passes(path, store):
    async def app(scope, receive, send):
        await Response("reached")(scope, receive, send)

    assert TestClient(Uploads(app)).put(path).text == "reached"
