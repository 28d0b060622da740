"""The gallery: every page with a picture of real numbers and the question that it answers."""

import streamlit as st

from components.catalogue import HOME, PAGES, lesson
from components.words import language

COLUMNS = 3

home = lesson(HOME.name, language())
st.title(home.title, anchor=False)
st.markdown(home.question)
for start in range(0, len(PAGES), COLUMNS):
    for column, entry in zip(st.columns(COLUMNS), PAGES[start : start + COLUMNS], strict=False):
        page = lesson(entry.name, language())
        with column, st.container(border=True):
            st.image(entry.picture, width="stretch")
            st.page_link(f"../pages/{entry.name}.py", label=f"**{page.title}**", icon=entry.icon)
            st.caption(page.question)
for note in home.notes.values():
    st.markdown(note)
