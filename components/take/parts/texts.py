"""The text that a script computes with, in the place of those that a larger program would read."""

from types import SimpleNamespace

_TEXTS: list[SimpleNamespace] = []


def give(*texts: str) -> None:
    """These are the texts, in English."""
    _TEXTS[:] = [SimpleNamespace(text=text, language="en") for text in texts]


def passages() -> tuple[SimpleNamespace, ...]:
    return tuple(_TEXTS)
