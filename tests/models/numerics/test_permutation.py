"""models.numerics.permutation: all tokens, the same for a seed, and the ends where they are to stay."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.numerics.permutation import permutation


@given(st.integers(1, 50), st.integers(0, 2**31))
def test_is_an_order_of_all_tokens_and_the_same_for_its_seed(tokens, seed):
    order = permutation(tokens, seed)
    assert order.sort().values.tolist() == list(range(tokens))
    assert torch.equal(order, permutation(tokens, seed))


@given(st.integers(4, 50), st.integers(0, 2**31))
def test_the_ends_may_stay(tokens, seed):
    order = permutation(tokens, seed, fixed_ends=True)
    assert order.sort().values.tolist() == list(range(tokens))
    assert (order[0], order[-1]) == (0, tokens - 1)
    assert torch.equal(order[1:-1] - 1, permutation(tokens - 2, seed))


def test_every_order_of_three_comes_equally_often():
    orders = [tuple(permutation(5, seed, fixed_ends=True).tolist()[1:-1]) for seed in range(600)]
    counts = {order: orders.count(order) for order in orders}
    assert len(counts) == 6
    assert all(60 < count < 140 for count in counts.values())


def test_too_few_tokens_get_a_sentence():
    with pytest.raises(InputError, match="four tokens"):
        permutation(3, 0, fixed_ends=True)
    assert sorted(permutation(4, 0, fixed_ends=True).tolist()) == [0, 1, 2, 3]
