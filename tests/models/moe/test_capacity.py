"""Capacity against transformers' Switch router, a plain loop, and the rule's own bounds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import SwitchTransformersConfig
from transformers.models.switch_transformers.modeling_switch_transformers import (
    SwitchTransformersTop1Router,
)

from models.errors import InputError
from models.moe.capacity import ORDERS, SCOPES, CapacityRule, dispatch, expert_capacity, place_in_line
from models.moe.routers import softmax_routing

shapes = st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(2, 6), st.integers(0, 999))


def routes_of(shape, chosen=2):
    sequences, tokens, experts, seed = shape
    logits = 2 * torch.randn(sequences * tokens, experts, generator=torch.Generator().manual_seed(seed))
    routing = softmax_routing(logits, chosen)
    return (part.view(sequences, tokens, chosen) for part in (routing.chosen, routing.weights))


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_switch_drops_by_position_within_each_sequence(capacity):
    """The router of transformers zeroes the rows that find no place."""
    config = SwitchTransformersConfig(d_model=8, num_experts=4, expert_capacity=capacity, router_bias=False)
    router = SwitchTransformersTop1Router(config).eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(router.classifier.weight)
    tokens = torch.randn(3, 20, 8)
    with torch.no_grad():
        outputs = router(tokens)
        logits = tokens @ router.classifier.weight.T
    assigned = next(part for part in outputs if part.shape == (3, 20, 4) and not part.is_floating_point())
    routing = softmax_routing(logits.flatten(0, 1), 1)
    rule = CapacityRule(capacity * 4 / 20, "floor", "position", "sequence")
    sent = dispatch(routing.chosen.view(3, 20, 1), routing.weights.view(3, 20, 1), 4, rule)
    assert sent.capacity == capacity
    assert torch.equal(sent.kept[..., 0], assigned.bool().any(-1))
    assert 0 < sent.dropped.sum() < 60 or capacity == 5


@given(shapes, st.floats(0, 2), st.sampled_from(ORDERS), st.sampled_from(SCOPES))
def test_no_expert_takes_more_than_its_capacity_and_none_has_room_for_what_is_dropped(
    shape, factor, order, scope
):
    chosen, weights = routes_of(shape)
    sequences, tokens, experts, _seed = shape
    sent = dispatch(chosen, weights, experts, CapacityRule(factor, "ceil", order, scope))
    groups = [(chosen, sent.kept)] if scope == "batch" else list(zip(chosen, sent.kept, strict=True))
    for routes, kept in groups:
        for expert in range(experts):
            wanted = int((routes == expert).sum())
            assert int(((routes == expert) & kept).sum()) == min(wanted, sent.capacity)
    size = sequences * tokens if scope == "batch" else tokens
    assert sent.capacity == expert_capacity(size, experts, 2, factor, "ceil")


@given(shapes, st.floats(0.2, 1.5))
def test_probability_keeps_the_largest_weights(shape, factor):
    chosen, weights = routes_of(shape)
    sent = dispatch(chosen, weights, shape[2], CapacityRule(factor, order="probability"))
    for expert in range(shape[2]):
        mine = chosen == expert
        kept, dropped = weights[mine & sent.kept], weights[mine & ~sent.kept]
        if len(kept) and len(dropped):
            assert kept.min() >= dropped.max()


@given(shapes)
def test_position_serves_first_choices_first(shape):
    chosen, weights = routes_of(shape)
    sent = dispatch(chosen, weights, shape[2], CapacityRule(0.7))
    line: dict[int, int] = {}
    for slot in range(2):  # a plain loop, slot by slot and token by token
        for sequence, row in enumerate(chosen):
            for position, experts in enumerate(row):
                expert = int(experts[slot])
                assert bool(sent.kept[sequence, position, slot]) == (line.get(expert, 0) < sent.capacity)
                line[expert] = line.get(expert, 0) + 1


@given(st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=3))
def test_place_in_line_counts_earlier_equal_routes(rows):
    places = place_in_line(torch.tensor(rows), 5).tolist()
    assert places == [[row[:index].count(expert) for index, expert in enumerate(row)] for row in rows]


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 8), st.floats(0, 3))
def test_roundings_are_those_of_python(tokens, experts, chosen, factor):
    exact = round(factor * chosen * tokens / experts, 9)
    assert expert_capacity(tokens, experts, chosen, factor, "floor") == math.floor(exact)
    assert expert_capacity(tokens, experts, chosen, factor, "ceil") == math.ceil(exact)
    assert expert_capacity(tokens, experts, chosen, factor, "round") == round(exact)


def test_eleven_tenths_of_ten_places_are_eleven():
    assert expert_capacity(10, 1, 1, 1.1, "ceil") == 11


def test_a_factor_of_zero_drops_everything_and_a_large_one_nothing():
    chosen, weights = routes_of((2, 10, 4, 0))
    assert (dispatch(chosen, weights, 4, CapacityRule(0.0)).dropped == 2).all()
    assert (dispatch(chosen, weights, 4, CapacityRule(4.0)).dropped == 0).all()


def test_random_order_is_the_seeds():
    chosen, weights = routes_of((1, 12, 3, 1))
    kept = [dispatch(chosen, weights, 3, CapacityRule(0.5, order="random", seed=s)).kept for s in (1, 1, 2)]
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])


@pytest.mark.parametrize("factor", [-0.1, math.nan, math.inf])
def test_a_bad_factor_is_refused(factor):
    with pytest.raises(InputError, match="capacity factor"):
        CapacityRule(factor)
