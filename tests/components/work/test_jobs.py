"""Jobs: a generator on a thread of its own yields, ends, stops between steps, and keeps its error."""

from collections.abc import Iterator
from threading import Event

import pytest

from components.work import jobs, runs
from components.work.jobs import Job
from models.runtime.settings import settings

PATIENCE = 60  # seconds, no measure of speed
SLOTS = settings().heavy_at_once


def test_a_job_keeps_what_it_yields_in_order_and_finishes():
    job = Job("settings", iter(range(5)), 5)
    assert job.wait(PATIENCE)
    assert (job.results, job.error, job.stopped) == ([0, 1, 2, 3, 4], None, False)


def test_a_stopped_job_ends_before_its_next_step_and_keeps_the_rest():
    begun, go_on = Event(), Event()

    def steps() -> Iterator[int]:
        begun.set()
        go_on.wait(PATIENCE)
        yield 1
        yield 2

    job = Job("settings", steps(), 2)
    assert begun.wait(PATIENCE)
    job.stop()
    assert not job.finished
    go_on.set()
    assert job.wait(PATIENCE)
    assert job.results == [1]


def test_no_more_jobs_than_slots_work_at_once():
    begun, go_on = [Event() for _ in range(SLOTS + 1)], Event()

    def steps(number: int) -> Iterator[int]:
        begun[number].set()
        go_on.wait(PATIENCE)
        yield number

    waiting = [Job(number, steps(number), 1) for number in range(SLOTS + 1)]
    assert all(event.wait(PATIENCE) for event in begun[:SLOTS])
    assert waiting[-1].place == 1
    assert not begun[-1].is_set()
    go_on.set()
    assert all(job.wait(PATIENCE) for job in waiting)
    assert [job.results for job in waiting] == [[number] for number in range(SLOTS + 1)]


def test_a_job_that_nobody_looks_at_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "PATIENCE", 0.0)
    job = Job("settings", iter(int, 1), 1)  # without end
    assert job._finished.wait(PATIENCE)
    assert job.stopped


def test_an_error_ends_the_job_and_is_kept_for_the_page():
    def steps() -> Iterator[int]:
        yield 1
        raise ValueError("on purpose")

    job = Job("settings", steps(), 2)
    assert job.wait(PATIENCE)
    assert job.results == [1]
    assert str(job.error) == "on purpose"


def test_a_job_whose_person_has_gone_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "ABSENT_SECONDS", 0.05)
    monkeypatch.setattr(jobs, "session_here", lambda: "anna")
    here = {"anna"}
    for module in (jobs, runs):
        monkeypatch.setattr(module, "is_present", lambda session: session is None or session in here)
    job = Job("settings", iter(int, 1), 1)  # without end
    assert not job._finished.wait(0.2)
    here.clear()
    assert job._finished.wait(PATIENCE)
    assert job.stopped


def test_a_new_job_takes_the_place_of_one_that_its_person_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "session_here", lambda: "anna")
    monkeypatch.setattr(jobs, "UNWATCHED_SECONDS", 0.0)
    left = Job("settings", iter(int, 1), 1)  # without end
    others = Job("other settings", iter(range(3)), 3)
    assert left._finished.wait(PATIENCE)
    assert others.wait(PATIENCE)
    assert others.results == [0, 1, 2]
