"""Long runs on a page under the limits that a deployment sets."""

import pytest

from components.work import QUEUE
from components.work.job import Job
from models.runtime.settings import settings
from tests.pages.screen import open_page, run_of, said

START, STOP = "optimizers_training_start", "optimizers_training_stop"
TRAINING = {"optimizers_view": "training", "optimizers_steps": "20"}


@pytest.fixture
def chosen(monkeypatch):
    """Set LOUPE_ variables for the test."""

    def choose(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"LOUPE_{name.upper()}", str(value))
        settings.cache_clear()

    yield choose
    monkeypatch.undo()
    settings.cache_clear()


def test_who_begins_too_many_runs_a_minute_is_told_when_the_next_may(chosen):
    chosen(heavy_per_minute=1)
    screen = open_page("optimizers", **TRAINING)
    screen = screen.button(key=START).click().run()
    assert said(screen) == []
    screen = screen.button(key=STOP).click().run()
    screen = screen.button(key=START).click().run()
    assert not screen.exception
    (sentence,) = said(screen)
    assert sentence.startswith("You have begun 1 long computations within a minute")
    assert said(screen.run()) == [sentence]  # it stays until the next press


def test_where_memory_is_short_a_run_is_refused_and_the_page_stands(chosen):
    screen = open_page("optimizers", **TRAINING)
    chosen(memory_megabytes=1)
    screen = screen.button(key=START).click().run()
    assert not screen.exception
    assert any("Memory is short" in sentence for sentence in said(screen))
    assert screen.button(key=START)


def test_a_run_at_its_longest_time_says_so(chosen, monkeypatch):
    chosen(real_run_seconds=10)
    go_on = Job.go_on

    def begun_long_ago(job: Job) -> None:
        job.worked = 10.0
        go_on(job)

    monkeypatch.setattr(Job, "go_on", begun_long_ago)
    screen = open_page("optimizers", **TRAINING).button(key=START).click().run()
    assert run_of(screen, "optimizers_training").wait(60)
    screen.run()
    assert not screen.exception
    assert any("has worked for 10 s" in sentence for sentence in said(screen))


def test_others_are_told_their_place(chosen):
    chosen(heavy_at_once=1)
    assert QUEUE.may_work(QUEUE.join(None))  # someone else's
    screen = open_page("optimizers", **TRAINING).button(key=START).click().run()
    (bar,) = screen.get("progress")
    assert "Your place in the queue: 1" in bar.proto.text
