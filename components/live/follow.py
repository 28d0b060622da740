"""Figures that follow a slider without a rerun.

A rerun costs the browser some 20 ms of React, whatever it shows. While a slider is dragged, its value
therefore goes to a route of the app; the stage of the view on screen is made there again with that
value, and only the figures that changed come back. When it is let go, a rerun writes the value down.
A stage is made from its view alone, so that no session is needed here.
"""

import json
import logging
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakValueDictionary

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from components.control_kinds import Slider, of
from components.server.watch import timed
from components.settings import View
from components.streamlit_private import is_present, session_here, signed_in_as
from components.words import language, speaking
from models.errors import InputError
from models.runtime.settings import settings
from models.runtime.turns import turn

FOLLOW_ROUTE = "/loupe/follow"
MOST_BYTES = 1000  # of a request: a token, a key and a number
_KEY = "loupe_following"
_log = logging.getLogger("loupe")


class Drawn(Protocol):
    """A figure as text."""

    @property
    def text(self) -> str: ...


class Plot(Protocol):
    """What is sent of a figure on the stage."""

    @property
    def name(self) -> str: ...
    @property
    def alt(self) -> str: ...
    @property
    def drawn(self) -> Drawn: ...


Plots = Callable[[View], list[Plot] | list[Any]]


@dataclass(eq=False)
class Following:
    """The view that one session has on its screen, and what the browser was last sent of its figures."""

    token: str = field(default_factory=secrets.token_urlsafe)
    session: str | None = None
    owner: str = ""  # who is signed in; empty where nobody has to be
    view: View | None = None
    plots: Plots | None = None
    language: str = "en"
    shown: dict[str, str] = field(default_factory=dict)  # figures as the last rerun drew them
    moved: set[str] = field(default_factory=set)  # those that have changed since


_sessions: WeakValueDictionary[str, Following] = WeakValueDictionary()  # a session holds its own


def _of_session() -> Following:
    following: Following | None = st.session_state.get(_KEY)
    if following is None:
        following = st.session_state[_KEY] = Following()
    following.session, following.owner = session_here(), _owner(st.context.cookies)
    _sessions[following.token] = following
    return following


def _owner(cookies: Mapping[str, str]) -> str:
    return signed_in_as(cookies, settings().sign_in_hours) if settings().sign_in else ""


def token_of_session() -> str:
    """What this session's sliders send with their values."""
    return _of_session().token


def forget_view() -> None:
    """A page begins: what the one before had on the screen is gone."""
    _of_session().view = None


def remember_view(view: View, plots: Plots, shown: dict[str, str]) -> None:
    """Keep the view on screen, how to make its figures, and their text as it was just drawn."""
    following = _of_session()
    following.view, following.plots, following.shown = view, plots, shown
    following.language, following.moved = language(), set()


def follow(token: str, key: str, value: float, owner: str = "") -> list[dict[str, str]] | None:
    """The figures that change when a slider stands at ``value``; None where a rerun is needed.

    That is so where the session or the slider is unknown, where the session's browser has left or
    another person asks, where the view refuses the value, and where it shows other figures than before.
    """
    following = _sessions.get(token)
    if following is not None and (following.owner != owner or not is_present(following.session)):
        return None
    view = following.view if following is not None else None
    if following is None or view is None or following.plots is None or not math.isfinite(value):
        return None
    name = {key: name for name, key in view.keys().items()}.get(key)
    control = view.controls().get(name) if name else None
    if name is None or not isinstance(control, Slider) or not of(control.live, view):
        return None
    try:
        with speaking(following.language):
            return _changed(following, view.with_(**{name: value}))
    except InputError:
        return None
    except Exception:
        _log.exception("A live view failed.")
        return None


def _changed(following: Following, view: View) -> list[dict[str, str]] | None:
    assert following.plots is not None
    shown = following.shown
    plots = following.plots(view)
    if {plot.name for plot in plots} != set(shown):
        return None
    changed = []
    for plot in plots:
        text = plot.drawn.text
        if text != shown[plot.name] or plot.name in following.moved:
            following.moved.add(plot.name)  # the browser has another one than the rerun drew
            changed.append({"name": f"{view.page}_{plot.name}", "figure": text, "alt": plot.alt})
    return changed


async def answer(request: Request) -> Response:
    """POST {token, key, value}: {figures}; null in their place where the slider must ask for a rerun."""
    body = await _body(request)
    if body is None:
        return Response(status_code=413, headers={"Connection": "close"})
    try:
        asked = json.loads(body)
        token, key, value = str(asked["token"]), str(asked["key"]), float(asked["value"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Response(status_code=400)
    with timed("follow"):
        owner = _owner(request.cookies)
        return JSONResponse({"figures": await run_in_threadpool(_in_turn, token, key, value, owner)})


async def _body(request: Request) -> bytes | None:
    """What was sent; None as soon as it is too much, of which no more is read."""
    said = request.headers.get("content-length", "0")
    if not (said.isascii() and said.isdigit()) or int(said[:20]) > MOST_BYTES:
        return None
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return None
    return body


def _in_turn(token: str, key: str, value: float, owner: str) -> list[dict[str, str]] | None:
    with turn(timed("wait for a turn")):
        return follow(token, key, value, owner)
