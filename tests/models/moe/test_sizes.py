"""Sizes against the published ones, a count by hand, and torch's FLOP counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig

from models.errors import InputError
from models.moe.sizes import PUBLISHED, mixture_size, published_size
from models.training.mixture_recipe import MixtureRecipe
from tests.models.networks.tiny_networks import mixtral_config


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [  # billions, from the networks' cards: Mixtral 46.7/12.9, OLMoE 6.9/1.3, Qwen3 30.5/3.3
        ("Mixtral-8x7B", 46.7, 12.9),
        ("OLMoE-1B-7B", 6.9, 1.3),
        ("Qwen3-30B-A3B", 30.5, 3.3),
        ("DeepSeek-V3", 671.0, 37.0),
    ],
)
def test_published_counts(name, total, active):
    size = published_size(name)
    assert size.total / 1e9 == pytest.approx(total, rel=0.01)
    assert size.active / 1e9 == pytest.approx(active, rel=0.03)
    assert size.active < size.total


def test_all_published_networks_are_counted():
    assert {"Mixtral-8x7B", "OLMoE-1B-7B", "Qwen3-30B-A3B", "DeepSeek-V3"} == set(PUBLISHED)


@pytest.mark.parametrize("config", [mixtral_config(), MixtureRecipe(vocabulary_size=300).config(0)])
def test_counts_are_those_of_the_module(config):
    model = AutoModelForCausalLM.from_config(config)
    size = mixture_size(config)
    assert size.total == sum(p.numel() for p in model.parameters())
    routed = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    assert size.routed == routed == size.mixture_layers * size.experts * size.expert_parameters
    assert size.total - size.active == routed * (size.experts - size.chosen) // size.experts


def test_flops_are_those_that_torch_counts():
    """One token alone: attention over itself adds 4 products a layer and dimension, taken off here."""
    config = mixtral_config()
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    ).eval()  # torch does not count grouped products
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 1, dtype=torch.long), use_cache=False)
    scores = 4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim
    norms = 2 * (2 * config.num_hidden_layers + 1) * config.hidden_size  # counted as products by the rule
    assert counter.get_total_flops() - scores == pytest.approx(
        mixture_size(config).flops - norms, rel=0.002
    )


def test_what_is_no_mixture_is_refused():
    with pytest.raises(InputError, match="no routed experts"):
        mixture_size(LlamaConfig(num_hidden_layers=1, hidden_size=32, intermediate_size=32))
    with pytest.raises(InputError, match="not among the published"):
        published_size("GPT-5")


def test_more_chosen_experts_cost_more():
    few, many = (mixture_size(MixtralConfig(num_hidden_layers=1, num_experts_per_tok=k)) for k in (1, 4))
    assert few.total == many.total
    assert many.active - few.active == 3 * many.expert_parameters
