"""A view made again at a slider's value, outside of a rerun: the same figures, and nothing written."""

import json
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from components.live import follow as module
from components.live.follow import FOLLOW_ROUTE, answer, follow
from components.words import LANGUAGES
from tests.loops import run
from tests.pages.screen import live, open_page


def page_with(name="bars"):
    from components import controls
    from components.live.follow import remember_view
    from components.stage import show
    from tests.components.lab import VIEWS

    controls.read_address("lab", VIEWS)
    view = controls.now(next(view for view in VIEWS if view.name == name))
    controls.draw_rail(view)
    stage = view.stage()
    show(stage, "lab")
    remember_view(view, lambda v: v.stage().plots, {plot.name: plot.drawn.text for plot in stage.plots})


@pytest.fixture
def screen():
    return AppTest.from_function(page_with, default_timeout=60).run()


def token(screen):
    return live(screen)["lab_width_slider"]["token"]


def test_only_the_figure_that_changes_is_sent_and_the_session_stays_as_it_was(screen):
    [figure] = follow(token(screen), "lab_width", 3.0)
    assert json.loads(figure["figure"])["data"][0]["y"] == [0.5, 3.0]
    assert (figure["name"], figure["alt"]) == ("lab_bars", "width 3.0")
    assert "lab_width" not in screen.session_state


def test_a_figure_that_has_moved_is_sent_on_the_way_back_too(screen):
    follow(token(screen), "lab_width", 3.0)
    [figure] = follow(token(screen), "lab_width", 1.0)
    assert json.loads(figure["figure"])["data"][0]["y"] == [0.5, 1.0]


def test_it_is_what_a_rerun_shows(screen):
    [figure] = follow(token(screen), "lab_width", 2.5)
    screen.session_state["lab_width"] = 2.5
    assert live(screen.run())["lab_bars"]["figure"] == figure["figure"]


@pytest.mark.parametrize(("value", "held"), [(-4.0, 0.0), (0.0, 0.0), (-0.01, 0.0), (4.0, 4.0)])
def test_values_are_held_within_the_slider(screen, value, held):
    [figure] = follow(token(screen), "lab_width", value)
    assert json.loads(figure["figure"])["data"][0]["y"] == [0.5, held]


@pytest.mark.parametrize("value", [5.0, 7.0, 9.0, 12.0, float("nan"), float("inf")])
def test_refusals_failures_other_figures_and_no_numbers_ask_for_a_rerun(screen, value):
    assert follow(token(screen), "lab_width", value) is None


def test_unknown_sessions_and_controls_that_do_not_move_figures_ask_for_a_rerun(screen):
    assert follow("nobody", "lab_width", 3.0) is None
    assert follow(token(screen), "lab_height", 3.0) is None
    assert follow(token(screen), "lab_later", 0.2) is None
    assert follow(token(screen), "lab_seed", 3.0) is None
    assert live(screen)["lab_later_slider"]["token"] == ""
    assert live(screen)["lab_later_slider"]["mark"] == "on release"


def test_two_sessions_do_not_see_each_other(screen):
    other = AppTest.from_function(page_with, default_timeout=60).run()
    assert token(other) != token(screen)


def test_what_left_the_screen_is_forgotten():
    screen = open_page("attention")
    before = live(screen)["attention_temperature_slider"]["token"]
    assert {figure["name"] for figure in follow(before, "attention_temperature", 2.0)} == {
        "attention_heatmap",
        "attention_next",
    }
    screen.switch_page("../pages/home.py").run()
    assert follow(before, "attention_temperature", 2.0) is None


def test_figures_speak_the_persons_language():
    titles = set()
    for language in LANGUAGES:
        screen = open_page("attention", lang=language)
        token = live(screen)["attention_temperature_slider"]["token"]
        figures = {figure["name"]: figure for figure in follow(token, "attention_temperature", 2.0)}
        layout = json.loads(figures["attention_heatmap"]["figure"])["layout"]
        assert (
            layout["xaxis"]["title"]["text"]
            == json.loads(live(screen)["attention_heatmap"]["figure"])["layout"]["xaxis"]["title"]["text"]
        )
        titles.add(layout["xaxis"]["title"]["text"])
    assert len(titles) == len(LANGUAGES)


