"""A page that shows what somebody typed wherever Streamlit reads Markdown: for test_plain.py."""

import streamlit as st

from components.refusal import plain
from tests.components.test_refusal import TYPED

for number, typed in enumerate(TYPED):
    with st.container(key=f"typed_{number}"):
        st.markdown(plain(typed))
        st.caption(plain(typed))
        st.warning(f"Not known: {plain(typed)}")
        st.radio(plain(typed), ["a"], format_func=lambda _option, typed=typed: plain(typed), key=number)
        st.button(plain(typed), key=f"button_{number}", help=plain(typed))
