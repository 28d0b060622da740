"""Sign-in: what Streamlit is told, and what the guard before the app lets through."""

import pytest
from starlette.testclient import TestClient
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from components import streamlit_private
from components.server import sign_in
from components.server.sign_in import PRIVATE, PUBLIC, Guard, secrets
from models.runtime.settings import Settings
from tests.loops import run
from tests.pages.screen import open_page

SECRET = "0123456789abcdef0123456789abcdef"
ASKED = Settings(
    sign_in=True,
    public_address="https://loupe.example",
    sign_in_metadata="https://id.example/.well-known/openid-configuration",
    sign_in_client_id="loupe",
    sign_in_client_secret="hush",
    cookie_secret=SECRET,
)


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(sign_in, "settings", lambda: ASKED)
    monkeypatch.setattr(streamlit_private, "get_cookie_secret", lambda: SECRET)


@pytest.fixture
def client(asked):
    from app import app

    return TestClient(app, follow_redirects=False)


def test_streamlit_is_told_what_the_settings_say():
    assert secrets(Settings()) is None
    assert secrets(ASKED) == {
        "auth": {
            "redirect_uri": "https://loupe.example/oauth2callback",
            "cookie_secret": SECRET,
            "client_id": "loupe",
            "client_secret": "hush",
            "server_metadata_url": "https://id.example/.well-known/openid-configuration",
        }
    }


def routes_of_the_app():
    from app import app

    client = TestClient(app)
    client.get("/ready")  # builds the routes
    return sorted({route.path for route in app._starlette_app.routes})


def test_every_route_is_private_public_or_a_step_of_signing_in():
    steps = {"/auth/login", "/auth/logout", "/oauth2callback", "/ready", "/metrics", "/status"}
    for path in routes_of_the_app():
        if path in ("", "/"):  # Streamlit's own page and scripts
            continue
        assert path.startswith(PRIVATE) or path in PUBLIC | steps, path


def test_before_sign_in_private_routes_answer_401(client):
    for path in routes_of_the_app():
        if path.startswith(PRIVATE) and path not in PUBLIC and "stream" not in path:
            filled = path.replace("{path:path}", "a").replace("{file_id:path}", "a")
            assert client.get(filled).status_code == 401, path
    assert client.post("/loupe/follow", json={}).status_code == 401


@pytest.mark.parametrize("path", ["/media//a", "/media/../media/a", "/./media/a"])
def test_other_spellings_open_nothing(client, path):
    assert client.get(path).status_code in (400, 401, 404)


def cookie(secret, user=b'{"is_logged_in": true}'):
    return f"{USER_COOKIE_NAME}={create_signed_value(secret, USER_COOKIE_NAME, user.decode()).decode()}"


def test_the_cookie_of_who_is_signed_in_opens_them(client):
    answer = client.post("/loupe/follow", json={}, headers={"cookie": cookie(SECRET)})
    assert answer.status_code == 400  # reached, and asked for nothing that it knows


@pytest.mark.parametrize(
    "forged",
    ["x", "a.b.c", "é", "chunks-1000", '"', pytest.param(cookie("another secret"), id="other secret")],
)
def test_a_forged_cookie_opens_nothing(client, forged):
    header = forged if "=" in forged else f"{USER_COOKIE_NAME}={forged}"
    answer = client.post("/loupe/follow", json={}, headers={"cookie": header.encode()})
    assert answer.status_code == 401


def test_without_sign_in_everything_is_open():
    from app import app

    assert TestClient(app).post("/loupe/follow", json={}).status_code == 400


def received(monkeypatch, profile, *messages):
    """What the app receives of these messages of a websocket."""
    monkeypatch.setattr(sign_in, "settings", lambda: Settings(profile=profile))
    waiting = [*messages, {"type": "websocket.disconnect", "code": 1000}]
    seen = []

    async def app(scope, receive, send):
        while (message := await receive())["type"] != "websocket.disconnect":
            seen.append(message["bytes"])
        seen.append(message["code"])

    async def receive():
        return waiting.pop(0)

    run(Guard(app)({"type": "websocket"}, receive, None))
    return seen


def message(kind):
    asked = BackMsg()
    setattr(asked, kind, True)
    return asked.SerializeToString()


def test_the_caches_of_all_are_cleared_by_nobody_who_is_hosted(monkeypatch):
    stop, clear = message("stop_script"), message("clear_cache")
    frames = [{"type": "websocket.receive", "bytes": data} for data in (stop, clear, stop)]
    assert received(monkeypatch, "hosted", *frames) == [stop, stop, 1000]
    assert received(monkeypatch, "local", *frames) == [stop, clear, stop, 1000]


def test_a_widget_that_is_infinite_is_left_out(monkeypatch):
    asked = BackMsg()
    asked.rerun_script.widget_states.widgets.add(id="a", double_value=1.5)
    good = asked.SerializeToString()
    asked.rerun_script.widget_states.widgets.add(id="b", double_value=float("inf"))
    frame = {"type": "websocket.receive", "bytes": asked.SerializeToString()}
    assert received(monkeypatch, "local", frame) == [good, 1000]


@pytest.mark.parametrize("frame", [{"text": "words"}, {"bytes": None, "text": "a"}, {"bytes": b"\xff"}])
def test_who_sends_no_message_is_taken_for_gone(monkeypatch, frame):
    assert received(monkeypatch, "local", {"type": "websocket.receive", **frame}) == [1003]


@pytest.mark.parametrize("name", ["home", "attention"])
def test_before_sign_in_a_page_shows_a_button_and_nothing_else(monkeypatch, asked, name):
    class Nobody:
        is_logged_in = False

    monkeypatch.setattr(sign_in.st, "user", Nobody())
    screen = open_page(name)
    assert [title.value for title in screen.title] == ["Loupe"]
    assert [button.label for button in screen.button] == ["Sign in"]
    assert not screen.caption
    assert not screen.exception
