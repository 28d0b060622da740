"""How Loupe says no: one sentence in the person's language, never a traceback."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Number

import streamlit as st

from components.words import _
from models.errors import InputError

_log = logging.getLogger("loupe")
JOINER = "\u2060"  # takes no room and no line break
# What Markdown reads as a mark wherever it stands; "_" within a word and "&" before no entity are none.
_MARKS = re.compile(r"[\\`*\[\]<>$~|]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|:(?=[A-Za-z])")
# What is made a link or an emoji in finished text, where no backslash is left to be seen.
_LINKS = re.compile(r"(?=://|@)|(?<=www)(?=\.)|(?<=:)(?=[\w+/-]+:)", re.IGNORECASE)
_BEGINS_BLOCK = re.compile(r"^\s*(?=(#{1,6}|[-+])(\s|$)|-{3,}\s*$)|^\s*\d+(?=[.)](\s|$))")


def plain(text: str) -> str:
    """The text for Streamlit's Markdown so that it shows as it was typed, in one line.

    No link, picture, formula, emphasis, colour or list comes of it. Web and mail addresses, which become
    links without any mark, are kept apart by a character that is not seen.
    """
    line = re.sub(r"^\s+", " ", " ".join(text.splitlines()))
    line = _LINKS.sub(JOINER, line)
    marked = _MARKS.sub(r"\\\g<0>", line)
    return _BEGINS_BLOCK.sub(lambda found: found[0] + "\\", marked)


class _AsTyped(str):
    """A value that a sentence quotes: plain, also where the sentence asks for its repr."""

    def __format__(self, form: str) -> str:
        return plain(super().__format__(form))

    def __repr__(self) -> str:
        return plain(super().__repr__())


def sentence(error: InputError) -> str:
    """The refusal in the running session's language, as Markdown that quotes what was typed."""
    values = {name: v if isinstance(v, Number) else _AsTyped(v) for name, v in error.values.items()}
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
