"""The client of a pool when the pool is full, slow, gone or mistaken; no Ray is needed for that."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.networks.engine import ray_serve as ray_engine
from models.networks.engine.choice import engine
from models.networks.engine.process import InProcessEngine
from models.networks.engine.ray_serve import RayServeEngine
from models.networks.engine.wire import TraceQuestion, read_question, read_refusal, write_refusal
from models.networks.interventions import Intervention, Visible
from models.runtime.settings import settings

TEXT = "The keeper lit the lamp."
ELSEWHERE = "all-MiniLM-L6-v2"  # in the catalogue, and not one that runs here in the pool's place


@pytest.fixture
def answering():
    """A server whose answers a test gives: status, body, seconds that it takes, questions that came."""

    class Server(ThreadingHTTPServer):
        status, body, seconds, questions = 200, b"", 0.0, 0

        def handle_error(self, *_args):
            """Whoever asked has gone: that is the test."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):  # the library's name
            server.questions += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(server.seconds)
            self.send_response(server.status)
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

        def log_message(self, *_args):
            """Say nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def client(port: int, seconds: float = 5.0) -> RayServeEngine:
    return RayServeEngine(f"http://127.0.0.1:{port}", 0.5, seconds, InProcessEngine())


def refusal(asked: RayServeEngine) -> str:
    with pytest.raises(InputError) as refused:
        asked.trace(ELSEWHERE, TEXT)
    assert str(asked.trouble) == str(refused.value)
    return str(refused.value)


def assert_runs_here(asked: RayServeEngine):
    """An embedded network answers all the same."""
    assert torch.equal(
        asked.trace("loupe-llama", TEXT).logits, InProcessEngine().trace("loupe-llama", TEXT).logits
    )


def test_a_full_pool_is_asked_a_few_times_more(answering):
    answering.status = 503
    asked = client(answering.server_port)
    assert "full just now" in refusal(asked)
    assert answering.questions == 1 + len(ray_engine.BACK_OFF)
    assert_runs_here(asked)


def test_a_slow_pool_is_not_waited_for_longer_than_the_settings_say(answering):
    answering.seconds = 2.0
    begun = time.monotonic()
    asked = client(answering.server_port, seconds=0.2)
    assert "longer than 0.2 s" in refusal(asked)
    assert time.monotonic() - begun < 1.5
    assert_runs_here(asked)


def test_a_pool_that_is_gone_is_not_asked_at_every_step(answering, monkeypatch):
    port = answering.server_port
    answering.shutdown()
    answering.server_close()
    asked, posted = client(port), []
    monkeypatch.setattr(asked._client, "request", _counted(asked._client.request, posted))
    for _ in range(3):
        assert "cannot be reached" in refusal(asked)
    assert len(posted) == 1
    assert_runs_here(asked)
    monkeypatch.setattr(ray_engine, "AWAY_SECONDS", 0.0)
    asked._away_until = 0.0
    refusal(asked)
    assert len(posted) == 2


def _counted(call, calls):
    def counting(*args, **kwargs):
        calls.append(args)
        return call(*args, **kwargs)

    return counting


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>another server</html>"),
        (200, b""),
        (404, b""),
        (500, b"Traceback: /a/secret/path"),
        (422, b"[1, 2]"),
        (422, b"\xff"),
        (302, b""),
    ],
)
def test_an_answer_that_is_none_is_one_sentence(answering, status, body):
    answering.status, answering.body = status, body
    asked = client(answering.server_port)
    assert refusal(asked) == "The pool that runs networks failed at this question."
    assert_runs_here(asked)


def test_the_pools_refusal_is_not_a_trouble_of_the_pool(answering):
    answering.status, answering.body = 422, write_refusal(InputError("There is no {thing}.", thing="钟"))
    asked = client(answering.server_port)
    with pytest.raises(InputError, match="There is no 钟") as refused:
        asked.trace("loupe-llama", TEXT)
    assert (refused.value.template, refused.value.values) == ("There is no {thing}.", {"thing": "钟"})
    assert asked.trouble is None


def test_trouble_is_forgotten_after_a_while(answering, monkeypatch):
    monkeypatch.setattr(ray_engine, "TROUBLE_SECONDS", 0.05)
    answering.status = 500
    asked = client(answering.server_port)
    refusal(asked)
    time.sleep(0.06)
    assert asked.trouble is None


def test_the_settings_name_the_engine(monkeypatch):
    assert isinstance(engine(), InProcessEngine)
    monkeypatch.setenv("LOUPE_ENGINE", "ray")
    settings.cache_clear()
    engine.cache_clear()
    assert isinstance(engine(), RayServeEngine)
    engine.cache_clear()


@given(
    temperature=st.floats(1e-3, 1e3),
    silenced=st.frozensets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4),
    mask=st.lists(st.booleans(), min_size=9, max_size=9),
    where=st.none() | st.frozensets(st.integers(0, 5)),
    text=st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_a_question_arrives_as_it_was_asked(temperature, silenced, mask, where, text):
    change = Intervention(
        temperature=temperature,
        silenced=silenced,
        visible=Visible.from_tensor(torch.tensor(mask).reshape(3, 3)),
        visible_in=where,
    )
    asked = TraceQuestion(network="loupe-llama", text=text, intervention=change)
    assert read_question(TraceQuestion, asked.model_dump_json().encode()) == asked


def test_a_change_out_of_range_is_refused_with_its_own_sentence():
    body = b'{"network": "n", "text": "t", "intervention": {"temperature": -1}}'
    with pytest.raises(InputError, match="The temperature is -1"):
        read_question(TraceQuestion, body)


@given(st.binary(max_size=40))
def test_what_is_no_refusal_is_not_read_as_one(body):
    with pytest.raises(ValueError, match=r"\w"):
        read_refusal(body)
