"""How Loupe says no: one sentence in the person's language, never a traceback."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from components.words import _
from models.errors import InputError

_log = logging.getLogger("loupe")


def plain(text: str) -> str:
    """The text for Streamlit's Markdown so that it shows as it was typed: no link, picture or formula."""
    return re.sub(r"([\\`*\[\]<>$]|:(?=//)|(?<=www)\.)", r"\\\1", text)


class _AsTyped(str):
    """A value that a sentence quotes: plain, also where the sentence asks for its repr."""

    def __format__(self, form: str) -> str:
        return plain(super().__format__(form))

    def __repr__(self) -> str:
        return plain(super().__repr__())


def sentence(error: InputError) -> str:
    """The refusal in the running session's language, as Markdown that quotes what was typed."""
    values = {name: _AsTyped(v) if isinstance(v, str) else v for name, v in error.values.items()}
    return _(error.template).format(**values)


@contextmanager
def refusals() -> Iterator[None]:
    """Show an InputError raised inside as its sentence, and leave the rest of the page standing."""
    try:
        yield
    except InputError as error:
        st.warning(sentence(error), icon=":material/info:")


def show_failure(error: Exception) -> bool:
    """Streamlit's hook for uncaught exceptions: the log gets the traceback, the person a sentence."""
    if isinstance(error, InputError):
        st.warning(sentence(error), icon=":material/info:")
        return True
    _log.error("A page failed.", exc_info=error)
    show_failed()
    return True


def show_failed() -> None:
    """The sentence in place of what failed; the log has the traceback."""
    st.error(
        _("Something went wrong on this page. What you typed is kept; change a control to go on."),
        icon=":material/error:",
    )
