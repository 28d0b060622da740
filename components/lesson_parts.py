"""Pieces of a page's lesson, shown where a view wants them."""

import streamlit as st

from components.catalogue import lesson
from components.settings import View
from components.words import language


def note(view: View, name: str) -> None:
    """What to see in a figure."""
    st.markdown(lesson(view.page, language()).notes[name])
