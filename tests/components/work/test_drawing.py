"""A stage: Start while idle, progress and Stop while at work, recorded results, marks and errors."""

import time
from threading import Event

import pytest
from streamlit.testing.v1 import AppTest

from components.work import QUEUE, job, stop_all
from components.work.runs import SHARED
from tests.pages.screen import live

PATIENCE = 60  # seconds, no measure of speed
EVENTS: list[Event] = []  # for which the runs of this test's pages wait before their last step


@pytest.fixture(autouse=True)
def nothing_left_behind():
    SHARED.clear()
    yield
    for event in EVENTS:
        event.set()
    EVENTS.clear()
    stop_all(PATIENCE)
    SHARED.clear()


def page_with_a_run(may_end):
    import streamlit as st

    from components import work
    from components.live.address import forget_address

    state = st.session_state
    state["may_end"] = may_end

    def steps():
        yield 1
        may_end.wait(60)
        if "fails" in settings:
            raise ValueError("on purpose")
        yield 2

    def draw(results, *, faint=False):
        st.markdown(f"results {list(results)}{' faint' * faint}")
        if run.finished:
            st.markdown("finished")

    forget_address()
    settings = state.get("settings", "usual")
    run = work.run("page_steps", settings, steps, 2)
    options = {"recorded": lambda: [7, 8]} if "recorded" in settings else {}
    work.stage(run, draw, **options)
    st.markdown("below " + ("finished" if run.finished else "not"))


def opened(settings="usual", **query):
    EVENTS.append(Event())
    screen = AppTest.from_function(page_with_a_run, default_timeout=PATIENCE, args=(EVENTS[-1],))
    screen.session_state["settings"] = settings
    for name, value in query.items():
        screen.query_params[name] = value
    return screen.run()


def said(screen):
    return [text.value for text in screen.markdown]


def buttons(screen):
    return {button.key.removeprefix("page_steps_") for button in screen.button}


def run_of(screen, key="page_steps"):
    return next(reversed(screen.session_state["loupe_work"][key].values()))


def wait_for(screen, what):
    """Redraw until the page says it, as the stage's timer does in a browser."""
    for _ in range(20 * PATIENCE):
        if what in said(screen):
            return
        time.sleep(0.05)
        screen.run()
    raise AssertionError(said(screen))


def press(screen, name):
    screen.button(key=f"page_steps_{name}").click().run()


def test_it_is_idle_until_somebody_presses_start():
    screen = opened()
    assert said(screen) == ["results []", "below not"]
    assert buttons(screen) == {"start"}
    assert screen.button[0].proto.type == "primary"
    assert run_of(screen).is_idle


def test_a_run_is_started_shows_its_progress_and_ends():
    screen = opened()
    press(screen, "start")
    assert buttons(screen) == {"stop"}
    wait_for(screen, "results [1]")
    (bar,) = screen.get("progress")
    assert (bar.value, bar.proto.text) == (50, "1 of 2 steps")
    screen.session_state["may_end"].set()
    wait_for(screen, "results [1, 2]")
    wait_for(screen, "below finished")
    assert said(screen) == ["results [1, 2]", "finished", "below finished"]
    assert buttons(screen) == {"start"}
    assert screen.button[0].proto.type == "secondary"
    assert not screen.get("progress")


def test_a_stopped_run_keeps_its_results_and_goes_on():
    screen = opened()
    press(screen, "start")
    wait_for(screen, "results [1]")
    press(screen, "stop")
    assert buttons(screen) == {"start", "on"}
    assert "results [1]" in said(screen)
    press(screen, "on")
    assert buttons(screen) == {"stop"}
    screen.session_state["may_end"].set()
    wait_for(screen, "finished")


def test_a_control_that_changes_stops_the_run_and_finds_it_again():
    screen = opened()
    press(screen, "start")
    wait_for(screen, "results [1]")
    first = run_of(screen)
    screen.session_state["settings"] = "others"
    screen.run()
    assert first.is_stopped
    assert said(screen) == ["results []", "below not"]
    assert buttons(screen) == {"start"}
    screen.session_state["settings"] = "usual"
    screen.run()
    assert said(screen) == ["results [1]", "below not"]
    assert buttons(screen) == {"start", "on"}


def test_recorded_results_are_shown_faintly_until_there_are_own_ones():
    screen = opened("recorded")
    assert said(screen) == ["results [7, 8] faint", "below not"]
    assert [caption.value for caption in screen.caption] == ["Recorded; press Start for your own."]
    press(screen, "start")
    assert not screen.caption
    wait_for(screen, "results [1]")
    screen.session_state["may_end"].set()
    wait_for(screen, "finished")
    assert "results [1, 2]" in said(screen)


