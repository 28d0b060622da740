"""The table of pairs: edited cell by cell, brought as a file, taken along as one."""

from functools import lru_cache, partial

import streamlit as st

from components.page import Page
from components.panels.editing import editable_table, table_text
from components.refusal import sentence
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

TABLE_HEIGHT = 320


def text_now(page: Page) -> str:
    return table_text(f"{page.name}_pairs", page.default("pairs"))


def pairs_now(page: Page, tail: float = 1.0) -> Pairs:
    """The table as numbers. Raises InputError, naming row and column."""
    return _pairs(text_now(page), tail)


@lru_cache(maxsize=8)
def _pairs(text: str, tail: float) -> Pairs:
    return read_pairs(parse_text(text), tail)


def pairs_table(page: Page) -> None:
    """The editor, a file to read, and the table as a file."""
    key = f"{page.name}_pairs"
    log_p = _("log π of the whole answer in nats, or of each token with spaces between")
    by_reference = _("the same under the reference")
    editable_table(
        key,
        COLUMNS,
        page.default("pairs"),
        parse_text,
        write_text,
        {"chosen": log_p, "rejected": log_p, "ref_chosen": by_reference, "ref_rejected": by_reference},
        TABLE_HEIGHT,
    )
    rows = parse_text(text_now(page))
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
    _upload(page, key)


def _upload(page: Page, key: str) -> None:
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
