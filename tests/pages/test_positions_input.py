"""The positions page: every bad input gets one sentence, what was typed stays, and the session goes on."""

import pytest

from tests.pages.attention_screen import NETWORK
from tests.pages.positions_screen import CONTROLS, TEXT, VIEWS, figures_of, positions
from tests.pages.screen import figures, live, open_page, said

OWN_WORDS = {"positions_text", "positions_other"}  # any text may stand there
BAD = ("nan", "-inf", "1e999", "-1", "999999", "1.5", "", "<script>" * 40, "中文")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("value", BAD)
def test_an_address_with_wrong_values_opens_the_page_with_defaults(view, value):
    wrong = dict.fromkeys(set(CONTROLS) - OWN_WORDS, value)
    screen = open_page("positions", **{**wrong, "positions_text": TEXT, "positions_view": view})
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[view]
    for slider in live(screen).values():
        if "low" in slider:
            assert slider["low"] <= slider["value"] <= slider["high"]


@pytest.mark.parametrize("width", ["3", "7", "63", "511"])
def test_an_odd_number_of_dimensions_gets_one_sentence_and_stays(width):
    screen = positions(view="encode", width=width)
    assert not screen.exception
    sentence = f"{width} dimensions cannot be paired; an even number from 2 is accepted."
    assert set(said(screen)) == {sentence}
    field = screen.number_input(key="positions_width_widget")
    assert field.value == int(width)
    field.set_value(32).run()
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS["encode"]


def test_a_position_beyond_the_learned_table_gets_one_sentence():
    screen = positions(view="encode", source="learned", length="513")
    assert set(said(screen)) == {
        "513 positions are not in a learned table of 512; it holds nothing beyond its end."
    }


@pytest.mark.parametrize("view", ["rotate", "decay", "layout", "compare"])
def test_a_network_without_rotary_embedding_gets_one_sentence(view):
    screen = positions(view=view, network="all-MiniLM-L6-v2")
    assert not screen.exception
    assert set(said(screen)) == {"all-MiniLM-L6-v2 has no rotary embedding that Loupe can take apart."}


def test_an_encoder_can_be_shuffled():
    screen = positions(view="shuffle", network="all-MiniLM-L6-v2")
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS["shuffle"]


@pytest.mark.parametrize("view", ["shuffle", "rotate", "decay", "layout", "compare"])
@pytest.mark.parametrize("typed", ["", " \n\t ", "a" * 100_001])
def test_a_text_that_cannot_be_read_gets_one_sentence_and_stays(view, typed):
    screen = positions(view=view)
    screen.text_area[0].set_value(typed).run()
    assert not screen.exception
    assert len(said(screen)) == 1
    assert screen.text_area[0].value == typed
    screen.text_area[0].set_value("On we go").run()
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[view]


@pytest.mark.parametrize(
    "typed", ["a", "字" * 90, "<|start|>lamp<|start|>", "`*_$<b>{x}:red[y]", "lamp " * 900]
)
@pytest.mark.parametrize("view", ["shuffle", "rotate", "decay", "layout", "compare"])
def test_unusual_texts_are_read_like_any_other(typed, view):
    screen = positions(view=view)
    screen.text_area[0].set_value(typed).run()
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[view]


@pytest.mark.parametrize("view", VIEWS)
def test_a_network_from_a_folder_is_looked_at_in_the_same_way(view):
    screen = positions(view=view, network="other", other=str(NETWORK))
    assert said(screen) == []
    assert set(figures(screen)) == figures_of({"positions_view": view})


def test_a_chinese_browser_gets_chinese_refusals():
    screen = open_page("positions", locale="zh-CN", positions_view="encode", positions_width="7")
    assert set(said(screen)) == {"7 个维度无法两两配对；须为不小于 2 的偶数。"}
