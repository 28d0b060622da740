"""A table that is edited on the page: its cells are text, and its text is a field of the view.

Scenes, links and clicks on figures write that text. What is typed stays as typed, also where it makes no
sense.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components.settings import View

Rows = Sequence[tuple[str, ...]]
HEAD, LETTER = 44, 5.6  # pixels of a column's head beside its name, and of a letter of that


def edit_table(
    view: View,
    field: str,
    columns: Sequence[str],
    parse: Callable[[str], Rows],
    write: Callable[[Rows], str],
    help_of: dict[str, str],
    height: int,
) -> None:
    """Draw the table; an edit writes its text into the session and reruns.

    The editor keeps its own changes and its keyboard focus as long as nobody else writes the text; then
    it begins anew with that.
    """
    state, key, text = st.session_state, view.keys()[field], getattr(view, field)
    version, base, own = state.get(f"{key}_edited", (0, "", None))
    if text != own:
        version, base = version + 1, text
    state[f"{key}_edited"] = (version, base, text)
    frame = pd.DataFrame(list(parse(base)), columns=list(columns), dtype=str)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    editor = f"{key}_editor_{version}"
    config: dict[str, Any] = {
        name: st.column_config.TextColumn(
            name, help=help_of.get(name), width=int(HEAD + LETTER * len(name))
        )
        for name in columns
    }

    def take() -> None:
        rows = edited_rows(frame, state.get(editor))
        state[key] = write(rows)
        state[f"{key}_edited"] = (version, base, state[key])

    st.data_editor(
        frame,
        key=editor,
        num_rows="dynamic",
        hide_index=False,
        column_config=config,
        width="stretch",
        height=height,
        on_change=take,
    )


def edited_rows(frame: pd.DataFrame, changes: Any) -> list[tuple[str, ...]]:
    """A frame's rows as text with an editor's changes: cells, rows that were added, rows that went."""
    rows = [list(map(str, row)) for row in frame.fillna("").to_numpy()]
    places = {name: index for index, name in enumerate(frame.columns)}
    for row, name, value in edited_cells(changes):
        if 0 <= row < len(rows) and name in places:  # else it was there when the edit was sent
            rows[row][places[name]] = value
    gone = [index for index in _list_in(changes, "deleted_rows") if isinstance(index, int)]
    kept = [row for index, row in enumerate(rows) if index not in gone]
    for added in _list_in(changes, "added_rows"):
        if isinstance(added, dict):
            kept.append([_cell(added.get(name)) for name in frame.columns])
    return [tuple(row) for row in kept]


def edited_cells(changes: Any) -> list[tuple[int, str, str]]:
    """Row, column and text of each cell that an editor reports; what is none of these is left out."""
    edited = changes.get("edited_rows") if isinstance(changes, Mapping) else None
    found = []
    for row, cells in edited.items() if isinstance(edited, Mapping) else ():
        if re.fullmatch(r"[0-9]{1,9}", str(row)) and isinstance(cells, Mapping):
            found += [(int(row), str(name), _cell(value)) for name, value in cells.items()]
    return found


def _list_in(changes: Any, name: str) -> list[Any]:
    found = changes.get(name) if isinstance(changes, Mapping) else None
    return found if isinstance(found, list) else []


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
