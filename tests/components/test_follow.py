"""Live panels drawn again at a slider's value, outside of a rerun: same figures, nothing written."""

import json

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from components.live.old_follow import FOLLOW_ROUTE, answer, follow
from tests.pages.screen import live, open_page


def page_with_a_slider():
    import plotly.graph_objects as go
    import streamlit as st

    from components.live.figure import live_figure
    from components.live.old_slider import live_slider
    from components.panels import live_panel
    from models.errors import InputError

    @live_panel
    def curve(start: float) -> None:
        width = st.session_state["page_width"]
        st.session_state["page_written"] = width
        if width == 5:
            raise InputError("No five.")
        if width == 7:
            raise ZeroDivisionError
        with st.columns(2)[0]:
            live_figure(go.Figure(go.Bar(y=[start, width])), "page_curve", f"width {width}")
        if width > 8:
            st.write("wide")

    live_slider("Width", "page_width", 0.0, 10.0, 1.0, live=("curve",))
    live_slider("Alone", "page_alone", 0.0, 10.0, 1.0)
    curve(0.5)


@pytest.fixture
def screen():
    return AppTest.from_function(page_with_a_slider, default_timeout=60).run()


def token(screen):
    return live(screen)["page_width_slider"]["token"]


def test_the_panel_is_drawn_at_the_new_value_and_the_session_stays_as_it_was(screen):
    [figure] = follow(token(screen), "page_width", 3.0)
    assert json.loads(figure["figure"])["data"][0]["y"] == [0.5, 3.0]
    assert (figure["name"], figure["alt"]) == ("page_curve", "width 3.0")
    assert screen.session_state["page_width"] == 1.0
    assert screen.session_state["page_written"] == 1.0


def test_it_is_what_a_rerun_shows(screen):
    [figure] = follow(token(screen), "page_width", 2.5)
    screen.session_state["page_width"] = 2.5
    assert live(screen.run())["page_curve"]["figure"] == figure["figure"]


def test_values_are_held_within_the_slider(screen):
    [figure] = follow(token(screen), "page_width", -4.0)
    assert json.loads(figure["figure"])["data"][0]["y"] == [0.5, 0.0]


@pytest.mark.parametrize("value", [5.0, 7.0, 9.0, float("nan"), float("inf")])
def test_words_failures_and_no_numbers_ask_for_a_rerun(screen, value):
    assert follow(token(screen), "page_width", value) is None


def test_unknown_sessions_and_sliders_ask_for_a_rerun(screen):
    assert follow("nobody", "page_width", 3.0) is None
    assert follow(token(screen), "page_height", 3.0) is None
    assert follow(token(screen), "page_alone", 3.0) is None
    assert live(screen)["page_alone_slider"]["token"] == ""


def test_two_sessions_do_not_see_each_other(screen):
    other = AppTest.from_function(page_with_a_slider, default_timeout=60).run()
    assert token(other) != token(screen)


def test_what_left_the_screen_is_forgotten():
    screen = open_page("attention")
    before = live(screen)["attention_temperature_slider"]["token"]
    assert len(follow(before, "attention_temperature", 2.0)) == 2
    screen.switch_page("../pages/home.py").run()
    assert follow(before, "attention_temperature", 2.0) is None


def test_the_route(screen):
    client = TestClient(Starlette(routes=[Route(FOLLOW_ROUTE, answer, methods=["POST"])]))
    asked = {"token": token(screen), "key": "page_width", "value": 3}
    good = client.post(FOLLOW_ROUTE, json=asked)
    assert good.status_code == 200
    assert [figure["name"] for figure in good.json()["figures"]] == ["page_curve"]
    assert client.post(FOLLOW_ROUTE, json=asked | {"token": "nobody"}).json() == {"figures": None}
    assert client.post(FOLLOW_ROUTE, json=asked | {"value": "wide"}).status_code == 400
    assert client.post(FOLLOW_ROUTE, json=[1]).status_code == 400
    assert client.post(FOLLOW_ROUTE, content=b"{").status_code == 400
    assert client.post(FOLLOW_ROUTE, json=asked | {"key": "k" * 2000}).status_code == 413


def page_with_constant_words():
    import plotly.graph_objects as go
    import streamlit as st

    from components.live.figure import live_figure
    from components.live.old_slider import live_slider
    from components.panels import live_panel

    @live_panel
    def curve() -> None:
        st.caption("Bars.")
        width = st.session_state["page_width"]
        live_figure(go.Figure(go.Bar(y=[width])), "page_curve", "bars")
        st.write(f"{min(width, 4.0)}")

    live_slider("Width", "page_width", 0.0, 10.0, 5.0, live=("curve",))
    curve()


def test_words_that_stay_as_they_are_need_no_rerun():
    screen = AppTest.from_function(page_with_constant_words, default_timeout=60).run()
    for width in (6.0, 8.0):
        [figure] = follow(token(screen), "page_width", width)
        assert json.loads(figure["figure"])["data"][0]["y"] == [width]
    assert follow(token(screen), "page_width", 2.0) is None
