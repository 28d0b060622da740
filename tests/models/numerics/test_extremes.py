"""Numbers at the ends of float32, empty rows and NaN: what functions give where no page leads."""

import math

import pytest
import torch

from models.attention.depth import rank_one_residual
from models.attention.softmax import cosine_attention_logits, log_sum_exp
from models.errors import InputError
from models.quantization.error import decibels
from models.quantization.integers import check_finite


def test_a_sum_that_overflows_is_no_infinite_value():
    check_finite(torch.tensor([[3e38, 3e38]]))
    for wrong in (math.nan, math.inf):
        with pytest.raises(InputError, match="NaN or infinity"):
            check_finite(torch.tensor([[1.0, wrong]]))


def test_decibels_of_infinite_noise():
    assert decibels(1.0, math.inf) == -math.inf
    assert math.isnan(decibels(math.inf, math.inf))
    assert decibels(100.0, 1.0) == 20.0


def test_a_sum_over_no_logits_is_minus_infinity():
    empty = torch.zeros(3, 0)
    assert torch.equal(log_sum_exp(empty), torch.logsumexp(empty, dim=-1))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e25])
def test_cosines_do_not_depend_on_the_length(size):
    query, key = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    found = cosine_attention_logits(query * size, key * size)
    torch.testing.assert_close(found, torch.tensor([[0.96]]))
    assert cosine_attention_logits(torch.zeros(1, 2), key).item() == 0


def test_what_is_not_finite_has_no_rank_one_residual():
    assert math.isnan(rank_one_residual(torch.tensor([[1.0, math.nan]])))
