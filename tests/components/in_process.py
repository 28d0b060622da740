"""A Streamlit in this process, and what a browser says to it over its websocket."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st
from starlette.testclient import TestClient, WebSocketTestSession
from streamlit import runtime
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import Runtime

SOON = 30.0  # seconds, no measure of speed


@contextmanager
def streamlit_with(script: str, folder: Path) -> Iterator[TestClient]:
    """Run a script as an app, until the block is left."""
    path = folder / "script.py"
    path.write_text(script, encoding="utf-8")
    assert not runtime.exists()
    with TestClient(st.App(path)) as client:
        yield client
    Runtime._instance = None


@contextmanager
def opened(client: TestClient) -> Iterator[WebSocketTestSession]:
    """A browser's websocket."""
    with client.websocket_connect("/_stcore/stream", subprotocols=["streamlit"]) as socket:
        yield socket


def ask(socket: WebSocketTestSession, fragment: str = "") -> None:
    """Ask for a run of the whole script, or of a fragment as its timer does."""
    message = BackMsg()
    message.rerun_script.fragment_id = fragment
    message.rerun_script.is_auto_rerun = bool(fragment)
    socket.send_bytes(message.SerializeToString())


def answers(socket: WebSocketTestSession) -> list[ForwardMsg]:
    """What the server sends until the run is over; one that is cut short by the next is not over."""
    received: list[ForwardMsg] = []
    while not received or received[-1].WhichOneof("type") != "script_finished" or _goes_on(received[-1]):
        received.append(ForwardMsg.FromString(socket.receive_bytes()))
    return received


def _goes_on(message: ForwardMsg) -> bool:
    return message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN


def ran(socket: WebSocketTestSession, fragment: str = "") -> list[ForwardMsg]:
    ask(socket, fragment)
    return answers(socket)


def reaches(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes to hold."""
    end = time.monotonic() + SOON
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()
