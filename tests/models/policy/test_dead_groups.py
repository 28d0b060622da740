"""Dead groups: torch's binomial distribution, simulation, and the two ways over Beta prompts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Beta, Binomial
from torch.testing import assert_close

from models.errors import InputError
from models.policy.dead_groups import dead_share, deadness, expected_signal, mixture
from models.policy.group_advantages import advantages, is_dead

RATES = torch.tensor([0.0, 0.01, 0.3, 0.5, 0.9, 1.0], dtype=torch.float64)


@given(st.integers(2, 64))
def test_it_is_torchs_binomial(answers):
    inner = RATES[1:-1]
    ways = Binomial(answers, probs=inner)
    found = deadness(inner, answers)
    zero = torch.zeros(len(inner), dtype=torch.float64)
    assert_close(found.all_wrong, ways.log_prob(zero).exp())
    assert_close(found.all_right, ways.log_prob(zero + answers).exp())
    assert_close(found.alive + found.dead, torch.ones_like(inner))


def test_what_is_always_right_or_always_wrong_never_teaches():
    found = deadness(RATES, 8)
    assert found.draws[[0, -1]].isinf().all()
    assert found.dead[[0, -1]].tolist() == [1, 1]


def test_a_simulation_finds_the_same_share_and_the_same_signal():
    generator = torch.Generator().manual_seed(0)
    rewards = (torch.rand(20_000, 4, generator=generator) < 0.3).double()
    expected = deadness(torch.tensor([0.3], dtype=torch.float64), 4)
    groups = 1_000
    dead, signal = [], []
    for part in rewards.split(groups):
        dead.append(is_dead(part).double().mean())
        signal.append(advantages(part).abs().mean())
    assert float(torch.stack(dead).mean()) == pytest.approx(float(expected.dead[0]), abs=0.015)
    found = expected_signal(torch.tensor([0.3], dtype=torch.float64), 4)
    assert float(torch.stack(signal).mean()) == pytest.approx(float(found[0]), abs=0.01)


@given(st.integers(2, 40))
def test_the_signal_is_the_binomials_mean_of_grpos_advantages(answers):
    rate = torch.tensor([0.35], dtype=torch.float64)
    right = torch.arange(1, answers)
    rows = (torch.arange(answers) < right[:, None]).double()
    sizes = advantages(rows).abs().mean(dim=1)
    log_p = Binomial(answers, probs=rate).log_prob(right.double())
    assert float(expected_signal(rate, answers)[0]) == pytest.approx(
        float((log_p.exp() * sizes).sum()), rel=2e-3
    )


@given(st.floats(0.1, 0.9), st.floats(0.1, 0.4), st.integers(2, 16))
def test_the_closed_form_is_the_integral_over_the_beta_distribution(mean, spread, answers):
    size = 1 / spread - 1
    rates, weights = mixture(mean, spread, 4_001)
    beta = Beta(torch.tensor(mean * size).double(), torch.tensor((1 - mean) * size).double())
    if mean * size > 1.2 and (1 - mean) * size > 1.2:  # a density that a grid can follow
        assert_close(weights * 4_001, beta.log_prob(rates).exp(), rtol=2e-3, atol=2e-3)
        by_grid = deadness(rates, answers)
        wrong, right = dead_share(mean, spread, answers)
        assert wrong == pytest.approx(float(weights @ by_grid.all_wrong), abs=1e-3)
        assert right == pytest.approx(float(weights @ by_grid.all_right), abs=1e-3)


@given(st.floats(0.05, 0.95), st.integers(2, 32))
def test_prompts_that_differ_leave_more_groups_dead(mean, answers):
    """Jensen: the spread of pass rates can only add dead groups."""
    alike = deadness(torch.tensor([mean], dtype=torch.float64), answers)
    assert sum(dead_share(mean, 0.3, answers)) >= float(alike.dead[0]) - 1e-9


@pytest.mark.parametrize(
    "call",
    [
        lambda: deadness(RATES, 1),
        lambda: deadness(torch.tensor([1.2]), 4),
        lambda: deadness(torch.tensor([float("nan")]), 4),
        lambda: deadness(RATES, 100_000),
        lambda: mixture(0.0, 0.5),
        lambda: dead_share(0.5, 1.0, 4),
    ],
)
def test_what_is_no_group_is_refused(call):
    with pytest.raises(InputError):
        call()
