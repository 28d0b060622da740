"""KL estimators: torch's own divergences and gradients, published ratios, and what is unbiased."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, kl_divergence
from torch.testing import assert_close

from models.errors import InputError
from models.policy.kl_estimators import (
    PLACES,
    exact_kl,
    gradient_of,
    log_policy,
    pair,
    running_means,
    sample_gradients,
    true_gradients,
    value_of,
)
from models.policy.losses import ESTIMATORS, kl_terms

PAIRS = st.builds(pair, st.integers(2, 12), st.floats(0, 2), st.integers(0, 1_000))


def divergence(logits, reference):
    return kl_divergence(Categorical(logits=logits), Categorical(logits=reference))


@given(PAIRS)
def test_the_exact_value_is_torchs_and_k1_and_k3_hit_it_on_average(logits_of):
    expected = float(divergence(*logits_of))
    assert exact_kl(*logits_of) == pytest.approx(expected, abs=1e-9)
    for estimator in ("k1", "k3"):
        assert value_of(*logits_of, estimator).mean == pytest.approx(expected, abs=1e-9)
    assert value_of(*logits_of, "k2").bias == pytest.approx(
        value_of(*logits_of, "k2").mean - expected, abs=1e-9
    )


@given(PAIRS)
def test_true_gradients_are_those_of_autograd(logits_of):
    logits, reference = logits_of[0].clone().requires_grad_(), logits_of[1]
    expected = [
        torch.autograd.grad(value, logits)[0]
        for value in (divergence(logits, reference), divergence(reference, logits))
    ]
    assert_close(list(true_gradients(*logits_of)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(logits_of=PAIRS)
def test_each_samples_gradient_is_autograds(estimator, logits_of):
    """The estimate of one outcome, differentiated through ln π(x) by torch."""
    logits, reference = logits_of[0].clone().requires_grad_(), logits_of[1]
    for outcome in range(len(reference)):
        log_p = Categorical(logits=logits).log_prob(torch.tensor(outcome))
        log_r = Categorical(logits=reference).log_prob(torch.tensor(outcome))
        value = kl_terms(log_p, log_r, estimator)
        ratio = torch.exp(log_p - log_p.detach())
        for place, scalar in zip(PLACES, (value, ratio * value, value.detach() * log_p), strict=True):
            (expected,) = torch.autograd.grad(scalar, logits, retain_graph=True)
            found = sample_gradients(*logits_of, estimator, place)[outcome]
            assert_close(found, expected)


@given(PAIRS)
def test_which_gradient_points_where(logits_of):
    """In the loss k1 has none, k2 the KL's, k3 that of the other KL; the ratio mends k1 and k3."""
    scale = 1e-9
    assert gradient_of(*logits_of, "k1", "loss").mean.norm() < scale
    assert gradient_of(*logits_of, "k2", "loss").error < scale
    assert gradient_of(*logits_of, "k3", "loss").reverse_error < scale
    assert gradient_of(*logits_of, "k1", "loss_corrected").error < scale
    assert gradient_of(*logits_of, "k3", "loss_corrected").error < scale
    assert gradient_of(*logits_of, "k1", "reward").error < scale


def test_at_a_distance_k3_in_the_loss_and_in_the_reward_miss():
    logits, reference = pair(6, 1.0, 0)
    length = float(true_gradients(logits, reference)[0].norm())
    for wrong in (("k3", "loss"), ("k2", "reward"), ("k2", "loss_corrected")):
        assert gradient_of(logits, reference, *wrong).error > 0.2 * length


@pytest.mark.parametrize(
    ("shift", "expected"), [(0.1, (20.0, 1.418, 1.417)), (1.0, (2.0, math.sqrt(3), 1.695))]
)
def test_two_normal_policies_have_the_published_deviations(shift, expected):
    """N(0, 1) against N(μ, 1), on a fine grid: deviations over the KL, and k2's bias μ²/4."""
    grid = torch.linspace(-9, 9, 4_001, dtype=torch.float64)
    log_p, log_r = -(grid**2) / 2, -((grid - shift) ** 2) / 2
    p = log_p.softmax(0)
    log_p, log_r = log_p.log_softmax(0), log_r.log_softmax(0)
    true = shift**2 / 2
    for estimator, ratio in zip(ESTIMATORS, expected, strict=True):
        terms = kl_terms(log_p, log_r, estimator)
        mean = (p * terms).sum()
        deviation = ((p * (terms - mean) ** 2).sum()).sqrt() / true
        assert float(deviation) == pytest.approx(ratio, rel=2e-3)
        if estimator == "k2":
            bias = float(mean) / true - 1
            assert bias == pytest.approx(shift**2 / 4, rel=1e-3)


@given(PAIRS, st.integers(0, 100))
def test_running_means_end_at_the_mean_of_the_samples(logits_of, seed):
    found = running_means(*logits_of, samples=50, seed=seed)
    again = running_means(*logits_of, samples=50, seed=seed)
    for estimator in ESTIMATORS:
        assert torch.equal(found[estimator], again[estimator])
        terms = kl_terms(log_policy(logits_of[0]), log_policy(logits_of[1]), estimator)
        assert terms.min() - 1e-9 <= found[estimator][-1] <= terms.max() + 1e-9


def test_running_means_come_to_the_truth():
    logits_of = pair(5, 0.7, 3)
    found = running_means(*logits_of, samples=40_000, seed=0)
    for estimator in ESTIMATORS:
        exact = value_of(*logits_of, estimator)
        assert abs(float(found[estimator][-1]) - exact.mean) < 5 * exact.deviation / 200


@pytest.mark.parametrize("logits", [[1.0], [0.0] * 65, [0.0, float("nan")], [0.0, float("inf")]])
def test_what_is_no_policy_is_refused(logits):
    with pytest.raises(InputError):
        log_policy(torch.tensor(logits))