def test_an_error_ends_the_run_with_a_sentence_and_what_there_is_stays():
    screen = opened("fails")
    press(screen, "start")
    screen.session_state["may_end"].set()
    run_of(screen).wait(PATIENCE)
    screen.run()
    assert [error.value for error in screen.error] == [
        "Something went wrong on this page. What you typed is kept; change a control to go on."
    ]
    assert not screen.exception
    assert said(screen) == ["results [1]", "below not"]
    assert buttons(screen) == {"start"}


def test_a_start_that_is_refused_says_why_until_the_next_press(chosen):
    chosen(heavy_per_minute=1)
    screen = opened()
    press(screen, "start")
    press(screen, "stop")
    press(screen, "start")
    (warning,) = screen.warning
    assert warning.value.startswith("You have begun 1 long computations within a minute")
    assert [w.value for w in screen.run().warning] == [warning.value]
    QUEUE._starts.clear()
    press(screen, "start")
    assert not screen.warning
    assert buttons(screen) == {"stop"}


def test_who_waits_is_told_the_place(chosen):
    chosen(heavy_at_once=1)
    others = QUEUE.join(None)
    assert QUEUE.may_work(others)
    screen = opened()
    press(screen, "start")
    (bar,) = screen.get("progress")
    assert bar.proto.text == "Other runs are at work. Your place in the queue: 1"
    assert buttons(screen) == {"stop"}
    QUEUE.leave(others)
    wait_for(screen, "results [1]")
    screen.run()
    (bar,) = screen.get("progress")
    assert bar.proto.text == "1 of 2 steps"


# The mark in the address

INTERRUPTED = "A run that was going on here was interrupted. Start begins it again."


def address(screen):
    return live(screen)["page_steps_work_writer"]["parameters"]["going"]


def test_a_page_without_a_run_marks_nothing():
    screen = opened()
    assert address(screen) is None
    assert not screen.info


def test_the_mark_is_there_until_the_run_is_done():
    screen = opened()
    press(screen, "start")
    assert address(screen) == "page_steps"
    assert not screen.info
    screen.session_state["may_end"].set()
    wait_for(screen, "finished")
    screen.run()
    assert address(screen) is None
    assert not screen.info


@pytest.mark.parametrize("mark", [{"going": "page_steps"}, {"page_going_on": "steps"}])
def test_who_comes_back_without_the_run_is_told_and_may_start_it_again(mark):
    screen = opened(**mark)
    assert [info.value for info in screen.info] == [INTERRUPTED]
    assert address(screen) == "page_steps"  # the sentence stays until something is done
    assert [info.value for info in screen.run().info] == [INTERRUPTED]
    press(screen, "start")
    assert not screen.info
    assert address(screen) == "page_steps"


def test_other_settings_are_no_interruption():
    screen = opened(going="page_steps")
    press(screen, "start")
    screen.session_state["settings"] = "others"
    assert not screen.run().info


def test_another_runs_mark_says_nothing_here():
    assert not opened(going="page_others").info
    assert not opened(page_going_on="others").info


# Runs that begin by themselves


def page_that_starts_by_itself():
    import streamlit as st

    from components import work
    from components.live.address import forget_address
    from components.refusal import refusals

    def steps():
        yield from range(4)

    forget_address()
    run = work.run("page_grid", st.session_state.get("settings", "some"), steps, 4)
    with refusals():
        work.stage(run, lambda results, faint=False: st.markdown(f"{results}"), autostart=True)


def by_itself(settings="some"):
    screen = AppTest.from_function(page_that_starts_by_itself, default_timeout=PATIENCE)
    screen.session_state["settings"] = settings
    return screen.run()


def test_it_begins_by_itself_and_what_it_came_to_is_there_at_once_for_others(monkeypatch):
    first = by_itself()
    assert "page_grid_start" not in {button.key for button in first.button}
    wait_for(first, "[0, 1, 2, 3]")
    first.run()
    assert len(SHARED) == 1
    monkeypatch.setattr(job.Job, "go_on", None)  # nothing is computed again
    assert said(by_itself()) == ["[0, 1, 2, 3]"]


def test_other_settings_begin_by_themselves_too():
    screen = by_itself()
    wait_for(screen, "[0, 1, 2, 3]")
    screen.session_state["settings"] = "others"
    screen.run()
    assert not run_of(screen, "page_grid").is_idle


def test_what_its_person_stopped_does_not_begin_again_and_what_was_left_does():
    screen = by_itself("left")
    run = run_of(screen, "page_grid")
    assert run.wait(PATIENCE)
    run._job.is_finished = False  # as if it had been stopped before its end
    run.leave()
    assert run.is_stopped
    SHARED.clear()
    screen.run()
    assert run.wait(PATIENCE)
    assert run.finished
    run._job.is_finished = False
    run.stop()
    screen.run()
    assert run.is_stopped
    assert {button.key for button in screen.button} == {"page_grid_on"}


def test_where_none_may_begin_the_page_says_so(chosen):
    chosen(memory_megabytes=1)
    screen = by_itself()
    assert not screen.exception
    assert any("Memory is short" in warning.value for warning in screen.warning)
