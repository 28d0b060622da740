"""models.attention.depth against torch.distributions and NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical
from torch.testing import assert_close

from models.attention.depth import attention_entropy, causal_rank, rank_one_residual
from models.errors import InputError

seeds = st.integers(0, 2**31)


def random_matrix(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def causal_weights(tokens, seed, sharpness=1.0):
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(diagonal=1)
    return (sharpness * random_matrix(tokens, tokens, seed)).masked_fill(future, -torch.inf).softmax(dim=-1)


class TestEntropy:
    @settings(deadline=None)
    @given(st.integers(1, 8), st.integers(1, 8), st.floats(0, 30), seeds)
    def test_is_that_of_torch_distributions(self, queries, keys, sharpness, seed):
        p = (sharpness * random_matrix(queries, keys, seed)).softmax(dim=-1)
        assert_close(attention_entropy(p), Categorical(probs=p).entropy(), atol=1e-9, rtol=1e-7)
        assert (attention_entropy(p) >= 0).all()
        assert (attention_entropy(p) <= math.log(keys) + 1e-12).all()

    def test_limits(self):
        rows = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
        assert_close(attention_entropy(rows), torch.tensor([0.0, math.log(4)]))


class TestRankOneResidual:
    @settings(deadline=None)
    @given(st.integers(1, 12), st.integers(1, 12), seeds)
    def test_best_is_the_distance_that_numpy_finds(self, rows, columns, seed):
        hidden = random_matrix(rows, columns, seed)
        u, s, vh = np.linalg.svd(hidden.numpy(), full_matrices=False)
        nearest = s[0] * np.outer(u[:, 0], vh[0])
        expected = np.linalg.norm(hidden.numpy() - nearest) / np.linalg.norm(hidden.numpy())
        assert math.isclose(rank_one_residual(hidden), expected, rel_tol=1e-9, abs_tol=1e-12)

    @settings(deadline=None)
    @given(st.integers(1, 12), st.integers(1, 12), seeds)
    def test_mean_is_the_root_of_the_unexplained_variance(self, rows, columns, seed):
        hidden = random_matrix(rows, columns, seed)
        expected = np.sqrt(hidden.numpy().var(axis=0).sum() / (hidden.numpy() ** 2).mean(axis=0).sum())
        mean = rank_one_residual(hidden, "mean")
        assert math.isclose(mean, expected, rel_tol=1e-9, abs_tol=1e-12)
        assert 0 <= rank_one_residual(hidden, "best") <= mean + 1e-12

    @settings(deadline=None)
    @given(st.integers(2, 8), st.integers(2, 8), st.floats(0.1, 1e3), seeds)
    def test_no_other_vector_for_all_tokens_is_nearer_than_the_mean(self, rows, columns, size, seed):
        hidden = random_matrix(rows, columns, seed)
        other = hidden.mean(dim=0) + size * random_matrix(1, columns, seed + 1)
        distance = (torch.linalg.matrix_norm(hidden - other) / torch.linalg.matrix_norm(hidden)).item()
        assert rank_one_residual(hidden, "mean") <= distance

    def test_alike_tokens_scaled_tokens_and_zero(self):
        alike = torch.ones(5, 1) @ torch.tensor([[1.0, -2.0, 3.0]])
        scaled = torch.tensor([[1.0], [-1.0], [2.0]]) @ torch.tensor([[1.0, -2.0, 3.0]])
        assert rank_one_residual(alike, "mean") < 1e-15
        assert rank_one_residual(alike, "best") < 1e-15
        assert rank_one_residual(scaled, "best") < 1e-15
        assert rank_one_residual(scaled, "mean") > 0.5
        assert rank_one_residual(torch.zeros(3, 4)) == rank_one_residual(torch.zeros(3, 4), "mean") == 0.0

    @settings(deadline=None)
    @given(seeds)
    def test_attention_alone_brings_tokens_together_and_a_residual_holds_them_apart(self, seed):
        """Dong et al. 2021, in the least example: thirty layers of even attention."""
        hidden = random_matrix(6, 6, seed)
        attention = 0.5 * torch.eye(6, dtype=torch.float64) + 0.5 / 6
        alone, with_residual = hidden, hidden
        for layer in range(30):
            alone = attention @ alone
            with_residual = with_residual + 0.1 * random_matrix(6, 6, seed + layer) @ with_residual / 6
        assert rank_one_residual(alone, "mean") < 1e-6 * rank_one_residual(hidden, "mean") + 1e-8
        assert rank_one_residual(with_residual, "mean") > 1e-2


class TestCausalRank:
    @settings(deadline=None)
    @given(st.integers(1, 10), st.floats(0, 3), seeds)
    def test_determinant_and_rank_are_those_of_numpy(self, tokens, sharpness, seed):
        weights = causal_weights(tokens, seed, sharpness)
        result = causal_rank(weights)
        sign, log_determinant = np.linalg.slogdet(weights.numpy())
        assert sign == 1
        assert math.isclose(result.log_abs_determinant, log_determinant, rel_tol=1e-9, abs_tol=1e-9)
        assert result.rank == np.linalg.matrix_rank(weights.numpy())
        assert result.smallest_diagonal == weights.diagonal().min().item() > 0
        assert result.smallest_singular_value <= result.smallest_diagonal * (1 + 1e-9)
        assert result.size == tokens

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("size", [2, 7, 30])
    def test_the_tolerance_is_where_the_rank_of_torch_changes(self, size, dtype):
        weights = torch.eye(size, dtype=dtype)
        tolerance = causal_rank(weights).tolerance
        for factor, rank in [(0.99, size - 1), (1.01, size)]:
            weights[-1, -1] = factor * tolerance
            assert causal_rank(weights).rank == rank

    def test_a_head_that_looks_away_is_of_full_rank_on_paper_only(self):
        """All queries look at the first key; the diagonal is small and positive."""
        tokens = 40
        scores = torch.zeros(tokens, tokens)
        scores[:, 0] = 25.0
        future = torch.ones(tokens, tokens, dtype=torch.bool).triu(diagonal=1)
        weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
        result = causal_rank(weights)
        assert result.smallest_diagonal > 0
        assert math.isfinite(result.log_abs_determinant)
        assert result.rank < tokens  # in float32
        assert result.smallest_singular_value < result.tolerance
        assert causal_rank(weights.double()).rank == tokens  # the same numbers

    def test_half_precision_is_accepted(self):
        assert causal_rank(causal_weights(5, 0).to(torch.bfloat16)).rank == 5

    def test_matrices_that_are_not_causal(self):
        with pytest.raises(InputError, match="keys after the query"):
            causal_rank(torch.full((3, 3), 1 / 3))
        with pytest.raises(InputError, match="2 queries and 3 keys"):
            causal_rank(torch.full((2, 3), 1 / 3))
