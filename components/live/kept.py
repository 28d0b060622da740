"""Long texts outlive their session in the browser's tab: the address has no room for them."""

from pathlib import Path

import streamlit as st

from components.live.address import remember

_mount = st.components.v2.component(
    "loupe_kept", js=(Path(__file__).parent / "kept.js").read_text(encoding="utf-8")
)


def keep(key: str, text: str, is_long: bool) -> str | None:
    """Keep ``text`` in the tab while it is long; returns what the address says of it ("true" or None).

    A new session that finds this in the address asks the tab once and puts the answer into
    ``st.session_state[key]``.
    """
    state, parameter, element = st.session_state, f"{key}_kept", f"{key}_keeper"
    asks = not is_long and st.query_params.get(parameter) == "true" and not state.get(parameter)
    remember(parameter, str(is_long or asks).lower(), "false")

    def take() -> None:
        state[parameter] = True
        sent = state.get(element, {}).get("kept")
        if sent and isinstance(sent.get("text"), str):
            state[key] = sent["text"]

    if is_long or asks:
        state[parameter] = state.get(parameter, False) or is_long
        with st.container(key=f"address_{key}_keeper"):
            _mount(
                key=element,
                data={"name": key, "text": text if is_long else None},
                on_kept_change=take,
            )
    return "true" if is_long or asks else None
