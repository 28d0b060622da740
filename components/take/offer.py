"""Where a page offers its script: nothing is made of it until somebody opens it."""

from collections.abc import Callable

import streamlit as st

from components.refusal import refusals
from components.take.script import Script
from components.words import _


@st.fragment
def offer(key: str, make: Callable[[], Script]) -> None:
    """The script behind a fold; opening it draws nothing else of the page again."""
    fold = st.expander(_("Reproduce in Python"), key=f"{key}_python", on_change="rerun")
    if not fold.open:
        return
    with fold, refusals():
        script = make()
        st.download_button(
            _("Python file"),
            script.code.encode,
            f"loupe-{key}.py",
            "text/x-python",
            key=f"{key}_py",
            icon=":material/download:",
            on_click="ignore",
        )
        if not script.is_shown_whole:
            st.caption(
                _("The file also holds the numbers that it computes with, too many to be shown here.")
            )
        st.code(script.shown, language="python", height=480)
