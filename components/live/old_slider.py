"""A slider that reports while it is dragged, not only when it is released."""

import math
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from components.live.address import app_route
from components.live.figure import ANSWERS
from components.live.old_follow import FOLLOW_ROUTE, remember_slider

_HERE = Path(__file__).parent
_mount = st.components.v2.component(
    "loupe_slider",
    html='<div class="slider"><label></label><output></output><input type="range">'
    '<span class="mark"></span></div>',
    css=(_HERE / "slider.css").read_text(),
    js=(_HERE / "slider.js").read_text(),
)


def _from_address(key: str, low: float, high: float, default: float) -> float:
    """The value in the query string, clamped; the default where there is none or no number."""
    try:
        asked = float(st.query_params.get(key, default))
    except ValueError:
        return default
    return min(high, max(low, asked)) if math.isfinite(asked) else default


def slider_value(key: str, low: float, high: float, default: float) -> float:
    """The value of a live slider, also where it is not on screen."""
    if key not in st.session_state:
        st.session_state[key] = _from_address(key, low, high, default)
    return min(high, max(low, st.session_state[key]))


def live_slider(
    label: str,
    key: str,
    low: float,
    high: float,
    default: float,
    step: float = 0.01,
    *,
    log: bool = False,
    unit: str = "",
    help: str = "",
    live: Sequence[str] = (),
    settled: Sequence[str] = (),
) -> float:
    """Draw the slider and return its present value; a move reruns the fragment around it.

    ``key`` names both the session's value (``st.session_state[key]``, which scenes may write) and
    the parameter of the query string. ``log`` moves by equal factors and needs ``low`` > 0.
    A double click puts the default back.

    While it is dragged, the panels named in ``live`` rerun and nothing else; without them, the
    fragment around the slider. A live panel holds no slider: the browser would build it again at
    every step. When it is let go, the panels named in ``settled`` rerun.
    """
    state = st.session_state
    if key not in state:
        state[key] = _from_address(key, low, high, default)
    element = f"{key}_slider"

    def take(name: str, panels: Sequence[str]) -> None:
        sent = state.get(element, {}).get(name)
        if not sent or not math.isfinite(sent["value"]):
            return  # the page was left while the value was on its way
        state[key] = min(high, max(low, float(sent["value"])))
        state.setdefault(ANSWERS, {})[key] = sent["serial"]
        if panels:
            st.rerun(panels)

    _mount(
        key=element,
        data={
            "label": label,
            "parameter": key,
            "low": low,
            "high": high,
            "default": default,
            "step": step,
            "digits": max(0, -math.floor(math.log10(step))) if step < 1 else 0,
            "log": log,
            "unit": unit,
            "help": help,
            "value": state[key],
            "serial": state.get(ANSWERS, {}).get(key, 0),
            "token": remember_slider(key, low, high, tuple(live)) if live else "",
            "route": app_route(FOLLOW_ROUTE),
        },
        on_sent_change=lambda: take("sent", live),
        on_settled_change=lambda: take("settled", settled),
    )
    return state[key]
