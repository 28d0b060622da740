"""The queue: so many at once, the others in order, one a session first, and who has left waits no more."""

import random

import pytest

from components.work import queue as module
from components.work.queue import Queue
from models.errors import InputError


def places(queue, tickets):
    return [queue.place(ticket) for ticket in tickets]


def test_the_first_work_and_the_others_wait_in_order():
    queue = Queue(slots=2)
    tickets = [queue.join(None) for _ in range(4)]
    assert places(queue, tickets) == [0, 0, 1, 2]
    assert [queue.may_work(ticket) for ticket in tickets] == [True, True, False, False]
    queue.leave(tickets[0])
    assert places(queue, tickets[1:]) == [0, 0, 1]
    queue.leave(tickets[0])  # a second time changes nothing
    assert places(queue, tickets[1:]) == [0, 0, 1]


def test_who_has_left_the_queue_may_not_work():
    queue = Queue(slots=2)
    ticket = queue.join(None)
    queue.leave(ticket)
    assert not queue.may_work(ticket)


def test_the_settings_say_how_many_work_at_once(session, chosen):
    chosen(heavy_at_once=1)
    queue = Queue()
    tickets = [queue.join(name) for name in ("anna", "bo", "cy")]
    assert places(queue, tickets) == [0, 1, 2]
    assert queue.counts() == (1, 2)
    chosen(heavy_at_once=2)
    assert places(queue, tickets) == [0, 0, 1]
    assert queue.counts() == (2, 1)


def test_a_session_has_one_run_at_work_while_slots_are_free(session):
    queue = Queue(slots=3)
    first, second, other = (queue.join(name) for name in ("anna", "anna", "bo"))
    assert places(queue, (first, second, other)) == [0, 1, 0]
    queue.leave(first)
    assert places(queue, (second, other)) == [0, 0]


def test_a_sessions_second_run_waits_behind_everybodys_first(session):
    queue = Queue(slots=1)
    tickets = [queue.join(name) for name in ("anna", "anna", "bo", "cy")]
    assert places(queue, tickets) == [0, 3, 1, 2]


def test_runs_of_no_session_do_not_wait_for_one_another(session):
    queue = Queue(slots=3)
    assert places(queue, [queue.join(None) for _ in range(3)]) == [0, 0, 0]


def test_a_run_whose_person_has_left_makes_room_at_once(session):
    queue = Queue(slots=1)
    hers, his = queue.join("anna"), queue.join("bo")
    assert queue.may_work(hers)
    assert queue.place(his) == 1
    session["present"].remove("anna")
    assert not queue.may_work(hers)
    assert queue.may_work(his)
    session["present"].add("anna")
    assert not queue.may_work(hers)  # she was away for a moment, and takes nobody's slot
    assert queue.place(hers) == 1


def test_who_works_is_not_interrupted_by_an_earlier_run_of_the_same_session(session):
    queue = Queue(slots=1)
    first, second = queue.join("anna"), queue.join("anna")
    session["present"].clear()
    session["present"].add("anna")
    queue.leave(first)
    assert queue.may_work(second)
    third = queue.join("anna")
    assert queue.may_work(second)
    assert queue.place(third) == 1


def test_fewer_real_trainings_than_other_runs_work_at_once(session, chosen):
    chosen(heavy_at_once=3, real_runs=1)
    queue = Queue()
    first, second = queue.join("anna", is_real=True), queue.join("bo", is_real=True)
    small = queue.join("cy")
    assert places(queue, (first, second, small)) == [0, 1, 0]
    assert [queue.may_work(ticket) for ticket in (first, second, small)] == [True, False, True]
    queue.leave(first)
    assert queue.may_work(second)


def test_a_real_training_that_waits_leaves_its_slot_to_others(session, chosen):
    chosen(heavy_at_once=2, real_runs=1)
    queue = Queue()
    queue.join("anna", is_real=True)
    queue.join("bo", is_real=True)
    assert queue.place(queue.join("cy")) == 0


def test_a_session_may_begin_so_many_runs_a_minute(session, chosen, monkeypatch):
    chosen(heavy_per_minute=2)
    queue = Queue()
    queue.spend("anna")
    queue.spend("anna")
    with pytest.raises(InputError, match=r"2 long computations within a minute; .* in (60|61) s"):
        queue.spend("anna")
    queue.spend("bo")  # others have a budget of their own
    queue.spend(None)
    monkeypatch.setattr(module, "MINUTE", 0.0)
    queue.spend("anna")
    assert list(queue._starts) == ["anna"]  # nobody's starts of long ago are remembered


def test_without_a_limit_starts_are_not_counted(session, chosen):
    chosen(heavy_per_minute=0)
    queue = Queue()
    for _ in range(100):
        queue.spend("anna")
    assert not queue._starts


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_limits_hold_and_slots_are_used(session, chosen, seed):
    """People come, leave, stop and work at random: never too many, and nobody waits beside a free slot."""
    chance = random.Random(seed)
    slots, real = chance.randint(1, 4), chance.randint(1, 3)
    chosen(heavy_at_once=slots, real_runs=real)
    queue, people, tickets = Queue(), ["anna", "bo", "cy", "di", None], []
    for _ in range(60):
        action = chance.choice(["join", "join", "leave", "go", "come", "work", "work", "work"])
        if action == "join":
            tickets.append(queue.join(chance.choice(people), is_real=chance.random() < 0.4))
        elif action == "leave" and tickets:
            queue.leave(tickets.pop(chance.randrange(len(tickets))))
        elif action == "go":
            session["present"].discard(chance.choice(people))
        elif action == "come":
            session["present"].add(chance.choice(people[:-1]))
        else:
            for ticket in chance.sample(tickets * 2, 2 * len(tickets)):  # each asks again and again
                queue.may_work(ticket)
            check(queue, tickets, slots, real)


def check(queue, tickets, slots, real):
    at_work = [ticket for ticket in tickets if ticket.is_working]
    here = [ticket for ticket in tickets if ticket.counts]
    assert len(at_work) <= slots
    assert sum(ticket.is_real for ticket in at_work) <= real
    owners = [ticket.session for ticket in at_work if ticket.session is not None]
    assert len(owners) == len(set(owners))
    assert all(ticket in here for ticket in at_work)
    waiting = sorted(queue.place(ticket) for ticket in here if not ticket.is_working)
    assert waiting == list(range(1, len(waiting) + 1))  # who waits knows a place of their own
    assert queue.counts() == (len(at_work), len(waiting))
    if len(at_work) < slots:
        free_real = real > sum(ticket.is_real for ticket in at_work)
        assert not [
            t
            for t in here
            if not t.is_working
            and (t.session is None or t.session not in owners)
            and (free_real or not t.is_real)
        ]


def test_one_that_has_left_has_no_place_and_may_not_work():
    queue = Queue(1)
    ticket = queue.join(None)
    queue.leave(ticket)
    assert not queue.may_work(ticket)
    with pytest.raises(LookupError):
        queue.place(ticket)
