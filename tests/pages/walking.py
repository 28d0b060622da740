"""Addresses of all views at drawn settings, and what is wrong with the page that one opens."""

import random
from collections.abc import Iterator

import tests.conftest  # noqa: F401  # one thread each, no hub, one look for Streamlit's components
from components.catalogue import PAGES
from components.settings import View
from components.work import stop_all
from tests.pages.screen import figures, views
from tests.pages.test_every_view import drawn_address, holds, opened

AT_AN_END = 0.3  # the share of numbers that are their control's least or largest


def addresses(
    count: int, seed: int, only: str | None = None
) -> Iterator[tuple[str, type[View], dict[str, str]]]:
    """Views in turn, each with settings of its own."""
    chance = random.Random(seed)
    every = [
        (entry.name, view) for entry in PAGES if only in (None, entry.name) for view in views(entry.name)
    ]
    for place in range(count):
        topic, view = every[place % len(every)]
        yield topic, view, drawn_address(view, chance, AT_AN_END)


def wrong(topic: str, view: type[View], query: dict[str, str]) -> str | None:
    """What is wrong with a page, in a line; None where nothing is."""
    try:
        screen = opened(topic, view, **query)
        holds(screen)
        figures(screen)
    except AssertionError as error:
        return " ".join(str(error).split())[:400] or "assertion"
    except Exception as error:  # whatever it is, the walk goes on
        return f"{type(error).__name__}: {error}"[:400]
    finally:
        stop_all(0.1)  # what the page began by itself
    return None


def visit(address: tuple[str, str, dict[str, str]]) -> tuple[str, str | None]:
    """The link of an address (page, view, settings), and what is wrong there."""
    topic, name, query = address
    [view] = [view for view in views(topic) if view.name == name]
    link = "&".join(f"{key}={value}" for key, value in query.items())
    return f"/{topic}?{topic}_view={name}&{link}", wrong(topic, view, query)
