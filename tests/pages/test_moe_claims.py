"""What the lesson on mixtures asserts, beside public cases, at several settings."""

import math

import pytest
import torch
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from models.moe.balance import (
    coefficient_of_variation,
    expert_level_loss,
    group_load,
    load_balancing_loss,
    max_violation,
    router_z_loss,
    updated_bias,
)
from models.moe.capacity import CapacityRule, dispatch, expert_capacity
from models.moe.routers import Grouping, score_kept, sigmoid_routing, softmax_routing


def logits(seed: int, tokens: int = 400, experts: int = 64) -> torch.Tensor:
    return torch.randn(tokens, experts, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("chosen", [1, 2, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_renormalising_is_a_softmax_over_the_chosen_and_without_it_weights_sum_below_1(seed, chosen):
    z = logits(seed)
    plain, divided = (softmax_routing(z, chosen, renormalise) for renormalise in (False, True))
    torch.testing.assert_close(divided.weights, z.topk(chosen).values.softmax(-1))
    assert (plain.weights.sum(-1) < 1).all()
    unsure = softmax_routing(z / 10, chosen, False).weights.sum(-1)
    assert (unsure < plain.weights.sum(-1)).float().mean() > 0.9  # an unsure router speaks more quietly


def test_combinations_of_finer_experts():
    assert math.comb(16, 2) == 120
    assert math.comb(64, 8) > 4e9


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_devices_are_never_less_even_than_their_experts(seed, devices):
    load = torch.rand(16, generator=torch.Generator().manual_seed(seed)) * 100
    grouped = group_load(load, devices)
    assert max_violation(grouped) <= max_violation(load)
    assert coefficient_of_variation(grouped) <= coefficient_of_variation(load)


@pytest.mark.parametrize("seed", [0, 3])
def test_four_of_eight_groups_keep_nearly_the_whole_score(seed):
    z = logits(seed, experts=256)
    free = sigmoid_routing(z, 8)
    kept = {
        groups: float(
            score_kept(free.scores, sigmoid_routing(z, 8, grouping=Grouping(8, groups)).chosen, free.chosen)
        )
        for groups in (1, 2, 4, 8)
    }
    assert kept[4] > 0.96
    assert kept[1] < kept[2] < kept[4] <= kept[8]
    assert kept[8] == pytest.approx(1)


@pytest.mark.parametrize("gap", [2.0, 50.0])
def test_the_z_loss_balances_nothing(gap):
    z = logits(4, 50, 8)
    assert router_z_loss(z + gap) != pytest.approx(float(router_z_loss(z)))
    assert torch.equal(softmax_routing(z + gap, 2).chosen, softmax_routing(z, 2).chosen)
    even = torch.zeros(50, 8)
    collapsed = torch.full((50, 8), -30.0)
    collapsed[:, :2] = 0.0
    assert float(router_z_loss(collapsed)) < float(router_z_loss(even))


@pytest.mark.parametrize("rate", [0.001, 0.2])
def test_the_bias_moves_by_its_rate_whatever_the_error(rate):
    load = torch.tensor([10.0, 2.0, 4.0, 4.0])
    made = updated_bias(torch.zeros(4), load, rate)
    assert made.tolist()[:2] == pytest.approx([-rate, rate])


@pytest.mark.parametrize("chosen", [1, 2, 4])
def test_the_loss_by_convention_at_balance(chosen):
    even, share = torch.full((8,), 1 / 8), torch.full((8,), chosen / 8)
    found = {name: float(load_balancing_loss(share, even, name, chosen)) for name in ("switch", "deepseek")}
    assert list(found.values()) == pytest.approx([1.0, 1.0])
    assert float(load_balancing_loss(share, even, "transformers", chosen)) == pytest.approx(chosen)


def test_an_even_probability_hides_any_load_and_the_balanced_value_is_no_minimum():
    even, uneven = torch.full((8,), 1 / 8), torch.tensor([0.9, *[0.1 / 7] * 7])
    assert float(load_balancing_loss(uneven, even, "switch", 1)) == pytest.approx(1.0)
    share, mean = torch.tensor([0.6, 0.4]), torch.tensor([0.31, 0.69])
    assert float(load_balancing_loss(share, mean, "switch", 1)) == pytest.approx(0.924)


def test_public_case_of_layers_that_collapse_on_other_experts():
    """transformers#28255, #31464: 2.0 and 2.0 layer by layer, 1.0 when pooled."""
    first, second = (torch.tensor([[9.0, -9.0]]).roll(k, dims=1).repeat(8, 1) for k in (0, 1))
    by_layer = [float(load_balancing_loss_func((z,), 2, 1)) for z in (first, second)]
    assert by_layer == pytest.approx([2.0, 2.0], abs=1e-4)
    assert float(load_balancing_loss_func((first, second), 2, 1)) == pytest.approx(1.0, abs=1e-4)
    for z in (first, second):
        routed = softmax_routing(z, 1)
        assert float(expert_level_loss(routed.scores, routed.chosen)) == pytest.approx(2.0, abs=1e-4)


def test_public_case_of_padding_in_the_balancing_loss():
    """transformers#28505, #28517: balanced tokens read 1.0; two padding tokens counted in, 1.25."""
    z = torch.tensor([[30.0, -30.0], [-30.0, 30.0], [30.0, -30.0], [30.0, -30.0]])
    tokens, padded = softmax_routing(z[:2], 1), softmax_routing(z, 1)
    assert float(expert_level_loss(tokens.scores, tokens.chosen)) == pytest.approx(1.0)
    assert float(expert_level_loss(padded.scores, padded.chosen)) == pytest.approx(1.25)
    theirs = load_balancing_loss_func((z,), 2, 1, attention_mask=torch.tensor([[1, 1, 0, 0]]))
    assert float(theirs) == pytest.approx(1.0)


def test_public_case_of_capacity():
    """fastmoe#34: 8 tokens, 4 experts, K = 1, factor 1: 2 places; all to one expert: 6 dropped."""
    assert expert_capacity(8, 4, 1, 1.0, "floor") == 2
    chosen = torch.zeros(1, 8, 1, dtype=torch.long)
    made = dispatch(chosen, torch.ones(1, 8, 1), 4, CapacityRule(1.0))
    assert made.capacity == 2
    assert int(made.dropped.sum()) == 6
    assert made.kept[0, :, 0].tolist() == [True] * 2 + [False] * 6  # by position, the last ones suffer


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 2.0])
def test_capacity_is_rounded_and_a_factor_of_0_drops_all(factor):
    routed = softmax_routing(logits(5, 60, 8), 2)
    rule = CapacityRule(factor)
    made = dispatch(routed.chosen[None], routed.weights[None], 8, rule)
    load = torch.bincount(routed.chosen.flatten(), minlength=8)
    assert int(made.kept.sum()) == int(load.clamp(max=made.capacity).sum())
    assert bool(made.kept.any()) == (factor > 0)
