"""Bad input over the websocket: the process lives on, and others notice nothing."""

import asyncio
import contextlib
import os
import random
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.benchmarks.sessions import Session, sessions
from tests.hosting.hosting import Hosted
from tests.loops import run

TEMPERATURE = "attention_temperature"
PATIENCE = 60


def stream(hosted: Hosted) -> str:
    return hosted.address.replace("http", "ws", 1) + "/_stcore/stream"


async def sent(hosted: Hosted, *frames: bytes | str) -> None:
    """Open a websocket, send the frames, and read until the other side closes or has said enough."""
    async with connect(stream(hosted), subprotocols=["streamlit"], max_size=None) as socket_:
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            for frame in frames:
                await socket_.send(frame)
            async with asyncio.timeout(1):
                while True:
                    await socket_.recv()


def while_somebody_works(hosted: Hosted, attack) -> None:
    """Run the attack beside a person of each replica, who goes on as before; no process ends."""

    async def both() -> None:
        async with sessions(hosted.address, 2, "attention", "", TEMPERATURE) as people:
            await asyncio.gather(attack(), *(one.move(0.7) for one in people))
            for one in people:
                assert await asyncio.wait_for(one.move(1.3), PATIENCE) > 0

    before = [hosted.replica(name).pid for name in ("r1", "r2")]
    already_said = len(hosted.said)
    run(both())
    assert [hosted.replica(name).pid for name in ("r1", "r2")] == before
    assert "Traceback" not in hosted.said[already_said:]


def rerun(**state: str) -> BackMsg:
    message = BackMsg()
    for name, value in state.items():
        setattr(message.rerun_script, name, value)
    return message


def test_frames_that_are_no_messages(plain):
    chance = random.Random(0)
    frames = [chance.randbytes(size) for size in (1, 10, 1_000, 100_000)]

    async def attack() -> None:
        for frame in (*frames, b"", "words", "\x00" * 1_000, rerun().SerializeToString()[:-1]):
            await sent(plain, frame)

    while_somebody_works(plain, attack)


def test_messages_that_ask_for_what_is_not_there(plain):
    widget = rerun()
    widget.rerun_script.widget_states.widgets.add(id="$$ID-nobody-None", json_value="{" * 1_000)
    strange = [
        rerun(page_script_hash="0" * 32),
        rerun(page_name="../../etc/passwd"),
        rerun(fragment_id="nobody"),
        rerun(query_string="a=%ff%fe&" * 2_000),
        rerun(page_name="attention", query_string="attention_layer=1e999&attention_seed=nan"),
        widget,
    ]

    async def attack() -> None:
        for message in strange:
            await sent(plain, message.SerializeToString())

    while_somebody_works(plain, attack)


def test_a_message_beyond_the_limit_closes_its_own_connection(plain):
    async def attack() -> None:
        await sent(plain, os.urandom(60_000_000))

    while_somebody_works(plain, attack)


def test_nobody_clears_the_caches_of_all(plain):
    clear = BackMsg()
    clear.clear_cache = True

    async def attack() -> None:
        await sent(plain, rerun(page_name="attention").SerializeToString(), clear.SerializeToString())

    while_somebody_works(plain, attack)


@pytest.mark.parametrize("kind", ["debug_shutdown_runtime", "debug_disconnect_websocket"])
def test_nobody_ends_the_process(plain, kind):
    message = BackMsg()
    setattr(message, kind, True)

    async def attack() -> None:
        await sent(plain, message.SerializeToString())

    while_somebody_works(plain, attack)


def test_a_connection_from_another_sites_page_is_refused(plain):
    async def attempt() -> None:
        async with connect(stream(plain), origin="https://elsewhere.example", subprotocols=["streamlit"]):
            pass

    with pytest.raises(InvalidStatus) as refused:
        run(attempt())
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("cookie", ["", "_streamlit_user=eyJpc19sb2dnZWRfaW4iOnRydWV9.aaaa.bbbb; a=b"])
def test_without_signing_in_a_session_shows_nothing(closed, cookie):
    async def attempt() -> Session:
        headers = {"Cookie": cookie} if cookie else {}
        protocols = ["streamlit", "none"]
        async with connect(stream(closed), subprotocols=protocols, additional_headers=headers) as socket_:
            session = Session(socket_, "attention", "attention_view=look", "")
            await session.open()
            return session

    seen = run(attempt())
    assert (seen.slider, seen.figure_at, seen.failures) == ("", None, 0)


def test_another_sessions_name_opens_nothing(plain):
    """A made-up id gets a session of its own."""

    async def attempt() -> str:
        protocols = ["streamlit", "none", "00000000-0000-0000-0000-000000000000"]
        async with connect(stream(plain), subprotocols=protocols, max_size=None) as socket_:
            session = Session(socket_, "attention", "", TEMPERATURE)
            await session.open()
            return session.slider

    assert run(attempt())


def test_a_session_that_never_reads(plain):
    async def attack() -> None:
        where = urlsplit(plain.address)
        raw = socket.create_connection((where.hostname, where.port))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            async with connect(stream(plain), sock=raw, subprotocols=["streamlit"], max_queue=1) as socket_:
                for layer in range(20):
                    query = f"attention_layer={layer % 8}&attention_view=look"
                    await socket_.send(rerun(page_name="attention", query_string=query).SerializeToString())
                socket_.transport.pause_reading()
                await asyncio.sleep(3)
                socket_.transport.abort()
        except ConnectionClosed:
            pass

    while_somebody_works(plain, attack)


def test_follow_answers_only_what_it_understands(plain):
    def post(body: bytes) -> int:
        request = urllib.request.Request(plain.address + "/loupe/follow", data=body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                assert answer.read() == b'{"figures":null}'
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert post(b'{"token":"x","key":"attention_temperature","value":1}') == 200
    assert [post(body) for body in (b"", b"{", b"[]", b"\xff", b'{"token":1}')] == [400] * 5
    assert post(b"x" * 2_000) == 413
