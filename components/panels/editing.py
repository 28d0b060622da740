"""A table that is edited on the page: its cells are text, and its text stands in the session.

``st.session_state[key]`` holds the whole table as one text, which scenes, links and other figures may
write; short ones stand in the address. What is typed stays as typed, also where it makes no sense.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components.live.address import remember
from components.old_controls import LONGEST_IN_ADDRESS

Rows = Sequence[tuple[str, ...]]
HEAD, LETTER = 44, 5.6  # pixels of a column's head beside its name, and of a letter of that


def table_text(key: str, default: str) -> str:
    """The table as text, from the address on the first visit; also where the table is not on screen."""
    state = st.session_state
    if key not in state:
        state[key] = st.query_params.get(key, default)
    remember(key, state[key] if len(state[key]) <= LONGEST_IN_ADDRESS else default, default)
    text: str = state[key]
    return text


def editable_table(
    key: str,
    columns: Sequence[str],
    default: str,
    parse: Callable[[str], Rows],
    write: Callable[[Rows], str],
    help_of: dict[str, str],
    height: int,
) -> str:
    """Draw the table, and return it as text with what was just edited.

    The editor keeps its own changes and its keyboard focus as long as nobody else writes the text; then
    it begins anew with that.
    """
    state, text = st.session_state, table_text(key, default)
    version, base, own = state.get(f"{key}_edited", (0, "", None))
    if text != own:
        version, base = version + 1, text
    frame = pd.DataFrame(list(parse(base)), columns=list(columns), dtype=str)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    config: dict[str, Any] = {
        name: st.column_config.TextColumn(
            name, help=help_of.get(name), width=int(HEAD + LETTER * len(name))
        )
        for name in columns
    }
    edited = st.data_editor(
        frame,
        key=f"{key}_editor_{version}",
        num_rows="dynamic",
        hide_index=False,
        column_config=config,
        width="stretch",
        height=height,
    )
    cells = edited.fillna("").astype(str).values.tolist()
    text = write([tuple(row) for row in cells])
    state[key], state[f"{key}_edited"] = text, (version, base, text)
    return table_text(key, default)
