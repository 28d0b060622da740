"""The Python that a view offers, without the rest of its page."""

from streamlit.testing.v1 import AppTest


def _below(page: str, name: str, query: str) -> None:
    """What stands below a view's stage, as a page of its own."""
    from components.words import speaking
    from tests.pages.screen import views

    view = next(cls for cls in views(page) if cls.name == name).from_query(query)
    with speaking("en"):
        view.below()


def screen_of(page: str, view: str, query: str = "") -> AppTest:
    """What stands below the stage of a view at an address."""
    screen = AppTest.from_function(_below, default_timeout=240, args=(page, view, query)).run()
    assert not screen.exception, screen.exception
    return screen


def snippet_on(screen: AppTest) -> str:
    """The short form of a view's Python, for this repository's own folder."""
    (snippet,) = [code.value for code in screen.code if code.language == "python"]
    return snippet
