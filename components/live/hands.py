"""Keys, presenting, and bringing the stage into view: what belongs to the window as a whole."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from components.words import language

_mount = st.components.v2.component(
    "loupe_hands", js=(Path(__file__).parent / "hands.js").read_text(encoding="utf-8")
)
PRESENT = "loupe_present"  # in the session: whether a teacher shows the page to a room
SHOWN = "loupe_shown"  # how often something has set the stage from below


def is_presenting() -> bool:
    """Whether the page is being shown to a room, as the address or the key P said."""
    state = st.session_state
    is_on = state.get(PRESENT)
    if is_on is None:
        is_on = state[PRESENT] = st.query_params.get("present") in ("1", "true")
    return bool(is_on)


def bring_into_view() -> None:
    """Let the browser bring the stage into view after this run."""
    st.session_state[SHOWN] = st.session_state.get(SHOWN, 0) + 1


def hands(page: str, step_scene: Callable[[int], None]) -> None:
    """Mount them, once a page. ``step_scene`` receives +1 or −1 from the arrow keys while presenting."""
    state, element = st.session_state, f"{page}_hands"

    def present() -> None:
        wanted = state.get(element, {}).get("present")
        if wanted is not None:
            state[PRESENT] = bool(wanted)

    def scene() -> None:
        step = state.get(element, {}).get("scene")
        if step in (1, -1):
            step_scene(step)

    with st.container(key=f"address_{page}_hands"):
        _mount(
            key=element,
            data={"present": is_presenting(), "shown": state.get(SHOWN, 0), "lang": language()},
            on_present_change=present,
            on_scene_change=scene,
        )
