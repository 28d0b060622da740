"""What stands on a view's stage: figures that share the room there is, and other parts beside them.

A stage is a value, made by ``View.stage`` from the view's settings alone. A rerun draws it with
Streamlit; while a live slider is dragged, the app's route makes it again and sends its figures only.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import plotly.graph_objects as go
import streamlit as st

from components import controls
from components.live.figure import Drawn, Room, live_figure
from components.settings import View
from models.errors import InputError

T = TypeVar("T")
_log = logging.getLogger("loupe")
GAP = 4  # pixels between two figures of a stack
Click = dict[str, Any]  # x, y, curve, point, custom of the clicked point
REFUSED = "loupe_refused"  # in the session: why the last click could not be followed


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure on the stage.

    ``name`` is unique on its page; ``alt`` says in words what is shown. ``on_click`` and ``on_frame``
    give the view as it is to be after a click, or after scrubbing came to rest at a frame. ``width``
    is its share of its row; ``least`` the fewest pixels of height that it can be read at; ``rest``
    the least time between two redraws in milliseconds. One that ``waits`` is a function that makes the
    figure: it takes too long to follow a slider, and is called in reruns only.
    """

    name: str
    figure: go.Figure | Drawn | Callable[[], go.Figure | Drawn]
    alt: str
    on_click: Callable[[Click], View | None] | None = None
    on_frame: Callable[[str], View | None] | None = None
    width: float = 1.0
    least: int = 150
    rest: int = 0

    @property
    def waits(self) -> bool:
        return callable(self.figure)

    @cached_property
    def made(self) -> go.Figure | Drawn:
        return self.figure() if callable(self.figure) else self.figure

    @cached_property
    def drawn(self) -> Drawn:
        return self.made if isinstance(self.made, Drawn) else Drawn.of(self.made)


@dataclass(frozen=True, eq=False)
class Block:
    """A part of the stage that Streamlit draws: a table, a run with its buttons. It waits for reruns."""

    draw: Callable[[], None]
    width: float = 1.0


@dataclass(frozen=True, eq=False)
class Stack:
    """Figures one above the other in one place of a row; each takes the same share of its height."""

    parts: Sequence[Plot]
    width: float = 1.0


@dataclass(frozen=True, eq=False)
class Row:
    """Parts side by side. ``height`` is the row's share of the stage; ``pixels`` a height of its own."""

    parts: Sequence[Plot | Block | Stack]
    height: float = 1.0
    pixels: int = 0


class Stage:
    """Rows from top to bottom; a list of parts is a row, and so is a single part.

    ``reserved``: pixels that something else takes of the height, as a line of buttons above the figures.
    """

    def __init__(self, *rows: "Row | Sequence[Plot | Block | Stack] | Plot | Block", reserved: int = 0):
        self.rows, self.reserved = [_row(row) for row in rows], reserved

    @property
    def plots(self) -> list[Plot]:
        parts = [part for row in self.rows for part in row.parts]
        flat = [inner for part in parts for inner in (part.parts if isinstance(part, Stack) else [part])]
        return [part for part in flat if isinstance(part, Plot)]

    def rooms(self) -> list[Room]:
        """For each row, the share of the stage's height that its figures take."""
        reserved = self.reserved + sum(row.pixels for row in self.rows)
        whole = sum(row.height for row in self.rows if not row.pixels) or 1.0
        return [Room(row.height / whole, reserved) if not row.pixels else Room(0.0, 0) for row in self.rows]


def _row(row: "Row | Sequence[Plot | Block | Stack] | Plot | Block") -> Row:
    if isinstance(row, Row):
        return row
    return Row([row]) if isinstance(row, Plot | Block) else Row(row)


def show(stage: Stage, page: str) -> None:
    """Draw a stage where the script stands."""
    for row, room in zip(stage.rows, stage.rooms(), strict=True):
        if len(row.parts) == 1:
            _show_part(row.parts[0], page, room, row.pixels)
            continue
        columns = st.columns([part.width for part in row.parts], gap="small")
        for column, part in zip(columns, row.parts, strict=True):
            with column:
                _show_part(part, page, room, row.pixels)


def _show_part(part: Plot | Block | Stack, page: str, room: Room, pixels: int) -> None:
    if isinstance(part, Block):
        part.draw()
        return
    if isinstance(part, Stack):
        count = len(part.parts)
        share = Room(room.share / count, room.reserved + GAP * (count - 1))
        with st.container(key=f"stacked_{part.parts[0].name}"):
            for inner in part.parts:
                _show_part(inner, page, share, pixels // count)
        return
    on_click, on_frame = part.on_click, part.on_frame
    live_figure(
        part.drawn,
        f"{page}_{part.name}",
        part.alt,
        None if on_click is None else lambda click: _follow(on_click, click),
        None if on_frame is None else lambda frame: _follow(on_frame, frame),
        rest=part.rest,
        room=Room(room.share, room.reserved, max(part.least, pixels)),
    )


def _follow(act: Callable[[T], View | None], given: T) -> None:
    """Let the view stand as it is to be; one that refuses the click says so above the stage.

    A click on a figure that has changed meanwhile may name what is no longer there, or another kind of
    thing: it is dropped.
    """
    try:
        view = act(given)
    except InputError as error:
        st.session_state[REFUSED] = error
        return
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        _log.info("A click on what is no longer there was dropped.")
        return
    if view is not None:
        controls.put(view)
