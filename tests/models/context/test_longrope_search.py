"""LongRoPE's search: starts from the known methods, keeps its constraints, and finds no worse."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.context.long_context import PASSAGES, Way, loss_by_position, passage_tokens
from models.context.long_factors import long_factors
from models.context.longrope_search import long_rope, mean_loss, mutated, search, starting_divisors
from models.networks.catalogue import DEFAULT
from models.rotary.library import library_rope
from models.rotary.scaling import RopeSettings, scaled_rope

ROPE = RopeSettings("default", 32, longest=512, trained=256, factor=2.0)


@given(st.lists(st.floats(1, 9), min_size=2, max_size=20).map(sorted), st.floats(2, 12), st.integers(0, 99))
def test_mutations_rise_and_stay_in_bounds(divisors, most, seed):
    moved = mutated(tuple(divisors), most, random.Random(seed))
    assert len(moved) == len(divisors)
    assert list(moved) == sorted(moved)
    assert moved[0] >= 1
    assert moved[-1] <= most


def test_the_search_starts_from_the_methods_frequencies():
    for divisors, kind in zip(starting_divisors(ROPE)[:2], ("linear", "ntk"), strict=True):
        theirs = library_rope(
            RopeSettings(kind, 32, longest=512, trained=256, factor=2.0)
        ).inverse_frequencies
        ours = scaled_rope(long_rope(ROPE, divisors), 512).inverse_frequencies
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_a_search_repeats_by_its_seed_and_never_gets_worse():
    texts = passage_tokens(DEFAULT, PASSAGES[0], 512)[None]
    first, again = (list(search(DEFAULT, ROPE, texts, 2, seed=4)) for _run in range(2))
    assert first == again
    losses = [found.loss for found in first]
    assert losses == sorted(losses, reverse=True)
    start = min(
        float(mean_loss(DEFAULT, long_rope(ROPE, divisors), texts)) for divisors in starting_divisors(ROPE)
    )
    assert losses[0] <= start + 1e-6


def test_the_shipped_divisors_rise_and_help_on_texts_that_were_not_searched_on():
    divisors = long_factors()
    assert list(divisors) == sorted(divisors)
    rope = RopeSettings("default", 32, longest=2_048, trained=256, factor=8.0)
    text = passage_tokens(DEFAULT, PASSAGES[1], 2_048)
    searched = float(loss_by_position(DEFAULT, Way(long_rope(rope, divisors)), text).mean())
    plain = float(loss_by_position(DEFAULT, Way(rope), text).mean())
    assert searched < plain - 0.5
