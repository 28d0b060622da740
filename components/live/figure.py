"""A Plotly figure that is redrawn in place, keeps its zoom and reports the clicked point."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import plotly.graph_objects as go
import plotly.io
import streamlit as st

from components.figures.frames import Scrubbing
from components.live.address import app_route
from components.live.arrived import sent_by
from components.words import _

_HERE = Path(__file__).parent
_mount = st.components.v2.component(
    "loupe_figure",
    html=(
        '<div class="figure-box"><div class="figure"></div>'
        '<button type="button" class="fill">⛶</button></div>'
    ),
    css=(_HERE / "figure.css").read_text(),
    js=(_HERE / "figure.js").read_text(),
    isolate_styles=False,  # plotly.js puts its style sheet in the document's head
)
PLOTLY_ROUTE = "/loupe/plotly.js"
DEFAULT_HEIGHT = 420
PACKED = {
    **{f"int{bits}": f"i{bits // 8}" for bits in (8, 16, 32)},
    **{f"uint{bits}": f"u{bits // 8}" for bits in (8, 16, 32)},
    **{"float32": "f4", "float64": "f8"},
}  # what plotly.js calls the types that it takes packed
NUMPY = orjson.OPT_SERIALIZE_NUMPY  # single numbers; arrays have been packed before
ANSWERS = "loupe_answers"  # in the session: the last value that was taken from each live slider


@dataclass(frozen=True)
class Room:
    """A ``share`` of the stage's height less ``reserved`` pixels, and ``least`` pixels in any case."""

    share: float
    reserved: int = 0
    least: int = 150


@dataclass(frozen=True)
class Drawn:
    """A figure as text, ready to be sent: what a cache keeps."""

    text: str
    height: int

    @classmethod
    def of(cls, figure: go.Figure, scrubbing: Scrubbing | None = None) -> "Drawn":
        height = figure.layout.height or DEFAULT_HEIGHT
        if scrubbing is None:
            sent = {
                "data": [packed(trace.to_plotly_json()) for trace in figure.data],
                "layout": figure.layout.to_plotly_json(),
            }
            return cls(orjson.dumps(sent, option=NUMPY).decode(), height)
        return cls(orjson.dumps(scrubbing.put_into(figure.to_dict()), option=NUMPY).decode(), height)


def packed(value: Any) -> Any:
    """A trace with its arrays in base64, as ``Figure.to_json`` sends them, in a fifth of its time."""
    if isinstance(value, dict):
        return {key: packed(item) for key, item in value.items()}
    if not isinstance(value, np.ndarray) or not value.size:
        return value
    if value.dtype in (np.int64, np.uint64):
        if np.abs(value).max() >= 2**31:
            return value.tolist()
        value = value.astype(np.int32)
    short = PACKED.get(value.dtype.name)
    if short is None:
        return value.tolist()
    sent = {"dtype": short, "bdata": base64.b64encode(value.tobytes()).decode("ascii")}
    return sent | {"shape": str(value.shape)[1:-1]} if value.ndim > 1 else sent


def live_figure(
    figure: go.Figure | Drawn,
    key: str,
    alt: str,
    on_click: Callable[[dict[str, Any]], None] | None = None,
    on_frame: Callable[[str], None] | None = None,
    *,
    rest: int = 0,
    room: Room | None = None,
) -> None:
    """Draw ``figure`` in place of what ``key`` last showed.

    On a stage it takes its ``room``; elsewhere it is as high as it says. ``alt`` says in words what is
    shown. ``on_click`` receives {x, y, curve, point, custom} of the clicked point before the fragment
    reruns, ``on_frame`` the name of the frame at which scrubbing or playing came to rest. ``rest`` is the
    least time between two redraws in milliseconds: a second figure that follows the same slider leaves
    the first the time. Where the component cannot load plotly.js, the figure is drawn by
    ``st.plotly_chart``, without clicks.
    """
    drawn = figure if isinstance(figure, Drawn) else Drawn.of(figure)
    if sent_by(key, "failed"):
        st.plotly_chart(plotly.io.from_json(drawn.text), key=f"{key}_plain", alt=alt)
        return

    def clicked() -> None:
        click = sent_by(key, "click")
        if isinstance(click, Mapping) and click and on_click is not None:
            on_click(dict(click))

    def scrubbed() -> None:
        name = sent_by(key, "frame")
        if isinstance(name, str | int | float) and on_frame is not None:
            on_frame(str(name))

    _mount(
        key=key,
        data={
            "figure": drawn.text,
            "plotly": app_route(PLOTLY_ROUTE),
            "height": drawn.height,
            "room": None if room is None else asdict(room),
            "words": {"full": _("Fill the window"), "back": _("Back to the page")},
            "name": key,
            "alt": alt,
            "rest": rest,
            "clickable": on_click is not None,
            "answers": st.session_state.get(ANSWERS, {}),
        },
        on_click_change=clicked,
        on_frame_change=scrubbed,
        on_failed_change=lambda: None,
    )
