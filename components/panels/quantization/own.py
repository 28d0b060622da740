"""A person's own matrix: pasted numbers, or a file that this process keeps for a while."""

from hashlib import sha256

import streamlit as st
import torch

from components.refusal import plain, sentence
from components.words import _
from models.errors import InputError
from models.quantization.own_matrix import MOST_BYTES, read_file, read_text
from models.runtime.kept import Kept
from models.runtime.memory import drop_when_short

MOST = MOST_BYTES  # characters of a pasted matrix
FILE = "file:"  # begins the name of a kept file; anything else is text
LONGEST_NAME = 40
EXAMPLE = """0.31, -0.42, 0.07, 0.18, -0.26, 0.02, 0.55, -0.11
-0.08, 0.21, -0.34, 2.90, 0.13, -0.47, 0.05, 0.29
0.44, -0.15, 0.23, -0.06, 0.38, 0.10, -0.52, 0.17
-0.27, 0.33, -0.01, 0.49, -0.20, 0.12, 0.36, -0.40"""
FILES: Kept[str, torch.Tensor] = Kept(lambda: 64_000_000, lambda matrix: matrix.nbytes)
drop_when_short(FILES.clear)


def read(text: str) -> torch.Tensor:
    """The matrix of a text, or of a kept file. Raises InputError."""
    if not text.startswith(FILE):
        return read_text(text)
    kept = FILES.find(text)
    if kept is None:
        raise InputError("The file {name} is no longer kept here; choose it again.", name=name_of(text))
    return kept


def keep(name: str, data: bytes) -> str:
    """Keep a file's matrix; returns what stands for it. Raises InputError for one that cannot be read."""
    matrix = read_file(name, data)
    key = f"{FILE}{sha256(data).hexdigest()[:32]}/{name[-LONGEST_NAME:]}"
    return _kept(key, matrix)


def _kept(key: str, matrix: torch.Tensor) -> str:
    FILES.get(key, lambda: matrix)
    return key


def name_of(key: str) -> str:
    """The file's own name."""
    return key.partition("/")[2]


def choose(key: str, now: str) -> None:
    """File and text field; ``st.session_state[key]`` takes what is chosen.

    A file that cannot be read changes nothing and is answered with a sentence; typed numbers stay while
    a file takes their place.
    """
    state, upload, field = st.session_state, f"{key}_upload", f"{key}_widget"
    typed, refused = f"{key}_typed", f"{key}_refused"
    is_file = now.startswith(FILE)
    if not is_file:
        state[typed] = now

    def take_file() -> None:
        state.pop(refused, None)
        sent = state[upload]
        if sent is None:
            state[key] = state.get(typed, EXAMPLE)
            return
        try:
            state[key] = keep(sent.name, sent.getvalue())
        except InputError as error:
            state[refused] = error

    def take_text() -> None:
        state.pop(refused, None)
        state[key] = state[typed] = state[field]

    st.file_uploader(
        _("A .npy or .csv file, up to 1 MB"),
        ["npy", "csv", "txt"],
        key=upload,
        on_change=take_file,
        max_upload_size=1,
    )
    if refused in state:
        st.warning(sentence(state[refused]), icon=":material/info:")
    if is_file:
        st.caption(_("Shown: {name}").format(name=plain(name_of(now))))
    state[field] = state.get(typed, EXAMPLE)
    st.text_area(
        _("Or pasted numbers, a line for each row"),
        key=field,
        height=110,
        max_chars=MOST,
        on_change=take_text,
    )
