"""models.numerics.masked_softmax against torch's softmax."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from models.numerics.masked_softmax import masked_softmax


def test_softmax_is_that_of_torch():
    scores = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)) * 50
    softmax = masked_softmax(scores)
    assert_close(softmax.probabilities, scores.softmax(dim=-1))
    assert_close(softmax.denominator.log() + softmax.row_maximum, scores.logsumexp(-1, keepdim=True))
    assert_close(softmax.exponentials / softmax.denominator, softmax.probabilities)


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 9))
def test_hidden_keys_get_nothing_and_a_row_without_keys_becomes_zero(seed, rows, keys):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, keys, generator=generator, dtype=torch.float64) * 20
    hidden = torch.rand(rows, keys, generator=generator) < 0.4
    hidden[0] = True
    softmax = masked_softmax(scores.masked_fill(hidden, -torch.inf))
    expected = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1).nan_to_num(nan=0.0)
    assert_close(softmax.probabilities, expected)
    assert (softmax.row_maximum[0], softmax.denominator[0]) == (-torch.inf, 0)


def test_half_precision_is_taken_in_float32():
    scores = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.bfloat16)
    assert_close(masked_softmax(scores).probabilities, scores.softmax(dim=-1, dtype=torch.float32))
