"""A run's mark in the address: there while it goes on, and a sentence where its process is gone."""

import time

import pytest
from streamlit.testing.v1 import AppTest

from components.work.running import ENDED
from components.work.runs import QUEUE
from tests.pages.screen import live


@pytest.fixture(autouse=True)
def leave_the_queue_empty():
    yield
    for name in list(QUEUE._held):
        QUEUE.stop(name)


def page_with_a_run():
    import time

    import streamlit as st

    from components.live.address import forget_address
    from components.page import Page
    from components.panels import panel
    from components.work.running import keep_going, run_controls

    def steps():
        for step in range(3):
            time.sleep(0.3)
            yield step

    @panel
    def training() -> None:
        length = st.session_state.get("length", 3)
        held = run_controls(page, "steps", length, steps, length)
        keep_going(page, "steps", held)

    forget_address()
    page = Page("page", {}, frozenset())
    training()


INTERRUPTED = "A run that was going on here was interrupted. Start begins it again."


def mark(screen):
    return live(screen)["page_going_on_writer"]["parameters"]["page_going_on"]


def opened(**query):
    screen = AppTest.from_function(page_with_a_run, default_timeout=60)
    for name, value in query.items():
        screen.query_params[name] = value
    return screen.run()


def test_a_page_without_a_run_marks_nothing():
    screen = opened()
    assert mark(screen) is None
    assert not screen.info


def test_the_mark_is_there_until_the_run_is_done():
    screen = opened()
    screen.button(key="page_steps_start").click().run()
    assert mark(screen) == "steps"
    assert not screen.info
    for _ in range(20):
        if mark(screen) is None:
            break
        time.sleep(0.05)
        screen.run()
    assert mark(screen) is None
    assert not screen.info


def test_who_comes_back_without_the_run_is_told_and_may_start_it_again():
    screen = opened(page_going_on="steps")
    assert [said.value for said in screen.info] == [INTERRUPTED]
    assert mark(screen) == "steps"  # the sentence stays until something is done
    assert [said.value for said in screen.run().info] == [INTERRUPTED]
    screen.button(key="page_steps_start").click().run()
    assert not screen.info
    assert mark(screen) == "steps"


def test_another_runs_mark_says_nothing_here():
    assert not opened(page_going_on="others").info


def page_that_starts_by_itself():
    from dataclasses import dataclass

    import streamlit as st
    import torch

    from components.live.address import forget_address
    from components.page import Page
    from components.panels import panel
    from components.work.running import keep_going, run_of, timer_for

    @dataclass
    class Result:
        values: torch.Tensor

    def steps():
        counted = st.session_state
        counted["begun"] = counted.get("begun", 0) + 1
        for step in range(4):
            yield Result(torch.full((5,), float(step)))

    def training() -> None:
        held = run_of(page, "grid", "some settings", steps, by_itself=True)
        st.write("result", float(held.seen[-1].values.sum()) if held.seen else None)
        keep_going(page, "grid", held)

    forget_address()
    page = Page("page", {}, frozenset())
    panel(training, timer_for(page, "grid", "some settings"))()


def test_what_came_to_its_end_for_somebody_is_there_at_once_for_others():
    ENDED.clear()
    first = AppTest.from_function(page_that_starts_by_itself, default_timeout=60).run()
    for _ in range(10):
        first.run()
    assert first.markdown[-1].value == "result `15.0`"
    assert first.session_state["begun"] == 1
    assert len(ENDED) == 1
    assert 0 < ENDED.bytes < 1_000
    second = AppTest.from_function(page_that_starts_by_itself, default_timeout=60).run()
    assert second.markdown[-1].value == "result `15.0`"
    assert "begun" not in second.session_state
