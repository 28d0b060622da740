"""Reruns: the theme that is read once is the one that Streamlit reads; runs wait for their turn."""

import threading

import pytest
from streamlit.proto.NewSession_pb2 import CustomThemeConfig
from streamlit.runtime import app_session
from streamlit.runtime.scriptrunner import ScriptRunner
from streamlit.testing.v1 import AppTest

from components import reruns
from models.runtime.turns import TURNS, turn

SOON = 20.0
SECTIONS = ("theme", "theme.light", "theme.dark", "theme.sidebar")


@pytest.fixture
def cheaper(monkeypatch):
    """A process whose reruns were made cheaper, until the end of the test."""
    monkeypatch.setattr(ScriptRunner, "_run_script_thread", reruns._run_thread)
    monkeypatch.setattr(app_session, "_populate_theme_msg", reruns._read_theme)
    reruns.make_cheaper()


@pytest.mark.parametrize("section", SECTIONS)
def test_the_theme_is_streamlits_own_each_time(cheaper, section):
    expected = CustomThemeConfig()
    reruns._read_theme(expected, section)
    for _ in range(2):
        found = CustomThemeConfig()
        app_session._populate_theme_msg(found, section)
        assert found == expected


def test_a_session_waits_for_its_turn_and_gives_it_back(cheaper, monkeypatch):
    in_line = []
    monkeypatch.setattr(reruns, "_run_thread", lambda _runner: in_line.append(len(TURNS._line)))
    monkeypatch.setattr(TURNS, "_patience", 60.0)
    with turn():
        thread = threading.Thread(target=ScriptRunner._run_script_thread, args=(None,))
        thread.start()
        while len(TURNS._line) < 2:
            assert thread.is_alive()
        assert not in_line
    thread.join(SOON)
    assert in_line == [1]
    assert not TURNS._line


def test_a_script_runs_as_ever(cheaper):
    def script():
        import streamlit as st

        st.write(st.session_state.setdefault("seen", 0) + 1)

    screen = AppTest.from_function(script, default_timeout=SOON).run()
    assert screen.markdown[0].value == "`1`"
