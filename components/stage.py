"""What stands on a view's stage: figures that share the room there is, and other parts beside them.

A stage is a value, made by ``View.stage`` from the view's settings alone. A rerun draws it with
Streamlit; while a live slider is dragged, the app's route makes it again and sends its figures only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import streamlit as st

from components import controls
from components.live.figure import Drawn, Room, live_figure
from components.settings import View

Click = dict  # x, y, curve, point, custom of the clicked point


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure on the stage.

    ``name`` is unique on its page; ``alt`` says in words what is shown. ``on_click`` and ``on_frame``
    give the view as it is to be after a click, or after scrubbing came to rest at a frame. ``width``
    is its share of its row; ``least`` the fewest pixels of height that it can be read at; ``rest``
    the least time between two redraws in milliseconds.
    """

    name: str
    figure: go.Figure | Drawn
    alt: str
    on_click: Callable[[Click], View | None] | None = None
    on_frame: Callable[[str], View | None] | None = None
    width: float = 1.0
    least: int = 150
    rest: int = 0

    @property
    def drawn(self) -> Drawn:
        return self.figure if isinstance(self.figure, Drawn) else Drawn.of(self.figure)


@dataclass(frozen=True, eq=False)
class Block:
    """A part of the stage that Streamlit draws: a table, a run with its buttons. It waits for reruns."""

    draw: Callable[[], None]
    width: float = 1.0


@dataclass(frozen=True, eq=False)
class Row:
    """Parts side by side. ``height`` is the row's share of the stage; ``pixels`` a height of its own."""

    parts: Sequence[Plot | Block]
    height: float = 1.0
    pixels: int = 0


class Stage:
    """Rows from top to bottom; a list of parts is a row, and so is a single part.

    ``reserved`` pixels are left for what else stands there: a run's buttons and progress.
    """

    def __init__(self, *rows: "Row | Sequence[Plot | Block] | Plot | Block", reserved: int = 0):
        self.rows, self.reserved = [_row(row) for row in rows], reserved

    @property
    def plots(self) -> list[Plot]:
        return [part for row in self.rows for part in row.parts if isinstance(part, Plot)]

    def rooms(self) -> list[Room]:
        """For each row, the share of the stage's height that its figures take."""
        reserved = self.reserved + sum(row.pixels for row in self.rows)
        whole = sum(row.height for row in self.rows if not row.pixels) or 1.0
        return [Room(row.height / whole, reserved) if not row.pixels else Room(0.0, 0) for row in self.rows]


def _row(row: "Row | Sequence[Plot | Block] | Plot | Block") -> Row:
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


def _show_part(part: Plot | Block, page: str, room: Room, pixels: int) -> None:
    if isinstance(part, Block):
        part.draw()
        return
    on_click, on_frame = part.on_click, part.on_frame
    live_figure(
        part.drawn,
        f"{page}_{part.name}",
        part.alt,
        None if on_click is None else lambda click: _put(on_click(click)),
        None if on_frame is None else lambda frame: _put(on_frame(frame)),
        rest=part.rest,
        room=Room(room.share, room.reserved, max(part.least, pixels)),
    )


def _put(view: View | None) -> None:
    if view is not None:
        controls.put(view)
