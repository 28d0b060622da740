"""models.moe.routers against the routers of transformers, with their weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from transformers import DeepseekV3Config, Glm4MoeConfig, MixtralConfig, OlmoeConfig, Qwen3MoeConfig
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeTopkRouter
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter
from transformers.models.olmoe.modeling_olmoe import OlmoeTopKRouter
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

from models.errors import InputError
from models.moe.routers import (
    Grouping,
    check_counts,
    expert_choice,
    hash_routing,
    open_experts,
    score_kept,
    sigmoid_routing,
    softmax_routing,
)

WIDTH = 12


def random_router(router: nn.Module, seed: int) -> tuple[nn.Module, torch.Tensor]:
    """A router of transformers with random weights, and random tokens."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        router.weight.normal_(generator=generator)
        if hasattr(router, "e_score_correction_bias"):
            router.e_score_correction_bias.normal_(std=0.3, generator=generator)
    return router, torch.randn(50, WIDTH, generator=generator)


def by_expert(chosen: torch.Tensor, weights: torch.Tensor, experts: int) -> torch.Tensor:
    """Weights by expert, NaN where not chosen: the same for any order of the chosen ones."""
    return torch.full((len(chosen), experts), torch.nan).scatter(1, chosen, weights)


class TestAgainstTransformers:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize(
        ("router", "config", "renormalise"),
        [
            (MixtralTopKRouter, MixtralConfig(hidden_size=WIDTH, num_local_experts=8), True),
            (OlmoeTopKRouter, OlmoeConfig(hidden_size=WIDTH, num_experts=64), False),
            (OlmoeTopKRouter, OlmoeConfig(hidden_size=WIDTH, norm_topk_prob=True), True),
            (Qwen3MoeTopKRouter, Qwen3MoeConfig(hidden_size=WIDTH, norm_topk_prob=True), True),
        ],
    )
    def test_softmax_routers(self, router, config, renormalise, seed):
        module, tokens = random_router(router(config), seed)
        with torch.no_grad():
            logits, weights, chosen = module(tokens)
        routing = softmax_routing(logits, config.num_experts_per_tok, renormalise)
        assert torch.equal(routing.chosen, chosen)
        assert_close(routing.weights, weights, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize(("groups", "kept"), [(1, 1), (4, 2), (8, 4), (8, 8)])
    @pytest.mark.parametrize(
        ("router", "config"), [(DeepseekV3TopkRouter, DeepseekV3Config), (Glm4MoeTopkRouter, Glm4MoeConfig)]
    )
    def test_sigmoid_routers_with_bias_and_groups(self, router, config, groups, kept, seed):
        settings = config(
            hidden_size=WIDTH, n_routed_experts=32, num_experts_per_tok=4, n_group=groups, topk_group=kept
        )
        module, tokens = random_router(router(settings), seed)
        with torch.no_grad():
            logits, weights, chosen = module(tokens)
        routing = sigmoid_routing(
            logits,
            4,
            module.e_score_correction_bias,
            Grouping(groups, kept),
            renormalise=settings.norm_topk_prob,
            factor=settings.routed_scaling_factor,
        )
        theirs = by_expert(chosen, weights, 32)
        ours = by_expert(routing.chosen, routing.weights, 32)
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert_close(ours, theirs, rtol=0, atol=1e-6, equal_nan=True)


@given(st.integers(1, 12), st.data())
def test_softmax_then_renormalise_is_softmax_over_the_chosen_logits(experts, data):
    chosen = data.draw(st.integers(1, experts))
    logits = torch.randn(9, experts, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    routing = softmax_routing(logits, chosen)
    assert_close(routing.weights, logits.topk(chosen).values.softmax(-1))


@given(st.integers(0, 2**31), st.integers(1, 8))
def test_the_bias_chooses_and_never_weighs(seed, chosen):
    generator = torch.Generator().manual_seed(seed)
    logits, bias = torch.randn(20, 8, generator=generator), torch.randn(8, generator=generator)
    routing = sigmoid_routing(logits, chosen, bias, renormalise=False)
    assert_close(routing.weights, logits.sigmoid().gather(1, routing.chosen))
    smallest_chosen = (routing.scores + bias).gather(1, routing.chosen).amin(1)
    rest = (routing.scores + bias).scatter(1, routing.chosen, -torch.inf).amax(1)
    assert (smallest_chosen >= rest).all()
    even = sigmoid_routing(logits, chosen, torch.full((8,), 0.7), renormalise=False)
    assert torch.equal(even.chosen.sort().values, sigmoid_routing(logits, chosen).chosen.sort().values)


@given(st.integers(0, 2**31), st.sampled_from([(2, 1), (4, 1), (4, 3), (8, 2)]))
def test_a_token_stays_within_its_best_groups(seed, shape):
    groups, kept = shape
    logits = torch.randn(15, 16, generator=torch.Generator().manual_seed(seed))
    routing = sigmoid_routing(logits, 2, grouping=Grouping(groups, kept))
    used = [len(set(row.tolist())) for row in routing.chosen // (16 // groups)]
    assert max(used) <= kept
    scores = routing.scores.view(15, groups, -1).topk(2, dim=-1).values.sum(-1)
    worst_open = scores.topk(kept).values[:, -1]
    is_open = open_experts(routing.scores, Grouping(groups, kept)).view(15, groups, -1).any(-1)
    assert torch.equal(is_open, scores >= worst_open[:, None])
    free = sigmoid_routing(logits, 2)
    share = score_kept(routing.scores, routing.chosen, free.chosen)
    assert 0 < share <= 1 + 1e-6
    all_groups = sigmoid_routing(logits, 2, grouping=Grouping(groups, groups))
    assert torch.equal(all_groups.chosen, free.chosen)
    assert score_kept(free.scores, free.chosen, free.chosen) == 1


@given(st.integers(1, 30), st.integers(1, 8), st.data())
def test_expert_choice_is_balanced_and_takes_the_best(tokens, experts, data):
    slots = data.draw(st.integers(1, tokens))
    scores = torch.rand(
        tokens, experts, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    )
    taken = expert_choice(scores, slots)
    assert (taken.sum(0) == slots).all()
    worst = scores.masked_fill(~taken, torch.inf).amin(0)
    best_left = scores.masked_fill(taken, -torch.inf).amax(0)
    assert (worst >= best_left).all()


@given(st.integers(1, 20), st.data())
def test_hash_routing_sends_equal_tokens_to_the_same_different_experts(experts, data):
    chosen = data.draw(st.integers(1, experts))
    ids = torch.tensor(data.draw(st.lists(st.integers(0, 50), min_size=1, max_size=40)))
    routes = hash_routing(ids, experts, chosen, seed=3)
    assert all(len(set(row.tolist())) == chosen for row in routes)
    for token in ids.unique():
        assert len(routes[ids == token].unique(dim=0)) == 1
    assert torch.equal(routes, hash_routing(ids, experts, chosen, seed=3))


def test_one_expert_is_a_dense_layer():
    routing = softmax_routing(torch.randn(5, 1), 1)
    assert (routing.chosen == 0).all()
    assert (routing.weights == 1).all()
    assert routing.experts == 1


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        (lambda: softmax_routing(torch.zeros(3, 4), 5), "5 of 4 experts cannot be chosen"),
        (lambda: sigmoid_routing(torch.zeros(3, 4), 0), "0 of 4 experts cannot be chosen"),
        (lambda: check_counts(0, 1), "at least one is needed"),
        (lambda: sigmoid_routing(torch.zeros(3, 6), 2, grouping=Grouping(4, 2)), "do not divide into 4"),
        (lambda: sigmoid_routing(torch.zeros(3, 8), 2, grouping=Grouping(4, 5)), "from 1 to 4 can be"),
        (lambda: sigmoid_routing(torch.zeros(3, 8), 3, grouping=Grouping(4, 1)), "hold fewer than the 3"),
        (lambda: sigmoid_routing(torch.zeros(3, 4), 1, grouping=Grouping(4, 2)), "needs two of them"),
        (lambda: expert_choice(torch.zeros(3, 4), 4), "from 1 to 3 are there"),
        (lambda: hash_routing(torch.zeros(3, dtype=torch.long), 2, 3, 0), "3 of 2 experts"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(refused, sentence):
    with pytest.raises(InputError, match=sentence):
        refused()
