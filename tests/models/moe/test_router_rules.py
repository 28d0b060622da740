"""Families of mixtures, each a tiny network saved to a folder: accepted by its own rule, or refused."""

from pathlib import Path

import pytest
import torch
import transformers.models
from transformers import AutoConfig, AutoModelForCausalLM

from components.formulas import powers
from components.panels.moe.route import written_out
from models.errors import InputError
from models.moe.evaluation import expert_count
from models.moe.router_rules import RULES, Rule, difference
from models.moe.routers import Grouping, sigmoid_routing, softmax_routing
from models.moe.routing import difference_from_rule, route_text, routers, rules
from models.networks.loading import load
from tests.components.test_formulas import true
from tests.models.networks.tiny_networks import VOCABULARY, byte_level_tokenizer

TEXT = "The miller said that the river had never been so high."
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "intermediate_size": 20,
    "moe_intermediate_size": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "num_experts_per_tok": 2,
    "bos_token_id": 0,
    "eos_token_id": None,
    "pad_token_id": 1,
}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
FINE = {"first_k_dense_replace": 1, "n_shared_experts": 1, "n_routed_experts": 8}
# By model_type: settings, what the rule must be (kind, renormalised, has a bias, factor), and the groups.
ACCEPTED: dict[str, tuple[dict, tuple[str, bool, bool, float], Grouping | None]] = {
    "mixtral": ({"num_local_experts": 6}, ("softmax", True, False, 1), None),
    "olmoe": ({"num_experts": 6}, ("softmax", False, False, 1), None),
    "flex_olmo": ({"num_experts": 6}, ("softmax", False, False, 1), None),
    "qwen2_moe": ({"num_experts": 6}, ("softmax", False, False, 1), None),
    "qwen3_moe": ({"num_experts": 6, "norm_topk_prob": True}, ("softmax", True, False, 1), None),
    "granitemoe": ({"num_local_experts": 6}, ("softmax", True, False, 1), None),
    "gpt_oss": ({"num_local_experts": 6}, ("softmax", True, False, 1), None),
    "hunyuan_v1_moe": ({"num_experts": 6, "moe_topk": 2}, ("softmax", True, False, 1), None),
    "minimax": (
        {"num_local_experts": 6, "layer_types": ["full_attention"] * 2},
        ("softmax", True, False, 1),
        None,
    ),
    "jamba": (
        {"num_experts": 6, "expert_layer_period": 1, "expert_layer_offset": 0, "use_mamba_kernels": False}
        | {"attn_layer_period": 1, "attn_layer_offset": 0},
        ("softmax", False, False, 1),
        None,
    ),
    "ernie4_5_moe": (
        {"moe_num_experts": 6, "moe_k": 2, "moe_layer_start_index": 0, "moe_layer_interval": 1},
        ("softmax", True, True, 1),
        None,
    ),
    "deepseek_v2": (
        FINE | LATENT | {"topk_method": "greedy", "routed_scaling_factor": 16.0},
        ("softmax", False, False, 16),
        None,
    ),
    "deepseek_v2 limited": (
        FINE
        | LATENT
        | {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}
        | {"routed_scaling_factor": 3.0},
        ("softmax", False, False, 3),
        Grouping(4, 2, counted=1),
    ),
    "deepseek_v3": (
        FINE | LATENT | {"n_group": 4, "topk_group": 2},
        ("sigmoid", True, True, 2.5),
        Grouping(4, 2),
    ),
    "dots1": (
        FINE | {"n_group": 1, "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.7},
        ("sigmoid", True, True, 1.7),
        Grouping(1, 1),
    ),
    "glm4_moe": (FINE | {"num_mtp_layers": 0}, ("sigmoid", True, True, 1), Grouping(1, 1)),
    "minimax_m2": ({"num_local_experts": 6}, ("sigmoid", True, True, 1), None),
    "lfm2_moe": (
        {"num_experts": 6, "num_dense_layers": 0, "use_expert_bias": True, "routed_scaling_factor": 1.5}
        | {"layer_types": ["full_attention", "full_attention"]},
        ("sigmoid", True, True, 1.5),
        None,
    ),
    "afmoe": (
        {"num_experts": 6, "num_dense_layers": 0, "route_scale": 2.5, "num_shared_experts": 1},
        ("sigmoid", True, True, 2.5),
        None,
    ),
}
REFUSED = {
    "phimoe": {"num_local_experts": 6},
    "cohere2_moe": {"num_experts": 6, "first_k_dense_replace": 0},
}


def built(folder: Path, family: str, settings: dict) -> str:
    """A folder with a network of the family; biases are random, so that a rule without them is seen."""
    held = COMMON | settings
    if "kv_lora_rank" in held:
        del held["head_dim"]  # it follows from the parts of a head
    config = AutoConfig.for_model(family.split()[0], **held)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, tensor in [*model.named_buffers(), *model.named_parameters()]:
            if "correction_bias" in name or "expert_bias" in name:
                tensor.normal_(std=0.2)
            elif name.endswith(("gate.weight", "router.weight", "wg.weight")):
                tensor.normal_(std=0.5)
    model.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=ACCEPTED)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def network(family, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    return load(built(folder, family, ACCEPTED[family][0]), device="cpu", dtype=torch.float32)


@pytest.mark.slow
def test_an_accepted_family_is_explained_by_its_own_rule(family, network):
    _settings, expected, grouping = ACCEPTED[family]
    routed = route_text(network, TEXT)
    assert len(routed.layers) == len(routers(network)) >= 1
    for index, (layer, rule) in enumerate(zip(routed.layers, rules(network), strict=True)):
        kind, renormalised, has_bias, factor = expected
        assert (rule.kind, rule.renormalise, rule.bias is not None) == (kind, renormalised, has_bias)
        assert rule.factor == factor
        assert rule.grouping == grouping
        assert difference_from_rule(network, index, layer) <= 1e-6
        assert layer.experts == expert_count(network)
        if has_bias:
            assert rule.bias.abs().max() > 0


def test_the_sum_of_an_accepted_familys_weights_is_what_its_rule_says(family, network):
    _settings, (kind, renormalised, _bias, factor), _grouping = ACCEPTED[family]
    for layer in route_text(network, TEXT).layers:
        total = layer.weights.sum(-1)
        if renormalised:
            assert total.numpy() == pytest.approx(factor, abs=1e-4)
        elif kind == "softmax":
            assert (total < factor).all()


def test_the_formula_of_an_accepted_family_comes_to_its_weights(family, network):
    routed = route_text(network, TEXT)
    for layer, rule in zip(routed.layers, rules(network), strict=True):
        for token in (0, 3):
            tex = written_out(rule, layer, token)
            assert ("softmax" in tex) == (rule.kind == "softmax")
            assert ("s+b" in tex) == (rule.bias is not None)
            if rule.renormalise or rule.factor != 1:
                true(powers(tex), 1, digits=4)


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_of_another_rule_is_refused_in_a_sentence(name, tmp_path):
    network = load(built(tmp_path, name, REFUSED[name]), device="cpu", dtype=torch.float32)
    with pytest.raises(InputError, match=r"Loupe does not explain|no router that Loupe can read"):
        route_text(network, TEXT)


def test_a_router_that_does_not_obey_its_familys_rule_is_refused(tmp_path):
    """A name is no proof: the first pass is compared with the rule."""
    folder = built(tmp_path, "mixtral", ACCEPTED["mixtral"][0])
    network = load(folder, device="cpu", dtype=torch.float32)
    gate = routers(network)[0]
    own = gate.forward

    def sharper(*args: object, **options: object):
        logits, weights, chosen = own(*args, **options)
        return logits, weights**2, chosen

    gate.forward = sharper
    with pytest.raises(InputError, match="does not route by the rule of its family"):
        route_text(network, TEXT)


def test_every_rule_reads_a_router_that_transformers_has():
    folder = Path(transformers.models.__path__[0])
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*/modeling_*.py"))
    assert [name for name in RULES if f"class {name}(" not in sources] == []


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_a_rule_is_the_routing_functions_of_the_lab(renormalise, factor):
    generator = torch.Generator().manual_seed(0)
    logits, bias = torch.randn(30, 8, generator=generator), torch.randn(8, generator=generator) / 4
    made = Rule("sigmoid", renormalise, bias, Grouping(4, 2), factor, added=1e-20).route(logits, 3)
    theirs = sigmoid_routing(logits, 3, bias, Grouping(4, 2), renormalise, factor)
    assert torch.equal(made.chosen, theirs.chosen)
    torch.testing.assert_close(made.weights, theirs.weights)
    plain = Rule("softmax", renormalise).route(logits, 3)
    torch.testing.assert_close(plain.weights, softmax_routing(logits, 3, renormalise).weights)
    assert difference(Rule("softmax", not renormalise), logits, plain.chosen, plain.weights) > 0.01
    assert difference(Rule("sigmoid", renormalise, 9 * bias), logits, plain.chosen, plain.weights) == float(
        "inf"
    )


def test_published_weights_of_four_logits():
    """Logits 2, 1, 0, −1, top 2: OLMoE .643914 and .236883, Mixtral .731059 and .268941."""
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    full = Rule("softmax", False).route(logits, 2)
    assert full.weights[0].tolist() == pytest.approx([0.643914, 0.236883], abs=1e-6)
    assert full.weights.sum().item() == pytest.approx(0.880797, abs=1e-6)
    assert Rule("softmax", True).route(logits, 2).weights[0].tolist() == pytest.approx(
        [0.731059, 0.268941], abs=1e-6
    )
