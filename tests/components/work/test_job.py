"""Jobs: a generator on a thread of its own yields, ends, stops between steps and goes on."""

import itertools
import threading
from threading import Event
from weakref import WeakSet

import pytest

from components.work import job as module
from components.work.job import Job, stop_all
from components.work.queue import Queue
from models.errors import InputError
from models.runtime.turns import turn

PATIENCE = 60.0  # seconds, no measure of speed


@pytest.fixture(autouse=True)
def leave_no_work_behind(monkeypatch):
    """Each test ends the jobs that it began, and waits for nobody else's."""
    monkeypatch.setattr(module, "_jobs", WeakSet())
    yield
    stop_all(PATIENCE)


def reaches(condition):
    """Whether the condition comes to hold."""
    pause = Event()
    return any(condition() or pause.wait(0.01) for _ in range(int(100 * PATIENCE)))


def test_a_job_keeps_what_it_yields_in_order_and_finishes():
    job = Job(iter(range(5)), None)
    assert job.wait(PATIENCE)
    assert (job.results, job.count, job.error, job.is_finished) == ([0, 1, 2, 3, 4], 5, None, True)
    assert not job.is_running
    assert job.place == 0


def test_of_cumulative_results_the_last_is_kept():
    job = Job(iter(range(5)), None, is_cumulative=True)
    assert job.wait(PATIENCE)
    assert (job.results, job.count) == ([4], 5)


def test_the_generator_runs_on_a_thread_of_its_own():
    def where():
        yield threading.current_thread()

    job = Job(where(), None)
    assert job.wait(PATIENCE)
    assert job.results[0] is not threading.current_thread()


def test_a_stopped_job_ends_before_its_next_step_and_goes_on_where_it_was():
    begun, go_on = Event(), Event()

    def steps():
        begun.set()
        go_on.wait(PATIENCE)
        yield 1
        yield 2

    job = Job(steps(), None)
    assert begun.wait(PATIENCE)
    job.stop()
    assert not job.is_running  # for its person; the step that is at work comes to its end
    go_on.set()
    assert job.wait(PATIENCE)
    assert (job.results, job.is_finished) == ([1], False)
    job.go_on()
    assert job.wait(PATIENCE)
    assert (job.results, job.is_finished) == ([1, 2], True)


def test_a_job_that_goes_on_waits_for_the_step_that_was_at_work():
    begun, release = Event(), Event()

    def steps():
        begun.set()
        release.wait(PATIENCE)
        yield 1
        yield 2

    job = Job(steps(), None)
    assert begun.wait(PATIENCE)
    job.stop()
    job.go_on()
    assert job.is_running
    release.set()
    assert job.wait(PATIENCE)
    assert (job.results, job.error) == ([1, 2], None)


def test_no_more_jobs_than_slots_work_at_once():
    slots = 2
    queue = Queue(slots)
    begun, go_on = [Event() for _ in range(slots + 1)], Event()

    def steps(number):
        begun[number].set()
        go_on.wait(PATIENCE)
        yield number

    jobs = [Job(steps(number), None, queue=queue) for number in range(slots + 1)]
    assert all(event.wait(PATIENCE) for event in begun[:slots])
    assert jobs[-1].place == 1
    assert jobs[-1].is_running
    assert not begun[-1].is_set()
    go_on.set()
    assert all(job.wait(PATIENCE) for job in jobs)
    assert [job.results for job in jobs] == [[number] for number in range(slots + 1)]
    assert queue.counts() == (0, 0)


def test_one_that_is_stopped_while_it_waits_leaves_the_queue(session):
    queue = Queue(slots=1)
    hers = Job(itertools.count(), "anna", queue=queue, is_cumulative=True)
    his = Job(itertools.count(), "bo", queue=queue, is_cumulative=True)
    assert reaches(lambda: hers.count)
    assert his.place == 1
    his.stop()
    assert his.wait(PATIENCE)
    assert queue.counts() == (1, 0)
    assert his.count == 0


def test_an_error_ends_the_job_and_is_kept_for_the_page():
    def steps():
        yield 1
        raise ValueError("on purpose")

    queue = Queue(slots=1)
    job = Job(steps(), None, queue=queue)
    assert job.wait(PATIENCE)
    assert job.results == [1]
    assert str(job.error) == "on purpose"
    assert not job.is_finished
    assert not job.is_running
    assert queue.counts() == (0, 0)
    job.go_on()  # what has failed is not taken for finished by asking again
    assert job.wait(PATIENCE)
    assert not job.is_finished


def test_a_job_whose_person_has_gone_ends_and_one_that_was_away_for_a_moment_does_not(session, monkeypatch):
    monkeypatch.setattr(module, "ABSENT_SECONDS", 1e9)
    job = Job(itertools.count(), "anna", is_cumulative=True, queue=Queue(slots=1))
    assert reaches(lambda: job.count)
    session["present"].clear()
    assert reaches(lambda: job.place == 1 or not job._ticket.is_working)
    assert job.is_running
    session["present"].add("anna")
    before = job.count
    assert reaches(lambda: job.count > before + 1)
    session["present"].clear()
    monkeypatch.setattr(module, "ABSENT_SECONDS", 0.05)
    assert job.wait(PATIENCE)
    assert not job.is_running
    assert not job.is_finished


def test_a_job_whose_stage_has_left_the_page_ends(session):
    job = Job(itertools.count(), "anna", is_cumulative=True, queue=Queue(slots=1))
    assert reaches(lambda: job.count)
    job.stage = "stage"
    before = job.count
    assert reaches(lambda: job.count > before + 1)
    session["stages"].clear()
    assert job.wait(PATIENCE)
    assert not job.is_running


def test_a_job_ends_at_the_longest_time_that_is_allowed(session, chosen):
    chosen(real_run_seconds=10)
    queue = Queue(slots=1)
    waits = Event()

    def steps():
        waits.wait(PATIENCE)
        yield 1
        yield 2

    job = Job(steps(), "anna", queue=queue)
    job.worked = 10.0
    waits.set()
    assert job.wait(PATIENCE)
    assert isinstance(job.error, InputError)
    assert "worked for 10 s" in str(job.error)
    assert len(job.results) <= 1
    assert queue.counts() == (0, 0)


def test_what_a_job_worked_is_counted_and_what_it_waited_is_not(session):
    queue = Queue(slots=1)
    first = Job(itertools.count(), "anna", is_cumulative=True, queue=queue)
    second = Job(itertools.count(), "bo", is_cumulative=True, queue=queue)
    assert reaches(lambda: first.worked > 0.2)
    assert second.worked == 0
    first.stop()
    assert reaches(lambda: second.worked > 0)


def test_steps_wait_while_a_page_is_being_redrawn(monkeypatch):
    monkeypatch.setattr(module, "STEP_BACK_SECONDS", PATIENCE)
    with turn():
        job = Job(iter(range(3)), None)
        assert reaches(lambda: job._ticket.is_working)
        assert job.count == 0
    assert job.wait(PATIENCE)
    assert job.results == [0, 1, 2]


def test_a_redraw_that_does_not_end_holds_no_work_up(monkeypatch):
    monkeypatch.setattr(module, "STEP_BACK_SECONDS", 0.01)
    with turn():
        assert Job(iter(range(3)), None).wait(PATIENCE)


def test_all_jobs_end_with_the_process():
    jobs = [Job(itertools.count(), None, is_cumulative=True, queue=Queue(slots=4)) for _ in range(3)]
    stop_all(PATIENCE)
    assert not any(job.is_running for job in jobs)
    assert all(job.wait(0) for job in jobs)
