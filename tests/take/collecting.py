"""The scripts that pages offer, as a person would find them: by address, at some setting."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from components.take import offer
from components.take.script import Script
from tests.pages.screen import open_page, said


def offered_by(
    page: str,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[AppTest], AppTest] | None = None,
    **query: str | list[str],
) -> tuple[AppTest, Script]:
    """A page at an address, after something was done on it, and the one script that it offers."""
    offered: dict[str, Callable[[], Script]] = {}
    monkeypatch.setattr(offer, "offer", offered.__setitem__)
    screen = open_page(page, **query)
    if act is not None:
        offered.clear()
        screen = act(screen)
    assert not screen.exception, screen.exception
    assert not said(screen)
    ((_key, make),) = offered.items()
    return screen, make()
