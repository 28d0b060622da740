"""Needles: where they are hidden, how answers are counted, and that luck is measured as luck."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.context.long_context import Way
from models.context.needle import (
    KEY_TOKENS,
    Haystack,
    HiddenNeedles,
    hide,
    retrieve,
    score,
    wilson_interval,
)
from models.errors import InputError
from models.networks.catalogue import DEFAULT
from models.rotary.scaling import RopeSettings

OWN = Way(RopeSettings("default", 32, longest=256))
VOCABULARY = range(10, 900)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 9), st.integers(0, 200))
def test_every_needle_is_hidden_once_at_its_depth_and_asked_for_at_the_end(depths, trials, seed, more):
    haystack = Haystack(1 + 2 * depths * (KEY_TOKENS + 1) + depths + more, depths, trials, seed)
    needles = hide(haystack, VOCABULARY, start_token=0)
    assert needles.tokens.shape == (trials, haystack.length)
    assert (needles.tokens[:, 0] == 0).all()
    before_questions = haystack.length - depths * (KEY_TOKENS + 1)
    for text, order, values in zip(needles.tokens, needles.depth, needles.value, strict=True):
        assert sorted(order.tolist()) == list(range(depths))
        places = []
        for at, depth, value in zip(haystack.asked_at, order, values, strict=True):
            key = text[at - KEY_TOKENS + 1 : at + 1].tolist()
            needle = [*key, int(value)]
            found = [
                start
                for start in range(before_questions)
                if text[start : start + KEY_TOKENS + 1].tolist() == needle
            ]
            assert len(found) == 1
            places.append((int(depth), found[0]))
        in_order = [place for _depth, place in sorted(places)]
        assert in_order == sorted(in_order)


def test_without_needles_the_same_questions_are_asked_and_no_key_is_in_the_text():
    haystack = Haystack(200, 4, 6, 1)
    with_them, without = (hide(haystack, VOCABULARY, 0, hidden) for hidden in (True, False))
    assert torch.equal(with_them.depth, without.depth)
    assert torch.equal(with_them.value, without.value)
    for text in without.tokens:
        for at in haystack.asked_at:
            key = text[at - KEY_TOKENS + 1 : at + 1].tolist()
            stack = text[: haystack.length - 4 * (KEY_TOKENS + 1)].tolist()
            assert all(stack[i : i + KEY_TOKENS] != key for i in range(len(stack)))


def test_answers_are_counted_by_depth_whatever_the_order_of_questions():
    needles = HiddenNeedles(
        torch.zeros(2, 9, dtype=torch.long),
        depth=torch.tensor([[2, 0, 1], [0, 1, 2]]),
        value=torch.tensor([[5, 6, 7], [5, 6, 7]]),
    )
    logits = torch.zeros(2, 3, 10)
    logits[0, 0, 5] = 4  # trial 0 answers depth 2 with the vocabulary's best
    logits[0, 1, 9] = 9  # depth 0 with a token that is no value, but its own value next
    logits[0, 1, 6] = 4
    logits[0, 2, 5] = 4  # depth 1 with another needle's value
    logits[1, 0, 5] = logits[1, 1, 6] = logits[1, 2, 7] = 4
    found = score(logits, needles)
    assert found.best_of_all.tolist() == [0.5, 0.5, 1.0]
    assert found.best_of_values.tolist() == [1.0, 0.5, 1.0]
    expected = [(logits[0, 1].softmax(-1)[6] + logits[1, 0].softmax(-1)[5]) / 2]
    assert float(found.probability[0]) == pytest.approx(float(expected[0]))
    assert found.trials == 2


def test_the_network_finds_near_needles_and_is_at_chance_without_them():
    haystack = Haystack(128, depths=5, trials=24)
    found, luck = (retrieve(DEFAULT, OWN, haystack, hidden) for hidden in (True, False))
    assert float(found.best_of_all[-1]) > 0.9
    low, high = wilson_interval(float(luck.best_of_values.mean()), 24 * 5, z=4.0)
    assert low < 1 / 5 < high
    assert float(luck.best_of_all.mean()) < 0.05
    again = retrieve(DEFAULT, OWN, haystack)
    assert torch.equal(again.probability, found.probability)
    other = retrieve(DEFAULT, OWN, Haystack(128, depths=5, trials=24, seed=1))
    assert not torch.equal(other.probability, found.probability)


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.5, 4))
def test_wilson_bounds_are_where_the_score_test_just_holds(right, trials, z):
    share = min(right, trials) / trials
    for bound in wilson_interval(share, trials, z):
        assert abs(bound - share) == pytest.approx(
            z * math.sqrt(max(bound * (1 - bound), 0) / trials), abs=1e-6
        )


@pytest.mark.parametrize(
    "asked", [{"length": 10}, {"length": 4_000}, {"length": 200, "depths": 0}, {"length": 200, "seed": -1}]
)
def test_what_does_not_fit_is_refused_in_a_sentence(asked):
    with pytest.raises(InputError, match=r"\.$"):
        Haystack(**asked)


def test_an_interval_needs_trials():
    with pytest.raises(InputError, match="trial"):
        wilson_interval(0.5, 0)
