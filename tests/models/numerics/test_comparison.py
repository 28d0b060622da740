"""models.numerics.comparison against torch's own comparison."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from models.errors import InputError
from models.numerics.comparison import largest_difference


class TestLargestDifference:
    @settings(deadline=None)
    @given(st.integers(0, 2**31), st.floats(0, 10))
    def test_is_the_tolerance_that_assert_close_needs(self, seed, size):
        generator = torch.Generator().manual_seed(seed)
        a = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        b = a + size * torch.randn(3, 4, generator=generator, dtype=torch.float64)
        difference = largest_difference(a, b)
        assert_close(a, b, rtol=0, atol=difference)
        assert difference == (a - b).abs().max().item() == largest_difference(b, a)
        if difference > 0:
            with pytest.raises(AssertionError):
                assert_close(a, b, rtol=0, atol=difference * 0.999)

    def test_infinities_and_nan(self):
        inf, nan = torch.tensor([1.0, torch.inf]), torch.tensor([1.0, torch.nan])
        assert largest_difference(inf, inf) == 0.0
        assert largest_difference(inf, -inf) == math.inf
        assert largest_difference(inf, torch.tensor([1.0, 3.0])) == math.inf
        assert largest_difference(nan, nan) == math.inf
        assert largest_difference(inf, torch.tensor([1.5, torch.inf])) == 0.5

    def test_precisions_may_differ_and_shapes_may_not(self):
        assert largest_difference(torch.ones(2, dtype=torch.bfloat16), torch.ones(2) * 1.25) == 0.25
        assert largest_difference(torch.ones(0), torch.ones(0)) == 0.0
        with pytest.raises(InputError, match="must be the same"):
            largest_difference(torch.ones(2), torch.ones(1, 2))
