"""What is kept stays below so many bytes, and is made once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.runtime.kept import Kept


def kept(most: int) -> Kept[str, bytes]:
    return Kept(lambda: most, len)


@given(most=st.integers(0, 40), asked=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 30))))
def test_no_more_is_kept_than_allowed_but_for_the_newest(most, asked):
    values = kept(most)
    for key, size in asked:
        found = values.get(key, lambda size=size: bytes(size))
        assert values.find(key) is found
        assert values.bytes <= max(most, len(found))


def test_what_was_used_longest_ago_goes_first():
    values = kept(3)
    for key in "abc":
        values.get(key, lambda: b"1")
    values.get("a", lambda: b"never made")
    values.get("d", lambda: b"1")
    assert [values.find(key) is not None for key in "abcd"] == [True, False, True, True]


def test_many_threads_make_a_value_once():
    values, made = kept(100), []

    def make() -> bytes:
        made.append(1)
        time.sleep(0.05)
        return b"value"

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: values.get("key", make), range(8)))
    assert len(made) == 1
    assert all(one is found[0] for one in found)


def test_a_slow_value_does_not_hold_up_another_key():
    values, begun, go_on = kept(100), threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        assert go_on.wait(10)
        return b"slow"

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(values.get, "slow", slow)
        assert begun.wait(10)
        assert values.get("fast", lambda: b"fast") == b"fast"
        go_on.set()
        assert waiting.result() == b"slow"


def test_what_fails_is_not_kept_and_can_be_made_later():
    values = kept(100)

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        values.get("key", fail)
    assert values.find("key") is None
    assert values.get("key", lambda: b"now") == b"now"
    values.clear()
    assert (len(values), values.bytes) == (0, 0)
