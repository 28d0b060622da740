"""Words in the person's language: gettext catalogues read from assets/locale.

``_`` translates while the app runs; which language that is, the shell decides for each session.
Streamlit is not imported here, so that figures can use it too.
"""

import gettext
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES = {"en": "English", "zh": "中文"}
LOCALE = Path(__file__).parent.parent / "assets" / "locale"


def _english() -> str:
    return "en"


_language: Callable[[], str] = _english


@cache
def translations(language: str) -> gettext.NullTranslations:
    """The catalogue of one language, compiled in memory; English needs none."""
    if language not in LANGUAGES:
        return gettext.NullTranslations()
    path = LOCALE / language / "LC_MESSAGES" / "loupe.po"
    if not path.exists():
        return gettext.NullTranslations()
    compiled = io.BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def follow(language_of_session: Callable[[], str]) -> None:
    """Ask ``language_of_session`` from now on which language the running session speaks."""
    global _language
    _language = language_of_session


_spoken: ContextVar[str | None] = ContextVar("spoken", default=None)


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Speak this language in the block, where no session runs that could be asked."""
    token = _spoken.set(code)
    try:
        yield
    finally:
        _spoken.reset(token)


def language() -> str:
    """The running session's language code, one of LANGUAGES."""
    return _spoken.get() or _language()


def _(message: str) -> str:
    """The message in the running session's language."""
    return translations(language()).gettext(message)


def mark(message: str) -> str:
    """Mark a message for the catalogues where it is written down before it is shown."""
    return message
