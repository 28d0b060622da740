"""Long texts: kept by the tab, asked back once by a session that does not have them."""

import pytest
from streamlit.testing.v1 import AppTest

from components.page import LONGEST_IN_ADDRESS
from tests.pages.screen import live, open_page

LONG = "a long text. " * 200


def page_with_a_text():
    from dataclasses import dataclass

    from components import controls
    from components.live.address import write_steps
    from components.page import parameters_of
    from components.settings import View
    from components.settings import text as text_field

    @dataclass(frozen=True)
    class Typed(View):
        page, name = "page", "typed"
        text: str = text_field("short", label="Text", lines=4)

    controls.read_address("page", (Typed,))
    view = controls.now(Typed)
    controls.draw_rail(view)
    write_steps("page", parameters_of(view), lambda search: None)


def opened(**query):
    screen = AppTest.from_function(page_with_a_text, default_timeout=60)
    for name, value in query.items():
        screen.query_params[name] = value
    return screen.run()


def address(screen):
    return live(screen)["page_history"]["parameters"]


def test_a_short_text_stands_in_the_address_and_needs_no_keeper():
    screen = opened(page_text="another")
    assert address(screen) == {"page_text": "another", "page_text_kept": None}
    assert "page_text_keeper" not in live(screen)


def test_a_long_text_is_handed_to_the_tab():
    screen = opened()
    screen.text_area[0].set_value(LONG).run()
    assert len(LONG) > LONGEST_IN_ADDRESS
    assert live(screen)["page_text_keeper"] == {"name": "page_text", "text": LONG}
    assert address(screen) == {"page_text": None, "page_text_kept": "true"}
    screen.text_area[0].set_value("short again").run()
    assert "page_text_keeper" not in live(screen)
    assert address(screen) == {"page_text": "short again", "page_text_kept": None}


def test_a_session_without_the_text_asks_the_tab_for_it():
    screen = opened(page_text_kept="true")
    assert live(screen)["page_text_keeper"] == {"name": "page_text", "text": None}
    assert address(screen)["page_text_kept"] == "true"


@pytest.mark.parametrize("name", ["attention", "masks", "positions"])
def test_pages_ask_for_the_text_that_a_network_reads(name):
    screen = open_page(name, **{f"{name}_text_kept": "true"})
    assert live(screen)[f"{name}_text_keeper"] == {"name": f"{name}_text", "text": None}
    assert not screen.exception
