"""Turns: one thread after the other, in order; whoever takes too long is passed by."""

import threading
import time

import pytest

from models.runtime.turns import Turns

LONG = 60.0  # seconds that no test waits for
SOON = 20.0  # for what comes at once on a machine that is not busy


def started(work, *args) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def lined_up(turns: Turns, count: int) -> None:
    """Wait until so many threads stand in line."""
    end = time.monotonic() + SOON
    while len(turns._line) < count:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_threads_go_one_by_one_in_the_order_in_which_they_came():
    turns, order, inside, most = Turns(LONG), [], 0, 0

    def work(number: int) -> None:
        nonlocal inside, most
        with turns.turn():
            inside += 1
            most = max(most, inside)
            order.append(number)
            time.sleep(0.001)
            inside -= 1

    with turns.turn():
        threads = []
        for number in range(8):
            threads.append(started(work, number))
            lined_up(turns, number + 2)
    for thread in threads:
        thread.join(SOON)
    assert order == list(range(8))
    assert most == 1


def test_a_turn_inside_a_turn_does_not_wait_for_itself():
    turns = Turns(LONG)
    with turns.turn(), turns.turn():
        assert len(turns._line) == 1
    assert not turns._line


def test_a_failure_gives_the_turn_back():
    turns = Turns(LONG)

    def fail() -> None:
        with turns.turn(), turns.turn():
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not turns._line


def test_whoever_takes_too_long_is_passed_by_and_disturbs_nobody_on_leaving():
    turns, go_on, done = Turns(0.02), threading.Event(), []

    def hold() -> None:
        with turns.turn():
            go_on.wait(SOON)

    def work(number: int) -> None:
        with turns.turn():
            done.append(number)

    holder = started(hold)
    lined_up(turns, 1)
    for thread in [started(work, number) for number in range(3)]:
        thread.join(SOON)
    assert sorted(done) == [0, 1, 2]
    assert holder.is_alive()
    go_on.set()
    holder.join(SOON)
    assert not turns._line
    started(work, 3).join(SOON)
    assert done[-1] == 3


@pytest.mark.parametrize("patience", [0.0, 1e-5, 1e-3])
def test_on_a_crowded_machine_everybody_comes_through(patience):
    """Also those who are passed by before they have noticed that it was their turn."""
    turns, done = Turns(patience), []

    def work(number: int) -> None:
        for _ in range(20):
            with turns.turn():
                time.sleep(1e-4 * (number % 3))
                with turns.aside():
                    time.sleep(0)
        done.append(number)

    for thread in [started(work, number) for number in range(24)]:
        thread.join(SOON)
    assert sorted(done) == list(range(24))
    assert not turns._line


def test_others_go_on_while_one_stands_aside():
    turns, done = Turns(LONG), []

    def work() -> None:
        with turns.turn():
            done.append(True)

    with turns.turn():
        with turns.aside():
            started(work).join(SOON)
            assert done
        assert len(turns._line) == 1
        with pytest.raises(KeyError), turns.aside():
            raise KeyError
        assert len(turns._line) == 1
    with turns.aside():  # without a turn there is nothing to give up
        assert not turns._line


def test_long_work_lets_those_in_line_pass_but_not_for_ever():
    turns, done = Turns(LONG), []

    def work() -> None:
        turns.let_pass(LONG)
        done.append(True)

    turns.let_pass(LONG)  # nobody is in line
    with turns.turn():
        turns.let_pass(0.01)
        thread = started(work)
        thread.join(0.05)
        assert not done
    thread.join(SOON)
    assert done


def test_what_waits_for_another_in_line_cannot_lock_both():
    """One holds the turn and waits for a lock; who holds the lock waits for the turn."""
    turns, lock, done = Turns(0.02), threading.Lock(), []

    def with_lock() -> None:
        with lock, turns.turn():
            done.append("lock")

    with turns.turn():
        thread = started(with_lock)
        lined_up(turns, 2)
        with lock:
            done.append("turn")
    thread.join(SOON)
    assert done == ["lock", "turn"]
