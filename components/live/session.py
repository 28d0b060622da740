"""A page that lost its process finds its state again: everything stands in the address."""

import uuid
from pathlib import Path

import streamlit as st

_mount = st.components.v2.component(
    "loupe_session", js=(Path(__file__).parent / "session.js").read_text(encoding="utf-8")
)


def name_session() -> None:
    """Tell the page which session it talks to, through an element that takes no room.

    A page that finds another session than before loads itself again by its address.
    """
    state = st.session_state
    state.setdefault("loupe_session_name", uuid.uuid4().hex)

    def answer() -> None:
        state["loupe_session_asked"] = state.get("loupe_session_asked", 0) + 1

    with st.container(key="address_session"):
        _mount(
            key="loupe_session",
            data={"name": state["loupe_session_name"], "asked": state.get("loupe_session_asked", 0)},
            on_back_change=answer,
        )
