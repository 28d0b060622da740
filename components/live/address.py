"""The address bar as a link to what is on screen, for state that no widget binds by itself.

``bind="query-params"`` writes labels into the address, in the person's language, so that choices
with translated labels cannot use it. They are remembered here by their values instead, and a
hidden element writes them from the browser's side, where nothing else's parameters are lost.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import streamlit as st

from components.live.arrived import number_in, sent_by
from components.words import _

_HERE = Path(__file__).parent
_writer = st.components.v2.component("loupe_address", js=(_HERE / "address.js").read_text())
_button = st.components.v2.component(
    "loupe_copy_link",
    html='<button type="button"></button>',
    css=(_HERE / "copy_link.css").read_text(),
    js=(_HERE / "copy_link.js").read_text(),
)
_REMEMBERED = "loupe_address"


def app_route(path: str) -> str:
    """The address of one of the app's own routes, below the base path that it is served under."""
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"/{base}{path}" if base else path


def forget_address() -> None:
    """Begin a full run: the page that runs now says what belongs into the address."""
    st.session_state[_REMEMBERED] = {}


def remember(parameter: str, value: object, default: object) -> None:
    """Put a value into the address, or take its parameter out while it is the default."""
    st.session_state.setdefault(_REMEMBERED, {})[parameter] = None if value == default else str(value)


def write_address(name: str) -> None:
    """Write what was remembered, through an element that takes no room."""
    with st.container(key=f"address_{name}"):
        _writer(
            key=f"{name}_writer", data={"parameters": st.session_state.get(_REMEMBERED, {}), "serial": 0}
        )


def write_steps(page: str, parameters: Mapping[str, str | None], take_back: Callable[[str], None]) -> None:
    """Write a page's parameters (None: take it out), each change a step of the browser's history.

    ``take_back`` receives the address's query when a person goes back or forward to it.
    """
    state, element, serial = st.session_state, f"{page}_history", f"{page}_history_taken"

    def back() -> None:
        sent = sent_by(element, "back")
        taken, search = number_in(sent, "serial"), sent.get("search") if isinstance(sent, Mapping) else None
        if isinstance(search, str) and taken is not None:
            take_back(search)
            state[serial] = int(taken)

    with st.container(key=f"address_{page}_history"):
        _writer(
            key=element,
            data={
                "parameters": dict(parameters),
                "page": page,
                "steps": True,
                "serial": state.get(serial, 0),
            },
            on_back_change=back,
        )


def copy_link(key: str) -> None:
    """A button that copies the present address."""
    _button(key=key, data={"label": _("Copy the link"), "done": _("Copied")})
