"""Formulas under a stage, with the present numbers put in."""

import re

import streamlit as st

_POWER = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)e([+-]\d+)")


def powers(tex: str) -> str:
    """The formula with 1.2e-05 as 1.2·10⁻⁵: TeX would set the letter e, a minus and a 5."""
    return _POWER.sub(lambda found: rf"{found[1]}\cdot10^{{{int(found[2])}}}", tex)


def show_formula(tex: str) -> None:
    """A formula where the script stands."""
    st.latex(powers(tex))
