"""A slider that reports while it is dragged, not only when it is released."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from components.control_kinds import Slider
from components.live.address import app_route
from components.live.arrived import number_in, sent_by
from components.live.figure import ANSWERS
from components.live.follow import FOLLOW_ROUTE, token_of_session
from components.words import _

_HERE = Path(__file__).parent
_mount = st.components.v2.component(
    "loupe_slider",
    html=(
        '<div class="slider"><label></label><output></output><input type="range">'
        '<span class="mark"></span></div>'
    ),
    css=(_HERE / "slider.css").read_text(),
    js=(_HERE / "slider.js").read_text(),
)


def live_slider(
    label: str,
    key: str,
    low: float,
    high: float,
    default: float,
    value: float,
    control: Slider,
    write: Callable[[float], None],
    *,
    help: str = "",
    disabled: bool = False,
) -> None:
    """Draw the slider at ``value``; ``write`` takes what it was moved to.

    While it is dragged, the view's figures are drawn by the app's route and nothing reruns; when it is
    let go, the view reruns. Where ``control.live`` is false everything waits for the release, and a
    mark says so. A double click puts the default back.
    """
    state, element = st.session_state, f"{key}_slider"

    def take(name: str) -> None:
        sent = sent_by(element, name)
        value, serial = number_in(sent, "value"), number_in(sent, "serial")
        if value is None or serial is None:
            return  # the page was left while the value was on its way
        moved = min(high, max(low, value))
        write(round(moved) if control.whole else moved)
        state.setdefault(ANSWERS, {})[key] = int(serial)

    data: dict[str, Any] = {
        "label": label,
        "parameter": key,
        "low": low,
        "high": high,
        "default": default,
        "step": control.step,
        "digits": max(0, -math.floor(math.log10(control.step))) if control.step < 1 else 0,
        "log": control.log,
        "unit": _(control.unit) if control.unit else "",
        "help": help,
        "value": value,
        "serial": state.get(ANSWERS, {}).get(key, 0),
        "token": token_of_session() if control.live else "",
        "waits": not control.live,
        "mark": "" if control.live else _("on release"),
        "disabled": disabled,
        "elsewhere": control.writes is not None,
        "route": app_route(FOLLOW_ROUTE),
    }
    _mount(
        key=element,
        data=data,
        on_sent_change=lambda: take("sent"),
        on_settled_change=lambda: take("settled"),
    )
