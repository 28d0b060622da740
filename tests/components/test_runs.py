"""Long runs: so many at once, the others in order, and nobody waits for who has left."""

import itertools
import time

from components.runs import Queue


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


def test_whoever_stops_asking_loses_the_slot():
    queue = Queue(slots=1, patience=0.05)
    queue.start("gone", 1, lambda: itertools.count())
    queue.start("here", 2, lambda: itertools.count())
    assert queue.place("here") == 1
    time.sleep(0.06)
    queue.place("here")  # who asks again after a pause is still in the queue
    queue.start("here", 2, lambda: itertools.count())
    assert queue.place("here") == 0
    assert queue.find("gone") is None


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
