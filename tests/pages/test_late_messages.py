"""Messages that no widget of the page would send now: late, of another kind, or made by hand."""

import json
import logging
import random

import pytest
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from components.catalogue import PAGES
from components.panels.editing import edited_cells
from components.stage import REFUSED, _follow
from tests.pages.screen import open_page, said, views

NAMES = ["home", *(entry.name for entry in PAGES)]
ANYTHING = (
    None,
    True,
    -1,
    0,
    3,
    2.5,
    10**9,
    10**400,
    1e308,
    "",
    "a",
    "0",
    "7 x",
    "-3 b",
    [],
    [1, 2],
    {},
    {"a": 1},
)
NOT_FINITE = (float("nan"), float("inf"), -float("inf"))
EVENTS = ("sent", "settled", "click", "frame", "back", "failed", "step", "nobody")
FAILED = "Something went wrong"


def payload(chance):
    """What a live element might send: an object with some of the known fields, or anything at all."""
    if chance.random() < 0.2:
        return chance.choice((*ANYTHING, *NOT_FINITE))
    names = ("value", "serial", "x", "y", "curve", "point", "custom", "search")
    return {name: chance.choice((*ANYTHING, *NOT_FINITE)) for name in names if chance.random() < 0.8}


def spoilt(state, chance):
    """A widget's state with another value of the same kind."""
    kind = state.WhichOneof("value")
    if kind == "string_value":
        state.string_value = chance.choice(("", "nobody", "x" * 300, "\x00"))
    elif kind == "int_value":
        state.int_value = chance.choice((-1, 2**31, 99))
    elif kind == "double_value":
        state.double_value = chance.choice((1e308, -1.0))  # no other: test_sign_in.py
    elif kind == "string_array_value":
        state.string_array_value.data[:] = chance.choice(([], ["nobody"], ["a"] * 200))
    elif kind == "int_array_value":
        state.int_array_value.data[:] = chance.choice(([], [999], [-1]))
    elif kind == "double_array_value":
        state.double_array_value.data[:] = chance.choice(([], [1e308, -1.0]))
    elif kind == "json_value":
        state.json_value = json.dumps(
            chance.choice(([], {"edited_rows": {"a": {"b": 1}}}, {"added_rows": 3}))
        )
    return state


def send(screen: AppTest, chance: random.Random) -> AppTest:
    """One message with every live element's state made up, and some of the other widgets' as well."""
    states = screen._tree.get_widget_states()
    for state in states.widgets:
        if chance.random() < 0.15:
            spoilt(state, chance)
    for element in screen.get("bidi_component"):
        events = [{"event": name, "value": payload(chance)} for name in EVENTS if chance.random() < 0.5]
        held = {name: payload(chance) for name in EVENTS}
        trigger = _make_trigger_id(element.proto.id, "events")
        states.widgets.append(WidgetState(id=element.proto.id, json_value=json.dumps(held)))
        states.widgets.append(WidgetState(id=trigger, json_trigger_value=json.dumps(events)))
    for element in screen.get("arrow_data_frame"):
        if element.proto.id:
            edited = {
                "edited_rows": {"999": {"1": "2"}, "0": {"a": "b"}, "x": 3},
                "deleted_rows": [99, "a"],
            }
            states.widgets.append(WidgetState(id=element.proto.id, string_value=json.dumps(edited)))
    return screen._run(states)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_arrives_no_page_fails(name, caplog):
    chance = random.Random(name)
    for view in views(name) if name != "home" else (None,):
        screen = open_page(name, **({} if view is None else {f"{name}_view": view.name}))
        with caplog.at_level(logging.ERROR):
            screen = send(screen, chance)
        assert not screen.exception, (view, screen.exception)
        assert not any(FAILED in sentence for sentence in said(screen)), view
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_click_on_what_is_no_longer_there_is_dropped(name, monkeypatch):
    chance, put, state = random.Random(name), [], {}
    monkeypatch.setattr("components.stage.controls.put", put.append)
    monkeypatch.setattr("components.stage.st.session_state", state)
    for cls in views(name):
        view = cls.at()
        for plot in view.stage().plots:
            for act in filter(None, (plot.on_click, plot.on_frame)):
                for _time in range(60):
                    _follow(act, payload(chance) if act is plot.on_click else chance.choice(ANYTHING))
    for view in put:  # each stands at something that its controls may stand at
        settled = type(view).settled({field: getattr(view, field) for field in view.controls()})
        assert settled.trouble is None
    assert set(state) <= {REFUSED}


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        (None, []),
        ([], []),
        ({}, []),
        ({"edited_rows": []}, []),
        ({"edited_rows": {"0": {"1": None, "a": 3}, "x": {"1": 2}, "-1": {"1": 2}, "5": 7}}, 2),
    ],
)
def test_edits_that_are_none_are_left_out(changes, cells):
    found = edited_cells(changes)
    assert found == cells or [row for row, _name, _value in found] == [0] * cells
