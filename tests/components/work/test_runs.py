"""A session's runs: one at work under a key, results kept by settings, starts that are refused, sharing."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from components import work
from components.work import runs as module
from components.work.job import stop_all
from components.work.runs import KEPT_SETTINGS, MOST_KEPT, _bytes_of, was_started
from models.errors import InputError

PATIENCE = 60  # seconds, no measure of speed


@pytest.fixture(autouse=True)
def state(monkeypatch):
    """A session's state, and nothing left at work behind the test."""
    kept: dict = {}
    monkeypatch.setattr(module.st, "session_state", kept)
    yield kept
    stop_all(PATIENCE)


def counted(settings=3, key="page_run", **options):
    return work.run(key, settings, lambda: iter(range(settings)), settings, **options)


def endless(settings="endless", key="page_run"):
    return work.run(key, settings, itertools.count, 10, cumulative=True)


def test_a_run_is_idle_until_it_is_started_and_finished_at_its_end():
    run = counted()
    assert (run.is_idle, run.is_running, run.is_stopped, run.finished) == (True, False, False, False)
    assert (run.results, run.progress.done, run.progress.total, run.place) == ([], 0, 3, 0)
    run.start()
    assert run.wait(PATIENCE)
    assert (run.is_idle, run.is_running, run.is_stopped, run.finished) == (False, False, False, True)
    assert (run.results, run.progress.fraction, run.error) == ([0, 1, 2], 1.0, None)


def test_the_next_rerun_finds_the_same_run():
    counted().start()
    assert counted().wait(PATIENCE)
    assert counted().results == [0, 1, 2]
    assert counted(4).is_idle
    assert counted(3, "page_other").is_idle


def test_other_settings_stop_what_is_at_work_and_find_it_again():
    run = endless()
    run.start()
    while not run.results:
        run.wait(0.01)
    counted()
    assert run.wait(PATIENCE)
    assert run.is_stopped
    assert not run.is_stopped_by_person
    assert endless() is run
    assert run.results
    run.go_on()
    assert run.is_running


def test_runs_of_other_keys_go_on():
    run = endless()
    run.start()
    counted(3, "page_other")
    assert run.is_running


def test_a_stopped_run_says_by_whom_and_goes_on():
    run = endless()
    run.start()
    run.stop()
    assert run.is_stopped
    assert run.is_stopped_by_person
    assert run.wait(PATIENCE)
    before = run.progress.done
    run.go_on()
    assert not run.is_stopped_by_person
    while run.progress.done <= before:
        assert not run.wait(0.01)


def test_a_second_start_begins_anew():
    run = counted()
    run.start()
    assert run.wait(PATIENCE)
    run.start()
    assert run.wait(PATIENCE)
    assert run.results == [0, 1, 2]


def test_results_of_a_few_settings_are_kept():
    first = counted(1)
    first.start()
    assert first.wait(PATIENCE)
    for settings in range(2, KEPT_SETTINGS + 1):
        counted(settings)
    assert counted(1) is first
    for settings in range(2, KEPT_SETTINGS + 2):
        counted(settings)
    assert counted(1).is_idle


def test_the_process_holds_so_many_results(monkeypatch):
    monkeypatch.setattr(module, "_all", set())
    finished = [counted(2, f"page_{number}") for number in range(MOST_KEPT + 1)]
    for run in finished:
        run.start()
        assert run.wait(PATIENCE)
    assert finished[0].is_idle
    assert [run.results for run in finished[1:]] == [[0, 1]] * MOST_KEPT


@pytest.mark.parametrize(("done", "total", "fraction"), [(0, 4, 0.0), (1, 4, 0.25), (4, 4, 1), (9, 4, 1)])
def test_progress_is_a_share_and_never_more_than_the_whole(done, total, fraction):
    assert module.Progress(done, total, "").fraction == fraction


def test_progress_of_nothing_to_do_is_the_whole():
    assert module.Progress(0, 0, "").fraction == 1.0


def test_progress_may_be_read_from_the_last_result():
    run = work.run("page_run", 1, lambda: iter([10, 40]), 50, cumulative=True, done=lambda last: last)
    assert run.progress.done == 0
    run.start()
    assert run.wait(PATIENCE)
    assert (run.results, run.progress.done, run.progress.fraction) == ([40], 40, 0.8)


def test_a_start_beyond_the_sessions_share_is_refused_and_changes_nothing(session, chosen):
    chosen(heavy_per_minute=1)
    module.QUEUE._starts.clear()
    run = counted()
    run.start()
    assert run.wait(PATIENCE)
    with pytest.raises(InputError, match="1 long computations within a minute"):
        run.start()
    assert run.finished
    assert run.results == [0, 1, 2]


def test_nothing_begins_where_memory_is_short(session, chosen):
    chosen(memory_megabytes=1)
    run = counted()
    with pytest.raises(InputError, match="Memory is short"):
        run.start()
    assert run.is_idle


def test_steps_that_cannot_be_made_are_an_error_of_the_start():
    def refuse():
        raise InputError("No.")

    run = work.run("page_run", 1, refuse, 1)
    with pytest.raises(InputError, match="No"):
        run.start()
    assert run.is_idle


def test_what_others_computed_can_be_taken_over():
    run = counted()
    run.adopt((7, 8, 9))
    assert (run.results, run.finished, run.is_idle, run.is_stopped) == ([7, 8, 9], True, False, False)
    assert run.progress.fraction == 1.0
    run.start()
    assert run.wait(PATIENCE)
    assert run.results == [0, 1, 2]
    run.forget()
    assert run.is_idle
    assert run.results == []


def test_whether_anything_was_started_is_known_by_key():
    run = counted()
    assert not was_started("page_run")
    run.start()
    assert was_started("page_run")
    assert not was_started("page_other")


def test_a_run_of_nobody_is_known_by_a_stage_only_once_it_works(session):
    run = endless()
    run.shown_by("stage")
    run.start()
    run.shown_by("stage")
    session["stages"].clear()
    assert run.wait(PATIENCE)
    assert run.is_stopped


def test_bytes_are_those_of_arrays_and_tensors_wherever_they_are():
    numbers, tensor = np.zeros(5, np.float32), torch.zeros(3, dtype=torch.float64)
    result = SimpleNamespace(a=numbers, more={"b": [tensor, (numbers, 1)]}, word="x")
    assert _bytes_of(("name", result)) == 20 + 24 + 20


def test_what_somebody_looks_at_is_not_emptied_for_others(session, state):
    watched = counted(2, "page_watched")
    watched.start()
    assert watched.wait(PATIENCE)
    watched.shown_by("stage")
    others = []
    for number in range(MOST_KEPT + 5):
        others.append(counted(1, f"page_{number}"))
        others[-1].start()
        assert others[-1].wait(PATIENCE)
        others[-1].shown_by("gone")
    assert watched.results == [0, 1]
    assert sum(not other.is_idle for other in others) == MOST_KEPT
