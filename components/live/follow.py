"""Figures that follow a slider without a rerun.

A rerun costs the browser some 20 ms of React, whatever it shows. While a slider is dragged, its
value therefore goes to a route of the app; the live panels that it names are drawn there with that
value, and only their figures come back. When it is let go, a rerun writes the value down. A panel
whose words change with the slider, by a refusal for example, follows by reruns instead.
"""

import copy
import logging
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from threading import current_thread
from weakref import WeakValueDictionary

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
from streamlit.runtime.scriptrunner_utils.script_run_context_attr import SCRIPT_RUN_CONTEXT_ATTR_NAME
from streamlit.runtime.state import SafeSessionState, SessionState

from components.server.watch import timed
from models.runtime.turns import turn

FOLLOW_ROUTE = "/loupe/follow"
MOST_BYTES = 1000  # of a request: a token, a key and a number
_KEY = "loupe_following"
_log = logging.getLogger("loupe")


@dataclass(eq=False)
class _Panel:
    """A live panel as it was last drawn, with what it needs to be drawn again."""

    draw: Callable[[], None]
    context: Context
    script: ScriptRunContext
    words: list[bytes] | None = None  # what it shows besides figures; known from the first time on

    def figures_at(self, changed: dict[str, float]) -> list[dict] | None:
        """Its figures with some controls changed; None where it fails, or says something else."""
        if self.words is None:
            self.words = self._drawn({})[1]
        figures, words = self._drawn(changed)
        return figures if words is not None and words == self.words else None

    def _drawn(self, changed: dict[str, float]) -> tuple[list[dict], list[bytes] | None]:
        return self.context.copy().run(_draw, self, changed)


@dataclass(frozen=True)
class _Slider:
    low: float
    high: float
    panels: Sequence[str]


@dataclass(eq=False)
class Following:
    """The live panels and sliders that one session has on its screen."""

    token: str = field(default_factory=secrets.token_urlsafe)
    panels: dict[str, _Panel] = field(default_factory=dict)
    sliders: dict[str, _Slider] = field(default_factory=dict)


_sessions: WeakValueDictionary[str, Following] = WeakValueDictionary()  # a session holds its own
_figures: ContextVar[list[dict] | None] = ContextVar("loupe_figures", default=None)


def _of_session() -> Following:
    if _KEY not in st.session_state:
        st.session_state[_KEY] = Following()
    following = st.session_state[_KEY]
    _sessions[following.token] = following
    return following


def forget_panels() -> None:
    """A page begins: what the one before had on the screen is gone."""
    following = _of_session()
    following.panels.clear()
    following.sliders.clear()


def remember_panel(name: str, draw: Callable[[], None]) -> None:
    """Keep how to draw a live panel again; does nothing where it is being drawn again."""
    script = get_script_run_ctx()
    if script is not None and _figures.get() is None:
        _of_session().panels[name] = _Panel(draw, copy_context(), script)


def remember_slider(key: str, low: float, high: float, panels: Sequence[str]) -> str:
    """Keep which panels follow a slider; returns the token that its requests carry."""
    following = _of_session()
    following.sliders[key] = _Slider(low, high, panels)
    return following.token


def figures_asked_for() -> list[dict] | None:
    """Where a live figure leaves its data while a panel is drawn again; None in an ordinary rerun."""
    return _figures.get()


def follow(token: str, key: str, value: float) -> list[dict] | None:
    """The figures of all panels that follow a slider, at ``value``; None where a rerun is needed."""
    following = _sessions.get(token)
    slider = following.sliders.get(key) if following else None
    if following is None or slider is None or not slider.panels or not math.isfinite(value):
        return None
    figures: list[dict] = []
    for name in slider.panels:
        panel = following.panels.get(name)
        clamped = min(slider.high, max(slider.low, value))
        drawn = None if panel is None else panel.figures_at({key: clamped})
        if drawn is None:
            return None
        figures += drawn
    return figures


def _draw(panel: _Panel, changed: dict[str, float]) -> tuple[list[dict], list[bytes] | None]:
    """Draw a panel with some controls changed: its figures, and all else that it shows."""
    figures: list[dict] = []
    messages: list[ForwardMsg] = []
    script = copy.copy(panel.script)
    known = script.session_state.filtered_state | changed
    script.session_state = SafeSessionState(SessionState(_new_session_state=known), lambda: None)
    script._enqueue = messages.append
    script.cursors = {}
    _figures.set(figures)
    with _running(script):
        try:
            panel.draw()
        except Exception:
            _log.exception("A live panel failed.")
            return [], None
    elements = [message.delta.new_element for message in messages if message.delta.HasField("new_element")]
    return figures, [element.SerializeToString(deterministic=True) for element in elements]


@contextmanager
def _running(script: ScriptRunContext) -> Iterator[None]:
    """Let this thread pass for the one that runs a session's script."""
    thread = current_thread()
    before = getattr(thread, SCRIPT_RUN_CONTEXT_ATTR_NAME, None)
    setattr(thread, SCRIPT_RUN_CONTEXT_ATTR_NAME, script)
    try:
        yield
    finally:
        setattr(thread, SCRIPT_RUN_CONTEXT_ATTR_NAME, before)


async def answer(request: Request) -> Response:
    """POST {token, key, value}: {figures}; null in their place where the slider must ask for a rerun."""
    body = await request.body()
    if len(body) > MOST_BYTES:
        return Response(status_code=413)
    try:
        asked = await request.json()
        token, key, value = str(asked["token"]), str(asked["key"]), float(asked["value"])
    except (ValueError, KeyError, TypeError):
        return Response(status_code=400)
    with timed("follow"):
        return JSONResponse({"figures": await run_in_threadpool(_in_turn, token, key, value)})


def _in_turn(token: str, key: str, value: float) -> list[dict] | None:
    with turn(timed("wait for a turn")):
        return follow(token, key, value)
