"""Tokens made to order, checked by transformers' own loss; all measures against each alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from models.errors import InputError
from models.moe.balance import expert_level_loss, expert_load, load_balancing_loss, max_violation
from models.moe.lab import (
    collapsing_layers,
    groups_used,
    measure,
    probability_range,
    skewed_logits,
    tokens_to_order,
)
from models.moe.routers import Grouping, sigmoid_routing, softmax_routing


@given(st.integers(1, 60), st.sampled_from([4, 8, 16]), st.integers(1, 4), st.floats(0, 3))
def test_all_measures_are_those_taken_alone(tokens, experts, chosen, skew):
    routing = sigmoid_routing(skewed_logits(tokens, experts, skew, seed=2), chosen)
    found = measure(routing, groups=4)
    load = expert_load(routing.chosen, experts)
    assert_close(found.load, load)
    assert found.max_violation == pytest.approx(float(max_violation(load)))
    assert found.loss == pytest.approx(float(expert_level_loss(routing.scores, routing.chosen)), rel=1e-4)
    assert_close(found.group_load, load.view(4, -1).sum(1))
    assert_close(found.together.diagonal(), load)
    assert float(found.probability.sum()) == pytest.approx(1, abs=1e-5)
    assert 1 <= found.effective_experts <= experts + 1e-3


def test_skew_makes_load_uneven():
    spread = [
        measure(sigmoid_routing(skewed_logits(2_000, 32, skew, 0), 4)).max_violation for skew in (0.0, 2.0)
    ]
    assert spread[0] < 0.25 < 1 < spread[1]


@given(st.integers(1, 4))
def test_a_token_of_m_groups_stands_on_no_more(kept):
    routing = sigmoid_routing(skewed_logits(300, 32, 0.5, 1), 4, grouping=Grouping(8, kept))
    used = groups_used(routing, 8)
    assert 1 <= used <= kept
    by_hand = [len({int(expert) // 4 for expert in row}) for row in routing.chosen]
    assert used == pytest.approx(sum(by_hand) / len(by_hand))


@given(st.integers(0, 100), st.floats(0, 1), st.sampled_from([(2, 1), (4, 1), (8, 2), (6, 3)]))
def test_tokens_to_order_have_the_share_and_the_probability(hundredths, wanted, shape):
    experts, chosen = shape
    share = hundredths / 100
    low, high = probability_range(share, experts, chosen)
    probability = low + (0.01 + 0.98 * wanted) * (high - low)
    rows = tokens_to_order(share, probability, experts, chosen)
    assert_close(rows.sum(1), torch.ones(len(rows)))
    assert float(rows.mean(0)[0]) == pytest.approx(probability, abs=1e-5)
    assert_close(rows.mean(0)[1:], torch.full((experts - 1,), (1 - probability) / (experts - 1)))
    logits = rows.clamp(min=1e-30).log()
    routing = softmax_routing(logits, chosen)
    assert float(expert_load(routing.chosen, experts)[0] / len(rows)) == pytest.approx(share, abs=1e-6)
    fraction = torch.tensor([share, *[(chosen - share) / (experts - 1)] * (experts - 1)])
    ours = load_balancing_loss(fraction, rows.mean(0), "transformers", chosen)
    theirs = load_balancing_loss_func((logits,), experts, chosen)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)


def test_pooled_layers_look_balanced_while_each_has_collapsed():
    """Four layers, eight experts, two chosen: pooled 2.0, which is balance; each alone 8.0."""
    layers = collapsing_layers(4, 8, 2, 1.0, 50, 0)
    assert float(load_balancing_loss_func(tuple(layers), 8, 2)) == pytest.approx(2.0, abs=1e-3)
    for layer in layers:
        assert float(load_balancing_loss_func((layer,), 8, 2)) == pytest.approx(8.0, abs=1e-3)
    free = collapsing_layers(4, 8, 2, 0.0, 4_000, 0)
    assert float(load_balancing_loss_func((free[0],), 8, 2)) == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: skewed_logits(0, 4, 0.0, 0),
        lambda: skewed_logits(2**20, 256, 0.0, 0),
        lambda: tokens_to_order(0.2, 0.9, 4, 1),
        lambda: tokens_to_order(0.5, 0.5, 2, 2),
        lambda: collapsing_layers(0, 4, 1, 0.5, 10, 0),
        lambda: measure(softmax_routing(torch.zeros(2, 6), 1), groups=4),
    ],
)
def test_bad_input_is_refused(refused):
    with pytest.raises(InputError):
        refused()
