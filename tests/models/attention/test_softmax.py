"""models.attention.softmax against torch's softmax, logsumexp and automatic differentiation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical
from torch.func import jacrev
from torch.nn import functional as F
from torch.testing import assert_close

from models.attention.softmax import (
    SoftmaxEdit,
    cosine_attention_logits,
    cosine_statistics,
    dot_product_statistics,
    dot_product_sweep,
    edited_softmax,
    jacobian_frobenius_norm,
    jacobian_spectral_norm,
    largest_cosine_weight,
    largest_safe_logit,
    log_sum_exp,
    logit_statistics,
    random_queries_and_keys,
    softmax_jacobian,
    softmax_steps,
)
from models.errors import InputError

seeds = st.integers(0, 2**31)
finite = st.floats(-50, 50)
logit_lists = st.lists(finite, min_size=1, max_size=8)
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def tensor(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


class TestSteps:
    @settings(deadline=None)
    @given(logit_lists, st.sampled_from(DTYPES))
    def test_stable_softmax_is_that_of_torch(self, logits, dtype):
        steps = softmax_steps(tensor(logits), dtype, stable=True)
        exact = tensor(logits).to(dtype).double().softmax(dim=-1)
        assert {part.dtype for part in vars(steps).values()} == {dtype}
        # subtraction of numbers up to 100 rounds by up to 100·eps/2, which exp turns into a factor
        tolerance = 60 * torch.finfo(dtype).eps
        assert_close(steps.probabilities.double(), exact, rtol=tolerance, atol=tolerance)
        assert steps.exponentials.max() == 1.0

    @settings(deadline=None)
    @given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
    def test_naive_and_stable_agree_on_small_logits(self, logits):
        naive, stable = (softmax_steps(tensor(logits), torch.float32, s) for s in (False, True))
        assert_close(naive.probabilities, stable.probabilities)
        assert_close(naive.shifted, tensor(logits).float())
        assert_close(naive.denominator, tensor(logits).float().exp().sum())

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_naive_softmax_overflows_where_it_is_said_to(self, dtype):
        limit = largest_safe_logit(dtype)
        below, above = (softmax_steps(tensor([limit + d, 0.0]), dtype, stable=False) for d in (-0.5, 0.5))
        assert below.exponentials.isfinite().all()
        assert below.probabilities.isfinite().all()
        assert above.exponentials[0] == torch.inf
        assert above.probabilities[0].isnan()
        assert softmax_steps(tensor([limit + 0.5, 0.0]), dtype, stable=True).probabilities.isfinite().all()

    def test_naive_softmax_of_very_negative_logits_is_zero_over_zero(self):
        logits = tensor([-200.0, -201.0])
        naive, stable = (softmax_steps(logits, torch.float32, s) for s in (False, True))
        assert naive.denominator == 0
        assert naive.probabilities.isnan().all()
        assert_close(stable.probabilities, logits.float().softmax(dim=-1))

    def test_limits_are_the_ones_in_the_text(self):
        assert [round(largest_safe_logit(dtype), 2) for dtype in DTYPES] == [11.09, 88.72, 88.72]

    @pytest.mark.parametrize("logits", [[], [1.0, math.nan]])
    def test_unusable_logits(self, logits):
        with pytest.raises(InputError, match="each must be a number"):
            softmax_steps(tensor(logits), torch.float32, stable=True)
        with pytest.raises(InputError, match="each must be a number"):
            edited_softmax(tensor(logits), SoftmaxEdit())


class TestLogSumExp:
    @settings(deadline=None)
    @given(st.lists(st.floats(-1e300, 1e300) | st.just(-math.inf), min_size=1, max_size=8))
    def test_is_that_of_torch(self, logits):
        assert_close(log_sum_exp(tensor(logits)), tensor(logits).logsumexp(dim=-1))

    def test_rows_and_infinities(self):
        rows = tensor([[1e4, 1e4], [-math.inf, -math.inf], [math.inf, 0.0], [-1e4, -1e4 + 1]])
        assert_close(log_sum_exp(rows), rows.logsumexp(dim=-1))


class TestEdit:
    @settings(deadline=None)
    @given(logit_lists, finite)
    def test_adding_a_number_changes_nothing(self, logits, shift):
        shifted = edited_softmax(tensor(logits), SoftmaxEdit(shift=shift))
        assert_close(shifted, tensor(logits).softmax(dim=-1))

    @settings(deadline=None)
    @given(logit_lists, st.floats(0.1, 10))
    def test_multiplying_is_dividing_by_a_temperature(self, logits, factor):
        multiplied = edited_softmax(tensor(logits), SoftmaxEdit(factor=factor))
        assert_close(multiplied, F.softmax(tensor(logits) * factor, dim=-1))
        assert_close(multiplied, edited_softmax(tensor(logits), SoftmaxEdit(temperature=1 / factor)))

    @settings(deadline=None)
    @given(logit_lists, st.floats(0.1, 5), st.floats(1.01, 5))
    def test_a_higher_temperature_has_more_entropy(self, logits, temperature, factor):
        cold, warm = (
            Categorical(probs=edited_softmax(tensor(logits), SoftmaxEdit(temperature=t))).entropy()
            for t in (temperature, temperature * factor)
        )
        assert warm >= cold - 1e-9

    @settings(deadline=None)
    @given(logit_lists, st.integers(1, 5))
    def test_a_second_softmax_flattens(self, logits, times):
        expected = tensor(logits)
        for _ in range(times):
            expected = F.softmax(expected, dim=-1)
        p = edited_softmax(tensor(logits), SoftmaxEdit(times=times))
        assert_close(p, expected)
        if times > 1:
            assert p.max() <= math.e * p.min() * (1 + 1e-12)

    def test_a_factor_of_zero_forgets_and_a_negative_one_reverses(self):
        logits = tensor([3.0, 1.0, -2.0])
        assert_close(edited_softmax(logits, SoftmaxEdit(factor=0.0)), tensor([1 / 3] * 3))
        assert edited_softmax(logits, SoftmaxEdit(factor=-1.0)).argmax() == 2

    @pytest.mark.parametrize(
        ("edit", "sentence"),
        [
            ({"temperature": 0.0}, "must be above 0"),
            ({"temperature": -1.0}, "must be above 0"),
            ({"temperature": math.nan}, "finite numbers"),
            ({"shift": math.inf}, "finite numbers"),
            ({"times": 0}, "once to 100 times"),
            ({"times": 101}, "once to 100 times"),
        ],
    )
    def test_edits_that_are_not_accepted(self, edit, sentence):
        with pytest.raises(InputError, match=sentence):
            SoftmaxEdit(**edit)


class TestJacobian:
    @settings(deadline=None)
    @given(logit_lists)
    def test_is_that_of_automatic_differentiation(self, logits):
        z = tensor(logits)
        jacobian = jacrev(lambda z: z.softmax(dim=-1))(z)
        p = z.softmax(dim=-1)
        assert_close(softmax_jacobian(p), jacobian)
        assert math.isclose(
            jacobian_frobenius_norm(p), torch.linalg.matrix_norm(jacobian), rel_tol=1e-6, abs_tol=1e-7
        )
        spectral = jacobian_spectral_norm(p)
        assert_close(spectral, torch.linalg.matrix_norm(jacobian, ord=2), atol=1e-9, rtol=1e-9)
        assert spectral <= 0.5 + 1e-12

    def test_rows_and_the_largest_spectral_norm(self):
        p = tensor([[0.5, 0.5], [1.0, 0.0]])
        assert_close(jacobian_spectral_norm(p), tensor([0.5, 0.0]))
        assert_close(jacobian_frobenius_norm(p), tensor([0.5, 0.0]))
        assert softmax_jacobian(p).shape == (2, 2, 2)

    @settings(deadline=None)
    @given(logit_lists)
    def test_rows_sum_to_zero_as_a_common_shift_changes_nothing(self, logits):
        jacobian = softmax_jacobian(tensor(logits).softmax(dim=-1))
        assert jacobian.sum(dim=-1).abs().max() < 1e-12


class TestDotProducts:
    @settings(deadline=None)
    @given(
        st.integers(1, 200), st.integers(1, 20), st.integers(1, 20), st.sampled_from([0.0, 0.5, 1.0]), seeds
    )
    def test_statistics_are_those_of_torch_attention(self, width, samples, keys, exponent, seed):
        statistics = dot_product_statistics(width, samples, keys, exponent, seed)
        query, key = random_queries_and_keys(width, samples, keys, seed)
        # with the identity as values, the output of attention is its weights
        weights = F.scaled_dot_product_attention(
            query.double(), key.double(), torch.eye(keys).double(), scale=width**-exponent
        )
        jacobian = jacrev(lambda z: z.softmax(dim=-1))
        norms = torch.stack(
            [torch.linalg.matrix_norm(jacobian(row.double())) for row in statistics.products]
        )
        # products are float32: their rounding is up to 1e-4 where they reach hundreds
        close = {"rel_tol": 1e-3, "abs_tol": 1e-4}
        assert math.isclose(statistics.largest_weight, weights.max(dim=-1).values.mean(), **close)
        assert math.isclose(statistics.entropy, Categorical(probs=weights).entropy().mean(), **close)
        assert math.isclose(statistics.gradient_norm, norms.mean(), rel_tol=1e-6, abs_tol=1e-7)
        middle = norms.quantile(0.5)
        assert math.isclose(statistics.median_gradient_norm, middle, rel_tol=1e-6, abs_tol=1e-7)
        assert math.isclose(statistics.mean, statistics.products.mean(), rel_tol=1e-6)
        saturated = [row.max().item() > 0.99 for row in F.softmax(statistics.products.double(), dim=-1)]
        assert math.isclose(statistics.saturated, sum(saturated) / samples)

    @pytest.mark.parametrize("width", [1, 16, 64, 512, 2048])
    def test_the_variance_is_the_width_and_scaling_makes_it_one(self, width):
        plain, scaled = (dot_product_statistics(width, 2048, 2048, p, seed=3) for p in (0.0, 0.5))
        # the variance of the estimate is about 2/2048 + 2/2048 over the width, for queries and keys
        tolerance = 5 * math.sqrt(4 / (2048 * width)) + 0.005
        assert abs(plain.variance / width - 1) < tolerance
        assert abs(scaled.variance - 1) < tolerance
        assert abs(scaled.mean) < 5 / math.sqrt(2048)

    def test_without_scaling_softmax_saturates_and_its_gradient_vanishes(self):
        plain, scaled = (dot_product_statistics(512, 256, 64, p, seed=0) for p in (0.0, 0.5))
        assert plain.largest_weight > 0.9
        assert scaled.largest_weight < 0.2
        assert plain.gradient_norm < 0.6 * scaled.gradient_norm
        assert plain.median_gradient_norm < 0.05 * scaled.median_gradient_norm
        assert scaled.saturated == 0.0 < 0.5 < plain.saturated
        assert plain.entropy < 0.3 < 3 < scaled.entropy

    @pytest.mark.parametrize("width", [1, 7, 64])
    def test_a_wider_head_keeps_the_components_of_a_narrower_one(self, width):
        narrow, wide = (random_queries_and_keys(w, 5, 6, seed=2) for w in (width, width + 3))
        for a, b in zip(narrow, wide, strict=True):
            assert_close(b[:, :width], a, rtol=0, atol=0)

    def test_sweep_holds_the_same_numbers(self):
        sweep = dot_product_sweep([2, 8, 32], (0.0, 0.5, 1.0), samples=20, keys=10, seed=4)
        assert sweep.widths.tolist() == [2, 8, 32]
        one = dot_product_statistics(8, 20, 10, 0.5, seed=4)
        names = set(vars(sweep)) - {"widths", "exponents"}
        assert len(names) == 6
        for name in names:
            assert getattr(sweep, name).shape == (3, 3)
            assert math.isclose(getattr(sweep, name)[1, 1].item(), getattr(one, name), rel_tol=1e-6)

    def test_one_number_has_no_variance(self):
        assert math.isnan(logit_statistics(torch.zeros(1, 1)).variance)

    @pytest.mark.parametrize("sizes", [(0, 4, 4), (8193, 4, 4), (4, 0, 4), (4, 4, 0), (4, 4097, 4)])
    def test_sizes_that_are_not_accepted(self, sizes):
        with pytest.raises(InputError, match="1 to 8192 dimensions"):
            dot_product_statistics(*sizes, exponent=0.5, seed=0)


class TestCosine:
    @settings(deadline=None)
    @given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20), seeds)
    def test_is_the_cosine_similarity_of_torch(self, queries, keys, width, seed):
        query, key = random_queries_and_keys(width, queries, keys, seed)
        query, key = query.double(), key.double()
        logits = cosine_attention_logits(query, key)
        assert_close(logits, F.cosine_similarity(query[:, None], key[None], dim=-1, eps=1e-300))
        assert logits.abs().max() <= 1

    @settings(deadline=None)
    @given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20), seeds, st.floats(1e-3, 1e3))
    def test_lengths_do_not_count_and_no_weight_exceeds_the_bound(self, queries, keys, width, seed, length):
        query, key = random_queries_and_keys(width, queries, keys, seed)
        logits = cosine_attention_logits(length * query, key)
        assert_close(logits, cosine_attention_logits(query, key))
        assert logits.double().softmax(dim=-1).max() <= largest_cosine_weight(keys) + 1e-12

    @pytest.mark.parametrize(("keys", "scale"), [(1, 1.0), (2, 1.0), (64, 1.0), (64, 10.0)])
    def test_the_bound_is_reached_by_one_key_along_and_all_others_against(self, keys, scale):
        query = tensor([[3.0, 4.0]])
        key = -query.repeat(keys, 1)
        key[0] *= -1
        weights = F.softmax(scale * cosine_attention_logits(query, key), dim=-1)
        assert math.isclose(weights.max(), largest_cosine_weight(keys, scale))

    def test_a_zero_vector_is_like_nothing(self):
        logits = cosine_attention_logits(torch.zeros(1, 3), torch.ones(2, 3))
        assert_close(logits, torch.zeros(1, 2))

    def test_the_variance_of_random_cosines_is_one_over_the_width(self):
        statistics = cosine_statistics(64, 1024, 1024, seed=0)
        assert abs(64 * statistics.variance - 1) < 0.02
        assert statistics.largest_weight < largest_cosine_weight(1024)

    def test_no_key(self):
        with pytest.raises(InputError, match="at least one is needed"):
            largest_cosine_weight(0)
