"""Long runs on a page under the limits that a deployment sets."""

import pytest

from components.work import running
from components.work.runs import QUEUE, Held
from models.runtime.settings import settings
from tests.pages.screen import open_page, said

START = "optimizers_training_start"
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
    screen = screen.button(key=START).click().run()
    assert not screen.exception
    (sentence,) = said(screen)
    assert sentence.startswith("You have begun 1 long computations within a minute")
    assert said(screen.run()) == [sentence]  # it stays while the run that goes on is drawn again


def test_where_memory_is_short_a_run_is_refused_and_the_page_stands(chosen):
    screen = open_page("optimizers", **TRAINING)
    chosen(memory_megabytes=1)
    screen = screen.button(key=START).click().run()
    assert not screen.exception
    assert any("Memory is short" in sentence for sentence in said(screen))
    assert screen.button(key=START)


@pytest.fixture
def going_on(monkeypatch):
    """AppTest reruns whole pages, which pauses a run; in a browser its fragment goes on by itself."""
    monkeypatch.setattr(running, "forget_running", lambda page: None)


@pytest.mark.usefixtures("going_on")
def test_a_run_at_its_longest_time_says_so(chosen, monkeypatch):
    chosen(real_run_seconds=10)
    start = QUEUE.start

    def begun_long_ago(*args, **options) -> Held:
        held = start(*args, **options)
        held.worked = 10.0
        return held

    monkeypatch.setattr(QUEUE, "start", begun_long_ago)
    screen = open_page("optimizers", **TRAINING).button(key=START).click().run()
    assert not screen.exception
    assert any("has worked for 10 s" in sentence for sentence in said(screen))


@pytest.mark.usefixtures("going_on")
def test_others_are_told_their_place(chosen):
    chosen(heavy_at_once=1)
    QUEUE.start("someone else's", 0, lambda: iter(int, 1))
    screen = open_page("optimizers", **TRAINING).button(key=START).click().run()
    assert any("Your place in the queue: 1" in element.value for element in screen.info)
