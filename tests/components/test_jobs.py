"""Jobs: a generator on a thread of its own yields, ends, stops between steps, and keeps its error."""

from collections.abc import Iterator
from threading import Event

from components.jobs import Job

PATIENCE = 60  # seconds, no measure of speed


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


def test_an_error_ends_the_job_and_is_kept_for_the_page():
    def steps() -> Iterator[int]:
        yield 1
        raise ValueError("on purpose")

    job = Job("settings", steps(), 2)
    assert job.wait(PATIENCE)
    assert job.results == [1]
    assert str(job.error) == "on purpose"
