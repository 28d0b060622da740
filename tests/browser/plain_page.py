"""A page that shows what somebody typed wherever Streamlit reads Markdown: for test_plain.py."""

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).parents[2]))
from components.refusal import plain  # found from there alone
from tests.components.test_refusal import TYPED

for number, typed in enumerate(TYPED):
    with st.container(key=f"typed_{number}"):
        st.markdown(plain(typed))
        st.caption(plain(typed))
        st.warning(f"Not known: {plain(typed)}")
        st.radio(plain(typed), ["a"], format_func=lambda _option, typed=typed: plain(typed), key=number)
        st.button(plain(typed), key=f"button_{number}", help=plain(typed))
