"""Long runs: so many at once, the others in order, and nobody waits for who has left."""

import itertools
import time

import pytest

from components.work import runs
from components.work.runs import MOST_HELD, Queue
from models.errors import InputError
from models.runtime.settings import settings


def counting(steps):
    yield from range(steps)


def test_the_first_work_and_the_others_wait_in_order():
    queue = Queue(slots=2)
    for name in "abcd":
        queue.start(name, name, lambda: counting(3))
    assert [queue.place(name) for name in "abcd"] == [0, 0, 1, 2]
    queue.stop("a")
    assert [queue.place(name) for name in "bcd"] == [0, 0, 1]


def test_a_run_at_its_end_makes_room():
    queue = Queue(slots=1)
    first = queue.start("a", 1, lambda: counting(3))
    queue.start("b", 2, lambda: counting(3))
    assert queue.place("b") == 1
    first.draw(seconds=1.0)
    assert first.is_done
    assert first.seen == [0, 1, 2]
    assert queue.place("b") == 0


def test_whoever_stops_asking_loses_the_slot_and_can_go_on_later():
    queue = Queue(slots=1, patience=0.05)
    queue.start("away", 1, lambda: itertools.count()).draw(seconds=0.01)
    queue.start("here", 2, lambda: itertools.count())
    assert queue.place("here") == 1
    time.sleep(0.06)
    assert queue.place("here") == 0
    assert queue.find("away").seen
    assert queue.place("away") == 0  # it asks again, and stands where it stood
    assert queue.place("here") == 1


def test_the_oldest_runs_are_forgotten():
    queue = Queue()
    for number in range(MOST_HELD + 1):
        queue.start(str(number), number, lambda: counting(1))
    assert queue.find("0") is None
    assert queue.find("1") is not None


def test_a_run_is_drawn_from_for_a_while_and_goes_on_where_it_was():
    held = Queue().start("a", "settings", lambda: itertools.count())
    held.draw(seconds=0.01)
    before = len(held.seen)
    assert before > 0
    held.draw(seconds=0.01)
    assert held.seen == list(range(len(held.seen)))
    assert len(held.seen) > before
    assert not held.is_done


def test_a_new_start_takes_the_end_of_the_queue():
    queue = Queue(slots=1)
    for name in ("a", "b", "a"):
        queue.start(name, name, lambda: counting(1))
    assert queue.place("b") == 0
    assert queue.place("a") == 1


@pytest.fixture
def session(monkeypatch):
    """The session for which runs are started, and those whose person is here."""
    here = {"now": "anna", "present": {"anna", "bo", "cy"}}
    monkeypatch.setattr(runs, "session_here", lambda: here["now"])
    monkeypatch.setattr(runs, "is_present", lambda session: session is None or session in here["present"])
    return here


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


def start(queue, session, owner, name, **options):
    session["now"] = owner
    return queue.start(name, name, itertools.count, **options)


def test_the_settings_say_how_many_work_at_once(session, chosen):
    chosen(heavy_at_once=1)
    queue = Queue()
    for owner in ("anna", "bo", "cy"):
        start(queue, session, owner, owner)
    assert [queue.place(name) for name in ("anna", "bo", "cy")] == [0, 1, 2]
    assert queue.counts() == (1, 2)
    chosen(heavy_at_once=2)
    assert [queue.place(name) for name in ("anna", "bo", "cy")] == [0, 0, 1]


def test_a_session_has_one_run_at_work_while_slots_are_free(session):
    queue = Queue(slots=3)
    start(queue, session, "anna", "first")
    start(queue, session, "anna", "second")
    start(queue, session, "bo", "other")
    assert queue.place("second") == 0  # the first is not asked for any more
    assert queue.place("first") == 0  # it asks again, and stands before the second
    assert queue.place("second") == 1
    assert queue.place("other") == 0


def test_a_run_whose_person_has_left_makes_room_at_once(session):
    queue = Queue(slots=1)
    start(queue, session, "anna", "hers")
    start(queue, session, "bo", "his")
    assert queue.place("his") == 1
    session["present"].remove("anna")
    assert queue.place("his") == 0
    assert queue.place("hers") == 1  # it would not work, even if something asked for it


def test_runs_of_people_who_left_long_ago_are_not_kept(session, monkeypatch):
    monkeypatch.setattr(runs, "FORGOTTEN", 0.0)
    queue = Queue()
    start(queue, session, "anna", "hers")
    session["present"].remove("anna")
    start(queue, session, "bo", "his")
    assert queue.find("hers") is None
    assert queue.find("his") is not None


def test_a_session_may_begin_so_many_runs_a_minute(session, chosen, monkeypatch):
    chosen(heavy_per_minute=2)
    queue = Queue()
    start(queue, session, "anna", "a")
    start(queue, session, "anna", "b")
    with pytest.raises(InputError, match=r"2 long computations within a minute; .* in \d+ s"):
        start(queue, session, "anna", "c")
    assert queue.find("c") is None
    start(queue, session, "bo", "d")  # others have a budget of their own
    monkeypatch.setattr(runs, "MINUTE", 0.0)
    start(queue, session, "anna", "c")


def test_fewer_real_trainings_than_other_runs_work_at_once(session, chosen):
    chosen(heavy_at_once=3, real_runs=1)
    queue = Queue()
    start(queue, session, "anna", "first", is_real=True)
    start(queue, session, "bo", "second", is_real=True)
    start(queue, session, "cy", "small")
    assert [queue.place(name) for name in ("first", "second", "small")] == [0, 1, 0]


def test_a_run_ends_at_the_longest_time_that_is_allowed(session, chosen):
    chosen(real_run_seconds=10)
    queue = Queue(slots=1)
    held = start(queue, session, "anna", "long")
    start(queue, session, "bo", "next")
    held.worked = 10.0
    with pytest.raises(InputError, match="worked for 10 s"):
        held.draw(seconds=0)
    assert held.seen == []
    assert queue.place("next") == 0


def test_nothing_begins_where_memory_is_short(session, chosen):
    chosen(memory_megabytes=1)
    queue = Queue()
    with pytest.raises(InputError, match="Memory is short"):
        start(queue, session, "anna", "a")
    assert queue.find("a") is None
