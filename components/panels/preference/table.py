"""The table of pairs: edited cell by cell, brought as a file, taken along as one."""

from dataclasses import dataclass
from functools import lru_cache, partial

import streamlit as st

from components.panels.editing import edit_table
from components.refusal import sentence
from components.settings import View, grid
from components.words import _
from models.errors import InputError
from models.preference.losses import Pairs
from models.preference.table import (
    COLUMNS,
    parse_file,
    parse_text,
    read_pairs,
    write_csv,
    write_json,
    write_text,
)
from models.tables import MOST_BYTES

TABLE_HEIGHT = 260
PAIRS = (
    "-10,-14,-11,-13,5,10;-32,-41,-24,-25,20,22;-18,-15,-16,-17,9,8;"
    "-25,-30,-25,-30,12,14;-12,-20,-20,-24,11,13;-60,-9,-64,-7,48,6"
)


@dataclass(frozen=True)
class HasPairs(View):
    """A view on the table of pairs: chosen, rejected, their references, lengths."""

    pairs_text: str = grid(PAIRS, key="pairs")

    def pairs(self, tail: float = 1.0, *, lengths: bool = True) -> Pairs:
        """The table as numbers; ``lengths`` says whether they are needed. Raises InputError."""
        return _pairs(self.pairs_text, tail, lengths)


@lru_cache(maxsize=8)
def _pairs(text: str, tail: float, lengths: bool) -> Pairs:
    return read_pairs(parse_text(text), tail, lengths)


def pairs_table(view: HasPairs) -> None:
    """The editor, a file to read, and the table as a file."""
    key = view.keys()["pairs_text"]
    log_p = _("log π of the whole answer in nats, or of each token with spaces between")
    by_reference = _("the same under the reference")
    edit_table(
        view,
        "pairs_text",
        COLUMNS,
        parse_text,
        write_text,
        {"chosen": log_p, "rejected": log_p, "ref_chosen": by_reference, "ref_rejected": by_reference},
        TABLE_HEIGHT,
    )
    rows = parse_text(view.pairs_text)
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, write, kind in (("CSV", write_csv, "text/csv"), ("JSON", write_json, "application/json")):
            st.download_button(
                _("Table as {format}").format(format=name),
                partial(write, rows),
                f"loupe-pairs.{name.lower()}",
                kind,
                key=f"{key}_{name}",
                icon=":material/table:",
                on_click="ignore",
            )
    _upload(key)


def _upload(key: str) -> None:
    """A file in place of the table; one that cannot be read leaves the table alone."""
    state = st.session_state

    def take() -> None:
        file = state.get(f"{key}_file")
        state.pop(f"{key}_refused", None)
        if file is None:
            return
        try:
            state[key] = write_text(parse_file(file.read(MOST_BYTES + 1)))
        except InputError as error:
            state[f"{key}_refused"] = error

    with st.expander(_("Read a CSV or JSON file")):
        st.file_uploader(
            _("Columns: {columns}").format(columns=", ".join(COLUMNS)),
            key=f"{key}_file",
            on_change=take,
        )
    if (refused := state.get(f"{key}_refused")) is not None:
        st.warning(sentence(refused), icon=":material/info:")