def test_the_route(screen):
    client = TestClient(Starlette(routes=[Route(FOLLOW_ROUTE, answer, methods=["POST"])]))
    asked = {"token": token(screen), "key": "lab_width", "value": 3}
    good = client.post(FOLLOW_ROUTE, json=asked)
    assert good.status_code == 200
    assert [figure["name"] for figure in good.json()["figures"]] == ["lab_bars"]
    assert client.post(FOLLOW_ROUTE, json=asked | {"token": "nobody"}).json() == {"figures": None}
    assert client.post(FOLLOW_ROUTE, json=asked | {"value": "wide"}).status_code == 400
    assert client.post(FOLLOW_ROUTE, json=asked | {"value": 10**400}).status_code == 400
    assert client.post(FOLLOW_ROUTE, json=[1]).status_code == 400
    assert client.post(FOLLOW_ROUTE, content=b"{").status_code == 400
    assert client.post(FOLLOW_ROUTE, json=asked | {"key": "k" * 2000}).status_code == 413


def test_no_more_of_a_request_is_read_than_can_be_one():
    read = []

    def body(parts):
        for part in parts:
            read.append(len(part))
            yield part

    def asked(headers, parts):
        read.clear()
        messages = iter([{"type": "http.request", "body": part, "more_body": True} for part in body(parts)])
        scope = {"type": "http", "method": "POST", "path": FOLLOW_ROUTE, "query_string": b""}
        taken = []

        async def receive():
            taken.append(next(messages))
            return taken[-1]

        response = run(answer(Request(scope | {"headers": headers}, receive)))
        return response.status_code, len(taken)

    parts = [b"x" * 400] * 1000
    assert asked([(b"content-length", b"400000000")], parts) == (413, 0)
    assert asked([(b"content-length", b"9" * 400)], parts) == (413, 0)
    assert asked([(b"content-length", "٣".encode())], parts) == (413, 0)
    assert asked([(b"transfer-encoding", b"chunked")], parts) == (413, 3)


def test_a_token_is_its_persons_alone(screen, monkeypatch):
    token_here = token(screen)
    assert follow(token_here, "lab_width", 3.0, "anna") is None  # nobody was signed in when it was drawn
    module._sessions[token_here].owner = "anna"
    assert follow(token_here, "lab_width", 3.0) is None
    assert follow(token_here, "lab_width", 3.0, "bo") is None
    assert follow(token_here, "lab_width", 3.0, "anna")


def test_with_sign_in_the_cookie_says_who_asks(screen, monkeypatch):
    monkeypatch.setattr(module, "settings", lambda: SimpleNamespace(sign_in=True, sign_in_hours=1))
    monkeypatch.setattr(module, "signed_in_as", lambda cookies, _hours: cookies.get("who", ""))
    client = TestClient(Starlette(routes=[Route(FOLLOW_ROUTE, answer, methods=["POST"])]))
    asked = {"token": token(screen), "key": "lab_width", "value": 3}
    module._sessions[asked["token"]].owner = "anna"
    for cookie, reached in (("who=anna", True), ("who=bo", False), ("a=b", False)):
        figures = client.post(FOLLOW_ROUTE, json=asked, headers={"cookie": cookie}).json()["figures"]
        assert (figures is not None) == reached


def test_a_token_ends_when_its_browser_has_left(screen, monkeypatch):
    monkeypatch.setattr(module, "is_present", lambda session: False)
    assert follow(token(screen), "lab_width", 3.0) is None


@pytest.mark.parametrize(
    ("value", "held"), [(-4.0, 1), (0.9, 1), (1.0, 1), (8.6, 9), (9.0, 9), (9.4, 9), (20.0, 9), (1e300, 9)]
)
def test_both_ends_of_a_slider_hold_a_value_that_the_route_is_asked_for(value, held):
    screen = AppTest.from_function(page_with, args=("lines",), default_timeout=60).run()
    token = live(screen)["lab_height_slider"]["token"]
    [figure] = follow(token, "lab_height", value)
    assert json.loads(figure["figure"])["data"][0]["y"] == [0.0, held]
