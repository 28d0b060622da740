"""models.moe.balance against transformers' losses, scipy-free definitions, and golden values."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
from transformers.models.switch_transformers.modeling_switch_transformers import (
    load_balancing_loss_func as switch_loss,
)
from transformers.models.switch_transformers.modeling_switch_transformers import router_z_loss_func

from models.errors import InputError
from models.moe.balance import (
    balanced_value,
    coefficient_of_variation,
    device_level_loss,
    effective_experts,
    expert_level_loss,
    expert_load,
    group_load,
    load_balancing_loss,
    max_violation,
    mean_score,
    router_z_loss,
    sequence_level_loss,
    updated_bias,
)
from models.moe.routers import softmax_routing

sizes = st.tuples(st.integers(1, 40), st.integers(2, 12), st.integers(0, 2**31))


def logits_of(size) -> torch.Tensor:
    tokens, experts, seed = size
    return 2 * torch.randn(tokens, experts, generator=torch.Generator().manual_seed(seed))


@given(sizes, st.data())
def test_the_loss_of_transformers(size, data):
    logits = logits_of(size)
    chosen = data.draw(st.integers(1, size[1]))
    routing = softmax_routing(logits, chosen)
    share = expert_load(routing.chosen, size[1]) / size[0]
    ours = load_balancing_loss(share, mean_score(routing.scores), "transformers", chosen)
    assert_close(ours, load_balancing_loss_func((logits,), size[1], chosen), rtol=1e-5, atol=1e-5)
    deepseek = load_balancing_loss(share, mean_score(routing.scores), "deepseek", chosen)
    assert_close(deepseek, expert_level_loss(routing.scores, routing.chosen), rtol=1e-5, atol=1e-5)
    assert_close(ours, deepseek * chosen)


@given(sizes)
def test_the_loss_of_switch(size):
    probabilities = logits_of(size).softmax(-1)
    chosen = probabilities.argmax(-1)
    share = expert_load(chosen[:, None], size[1]) / size[0]
    ours = load_balancing_loss(share, mean_score(probabilities), "switch", 1)
    assert_close(ours, switch_loss(probabilities[None], chosen[None]), rtol=1e-5, atol=1e-5)


@given(sizes)
def test_z_loss_is_that_of_transformers(size):
    logits = logits_of(size)
    assert_close(router_z_loss(logits), router_z_loss_func(logits[None]))
    assert_close(router_z_loss(torch.zeros(3, 7)), torch.tensor(math.log(7) ** 2))


@given(sizes, st.data())
def test_every_loss_is_one_at_balance(size, data):
    """Each token takes the next K experts in turn, with even scores: balance to the last token."""
    _tokens, experts, _seed = size
    chosen = data.draw(st.integers(1, experts))
    routes = (torch.arange(experts)[:, None] + torch.arange(chosen)) % experts
    scores = torch.full((experts, experts), 0.3)
    assert_close(expert_level_loss(scores, routes), torch.tensor(1.0))
    assert_close(sequence_level_loss(scores[None], routes[None]), torch.tensor(1.0))
    for devices in (d for d in range(1, experts + 1) if experts % d == 0):
        assert_close(device_level_loss(scores, routes, devices), torch.tensor(1.0))
    share = torch.full((experts,), chosen / experts)
    for convention in ("switch", "deepseek", "transformers"):
        value = load_balancing_loss(share, torch.full((experts,), 1 / experts), convention, chosen)
        assert float(value) == pytest.approx(balanced_value(convention, chosen))


@given(sizes)
def test_the_sequence_loss_is_the_mean_of_its_sequences_and_one_device_is_always_balanced(size):
    logits = logits_of(size)
    routing = softmax_routing(logits, 1)
    doubled = torch.stack([routing.scores, routing.scores.flip(1)])
    routes = torch.stack([routing.chosen, size[1] - 1 - routing.chosen])  # experts renamed: same loss
    alone = expert_level_loss(routing.scores, routing.chosen)
    assert_close(sequence_level_loss(doubled, routes), alone, rtol=1e-4, atol=1e-5)
    assert_close(device_level_loss(routing.scores, routing.chosen, 1), torch.tensor(1.0))
    assert_close(device_level_loss(routing.scores, routing.chosen, size[1]), alone, rtol=1e-4, atol=1e-5)


def test_golden_values():
    """Reference figures: 1 is no floor; an even P gives the balanced value whatever f is."""
    share, probability = torch.tensor([0.6, 0.4]), torch.tensor([0.31, 0.69])
    assert float(load_balancing_loss(share, probability, "switch", 1)) == pytest.approx(0.924)
    uneven = torch.tensor([2.0, 0.0, 0.0, 0.0])
    assert float(load_balancing_loss(uneven, torch.full((4,), 0.25), "transformers", 2)) == 2.0
    collapsed = torch.zeros(10, 8).index_fill(1, torch.tensor([0, 1]), 1.0).log()
    assert float(load_balancing_loss_func((collapsed,), 8, 2)) == pytest.approx(8.0)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=16))
def test_measures_of_a_load(counts):
    load = torch.tensor(counts, dtype=torch.float32)
    entropy = torch.distributions.Categorical(probs=load + 1e-30).entropy() if load.sum() > 0 else 0
    assert float(effective_experts(load)) == pytest.approx(math.exp(float(entropy)), rel=1e-3)
    mean = sum(counts) / len(counts)
    expected = max(counts) / mean - 1 if mean else 0.0
    assert float(max_violation(load)) == pytest.approx(expected, abs=1e-5)
    deviation = float(load.double().std(correction=0)) / mean if mean else 0.0
    assert float(coefficient_of_variation(load)) == pytest.approx(deviation, abs=1e-5)
    assert_close(max_violation(torch.stack([load, load])), max_violation(load).expand(2))


def test_extremes_of_the_measures():
    even, one = torch.full((8,), 5.0), torch.eye(8)[2] * 40
    assert (max_violation(even), effective_experts(even)) == (0, pytest.approx(8))
    assert (max_violation(one), effective_experts(one)) == (7, 1)
    assert float(coefficient_of_variation(one)) == pytest.approx(math.sqrt(7))


@given(st.lists(st.integers(0, 11), min_size=1, max_size=60))
def test_load_counts_and_groups_add_up(routes):
    load = expert_load(torch.tensor(routes)[:, None], 12)
    assert load.tolist() == [routes.count(expert) for expert in range(12)]
    assert group_load(load, 4).tolist() == load.view(4, 3).sum(1).tolist()
    assert group_load(load, 12).tolist() == load.tolist()


@given(st.lists(st.integers(0, 90), min_size=2, max_size=9), st.floats(0, 1))
def test_the_bias_goes_against_the_error(counts, rate):
    load = torch.tensor(counts, dtype=torch.float32)
    bias = torch.zeros(len(counts))
    signs = updated_bias(bias, load, rate)
    assert_close(signs, rate * (load.mean() - load).sign())
    proportional = updated_bias(bias, load, rate, "proportional")
    assert_close(
        proportional, rate * (1 - load / load.mean().clamp(min=1)) if load.mean() >= 1 else proportional
    )
    assert ((proportional * signs) >= 0).all()
    assert torch.equal(updated_bias(bias, torch.full_like(load, 3.0), rate), bias)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: updated_bias(torch.zeros(2), torch.ones(2), -0.1),
        lambda: group_load(torch.ones(6), 4),
        lambda: device_level_loss(torch.ones(2, 6), torch.zeros(2, 1, dtype=torch.long), 0),
    ],
)
def test_bad_input_is_refused(refused):
    with pytest.raises(InputError):
        refused()
