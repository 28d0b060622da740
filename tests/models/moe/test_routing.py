"""Routes of real architectures, built tiny, against what transformers itself records and computes."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, DeepseekV3Config, Glm4MoeConfig, OlmoeConfig, Qwen3MoeConfig

from models.errors import InputError
from models.moe.routing import (
    difference_from_rule,
    route_corpus,
    route_text,
    routers,
    selection_bias,
)
from models.networks.loading import load
from tests.models.networks.tiny_networks import LINES, VOCABULARY, llama_config, mixtral_config

TEXT = "The miller said that the river had never been so high."
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "num_experts_per_tok": 2,
    "bos_token_id": 0,
    "eos_token_id": None,
}
FINE = {"moe_intermediate_size": 8, "first_k_dense_replace": 1, "n_shared_experts": 1}
CONFIGS = {
    "mixtral": mixtral_config(),
    "olmoe": OlmoeConfig(**COMMON, num_experts=6),
    "qwen3_moe": Qwen3MoeConfig(**COMMON, num_experts=6, moe_intermediate_size=8, head_dim=6),
    "glm4_moe": Glm4MoeConfig(**COMMON, **FINE, n_routed_experts=8, num_mtp_layers=0),
    "deepseek_v3": DeepseekV3Config(
        **COMMON | {"num_key_value_heads": 4},
        **FINE,
        n_routed_experts=8,
        n_group=4,
        topk_group=2,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=8,
        v_head_dim=8,
    ),
}
ROUTERS = {"mixtral": 3, "olmoe": 2, "qwen3_moe": 2, "glm4_moe": 1, "deepseek_v3": 1}


@pytest.fixture(scope="module", params=CONFIGS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(kind, build):
    return build(CONFIGS[kind])


@pytest.fixture
def network(folder):
    return load(str(folder), device="cpu", dtype=torch.float32)


def test_logits_are_those_that_transformers_records(kind, folder, network):
    routed = route_text(network, TEXT)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        output = model.model(routed.token_ids[None], output_router_logits=True)
        logits = model(routed.token_ids[None]).logits[0]
    assert len(routed.layers) == ROUTERS[kind] == len(routers(network))
    for layer, theirs in zip(routed.layers, output.router_logits, strict=True):
        assert_close(layer.logits, theirs.float(), atol=1e-5, rtol=1e-4)
        assert layer.chosen.shape == (len(routed.token_ids), 2)
        assert (layer.weights.diff(dim=1) <= 0).all()
    assert routed.loss == pytest.approx(float(cross_entropy(logits[:-1], routed.token_ids[1:])), rel=1e-4)


def test_the_rule_of_models_moe_is_the_routers_own(network):
    routed = route_text(network, TEXT)
    for index, layer in enumerate(routed.layers):
        assert difference_from_rule(network, index, layer) <= 1e-6


def test_a_silenced_expert_is_one_whose_output_is_zero(kind, folder, network):
    """Against a copy whose expert has a projection of zeros: the others keep their weights."""
    routed = route_text(network, TEXT)
    expert = int(routed.layers[0].chosen[:, 0].mode().values)
    silenced = route_text(network, TEXT, frozenset({(0, expert)}))
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    experts = next(module for name, module in model.named_modules() if name.endswith(".experts"))
    with torch.no_grad():
        experts.down_proj[expert] = 0
        logits = model(routed.token_ids[None]).logits[0]
    expected = float(cross_entropy(logits[:-1], routed.token_ids[1:]))
    assert silenced.loss == pytest.approx(expected, rel=1e-4)
    assert silenced.loss != pytest.approx(routed.loss, rel=1e-6)
    assert_close(silenced.layers[0].weights, routed.layers[0].weights)
    assert route_text(network, TEXT).loss == routed.loss  # nothing stays behind


def test_a_corpus_is_its_windows(network):
    text = LINES * 4
    corpus = route_corpus(network, text)
    ids = network.tokenizer(text, add_special_tokens=False)["input_ids"]
    windows = [torch.tensor([0, *ids[first : first + 63]]) for first in range(0, len(ids), 63)]
    windows = [window for window in windows if len(window) > 2]
    assert torch.equal(corpus.token_ids, torch.cat(windows))
    with torch.no_grad():
        losses = [
            cross_entropy(network.model(window[None]).logits[0, :-1], window[1:], reduction="sum")
            for window in windows
        ]
    assert corpus.nats_per_character == pytest.approx(float(sum(losses)) / len(text), rel=1e-4)
    assert corpus.chosen.shape == (len(routers(network)), len(corpus.token_ids), 2)


def test_the_bias_is_that_of_the_router(kind, network):
    for bias, router in zip(selection_bias(network), routers(network), strict=True):
        if kind in ("glm4_moe", "deepseek_v3"):
            assert torch.equal(bias, router.e_score_correction_bias)
        else:
            assert bias is None


def test_an_expert_that_is_not_there_is_refused(network):
    with pytest.raises(InputError, match="no expert 99 in router 0"):
        route_text(network, TEXT, frozenset({(0, 99)}))


def test_a_dense_network_is_refused(build):
    network = load(str(build(llama_config())), device="cpu")
    for route in (route_text, route_corpus):
        with pytest.raises(InputError, match="no router"):
            route(network, TEXT)


def test_empty_text_is_refused(network):
    with pytest.raises(InputError, match="empty"):
        route_text(network, "  ")
