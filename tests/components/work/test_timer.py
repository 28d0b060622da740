"""The timer of a stage and the end of a run, in a Streamlit as a browser sees it."""

import sys
from threading import Event
from types import ModuleType

import pytest

from components.work import stop_all
from tests.components.in_process import opened, ran, reaches, streamlit_with

SCRIPT = """
import loupe_timer as seen
import streamlit as st

from components import work


@st.fragment(key="panel")
def panel():
    run = seen.run = work.run("page_run", seen.settings, seen.steps, 2)
    if seen.starts:
        seen.starts = False
        run.start()
    work.stage(run, lambda results, faint=False: st.write(results))
    st.write("below", run.finished)


if seen.shows:
    panel()
seen.runs += 1
"""


@pytest.fixture
def seen():
    """What the script reads and writes; it is run as a file, and finds this by its name."""
    module = ModuleType("loupe_timer")
    module.settings, module.shows, module.starts, module.runs, module.run = "some", True, False, 0, None
    module.may_end = Event()

    def steps():
        yield 1
        module.may_end.wait(60)
        yield 2

    module.steps = steps
    sys.modules["loupe_timer"] = module
    yield module
    module.may_end.set()
    stop_all()
    del sys.modules["loupe_timer"]


@pytest.fixture
def socket(seen, tmp_path):
    with streamlit_with(SCRIPT, tmp_path) as client, opened(client) as socket:
        yield socket


def timers(messages):
    return [m.auto_rerun.fragment_id for m in messages if m.WhichOneof("type") == "auto_rerun"]


def stopped(messages):
    ended = [m.stop_auto_rerun.fragment_ids for m in messages if m.WhichOneof("type") == "stop_auto_rerun"]
    return [fragment for fragments in ended for fragment in fragments]


def fragments(messages):
    """Those that drew anything, the outer one first."""
    drawn = [m.delta.fragment_id for m in messages if m.WhichOneof("type") == "delta"]
    return list(dict.fromkeys(fragment for fragment in drawn if fragment))


def at_work(socket, seen):
    """The page with a run that waits in its second step; the fragment that its timer redraws."""
    assert timers(ran(socket)) == []
    seen.starts = True
    (timed,) = timers(ran(socket))
    assert reaches(lambda: seen.run.results == [1])
    return timed


def test_a_stage_has_a_timer_while_its_run_is_at_work_and_none_after_its_end(socket, seen):
    timed = at_work(socket, seen)
    before = seen.runs
    assert fragments(ran(socket, timed)) == [timed]
    assert seen.runs == before  # the stage alone was redrawn
    seen.may_end.set()
    assert seen.run.wait(60)
    at_the_end = ran(socket, timed)
    assert seen.runs == before + 1  # the page follows, once
    assert timers(at_the_end) == []


def test_a_control_of_its_panel_that_stops_the_run_stops_the_timer(socket, seen):
    timed = at_work(socket, seen)
    panel = next(fragment for fragment in fragments(ran(socket)) if fragment != timed)
    seen.settings = "others"
    redrawn = ran(socket, panel)
    assert stopped(redrawn) == [timed]
    assert timers(redrawn) == []


def test_a_run_ends_when_its_stage_has_left_the_page(socket, seen):
    seen.steps = lambda: iter(lambda: seen.may_end.wait(0.001), None)  # without end
    seen.starts = True
    for _again in range(2):
        ran(socket)
        assert not seen.run.wait(0.3)
    seen.shows = False
    ran(socket)
    assert seen.run.wait(60)
    assert seen.run.is_stopped
    assert not seen.run.finished
