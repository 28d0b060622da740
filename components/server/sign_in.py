"""Sign-in by OpenID Connect, where the settings ask for it: before it, nothing is shown or answered."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.live.address import app_route
from components.live.figure import PLOTLY_ROUTE
from components.refusal import plain
from components.streamlit_private import kind_of_message, signed_in_as, without_infinities
from components.words import _
from models.runtime.settings import Settings, settings

_return = st.components.v2.component(
    "loupe_return", js=(Path(__file__).parent.parent / "live" / "return.js").read_text(encoding="utf-8")
)
# Below these stands what belongs to somebody; all else is Streamlit's own page and its scripts.
PRIVATE = ("/_stcore/", "/media/", "/component/", "/app/", "/loupe/")
PUBLIC = {"/_stcore/health", "/_stcore/host-config", PLOTLY_ROUTE}
NOT_ACCEPTED = 1003  # the websocket's code for a kind of message that is not understood
_log = logging.getLogger("loupe")


def secrets(asked: Settings) -> dict[str, Any] | None:
    """What st.login needs to know, in the form of Streamlit's secrets; None where it is off."""
    if not asked.sign_in:
        return None
    return {
        "auth": {
            "redirect_uri": asked.public_address + app_route("/oauth2callback"),
            "cookie_secret": asked.cookie_secret.get_secret_value(),
            "client_id": asked.sign_in_client_id,
            "client_secret": asked.sign_in_client_secret.get_secret_value(),
            "server_metadata_url": asked.sign_in_metadata,
        }
    }


def require_sign_in() -> None:
    """Show a button for signing in and end the run, unless the person is signed in or need not be."""
    if not settings().sign_in:
        return
    signed_in = bool(st.user.is_logged_in) and bool(who_of(st.context.cookies))
    with st.container(key="address_return"):
        _return(key="loupe_return", data={"signed_in": signed_in})
    if not signed_in:
        st.title("Loupe", anchor=False)
        st.markdown(_("Please sign in to go on."))
        st.button(_("Sign in"), type="primary", icon=":material/login:", on_click=st.login)
        st.stop()


def who_of(cookies: Mapping[str, str]) -> str:
    """A name for whoever these cookies belong to; empty where nobody is signed in, or for too long."""
    return signed_in_as(cookies, settings().sign_in_hours)


def sign_out_button() -> None:
    """Who is signed in, and a way out; nothing where nobody signs in."""
    if settings().sign_in:
        who = st.user.get("name") or st.user.get("email") or ""
        st.button(
            _("Sign out"),
            help=plain(str(who)),
            icon=":material/logout:",
            type="tertiary",
            on_click=st.logout,
        )


class Guard:
    """What reaches the app: private routes only for who is signed in, and messages of the known kind."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.app(scope, _only_known(receive), send)
        elif scope["type"] == "http" and self._is_refused(scope):
            await Response(status_code=401)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    @staticmethod
    def _is_refused(scope: Scope) -> bool:
        path = "/" + scope["path"].removeprefix(app_route("/").rstrip("/")).lstrip("/")
        is_private = path.startswith(PRIVATE) and path not in PUBLIC
        return settings().sign_in and is_private and not who_of(HTTPConnection(scope).cookies)


def _only_known(receive: Receive) -> Receive:
    """Messages of a websocket that Streamlit knows, less those by which one person would end what
    all others have in the caches. Who sends anything else is taken for gone.
    """

    async def next_message() -> Message:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            kind = kind_of_message(message.get("bytes"))
            if kind is None:
                _log.warning("A message that could not be read ended its connection.")
                return {"type": "websocket.disconnect", "code": NOT_ACCEPTED}
            if kind == "rerun_script":
                message["bytes"] = without_infinities(message["bytes"])
            if kind != "clear_cache" or settings().profile != "hosted":
                return message

    return next_message
