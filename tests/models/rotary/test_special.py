"""Configs whose rotary positions are no matter of rope_parameters alone, against transformers' own code."""

import json

import pytest
import torch
from transformers import AutoConfig, GPTJConfig
from transformers.models.gptj.modeling_gptj import GPTJAttention

from models.errors import InputError
from models.networks.rotation_facts import rotation_facts
from models.rotary.config import read_config
from models.rotary.library import library_rope_of_config
from models.rotary.rope import frequencies
from models.rotary.scaling import scaled_rope

HUNYUAN = {
    "head_dim": 128,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "max_position_embeddings": 32_768,
    "rope_theta": 10_000.0,
    "rope_scaling": {"type": "dynamic", "alpha": 1_000.0, "factor": 1.0},
}


def read(**config):
    return read_config(json.dumps(config))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "falcon", "alibi": True, "hidden_size": 2048, "num_attention_heads": 32},
        {"model_type": "granitemoehybrid", "position_embedding_type": "nope"},
        {"model_type": "zamba2"},
        {"model_type": "jamba"},
    ],
)
def test_a_network_without_rotary_positions_has_no_wavelengths(config):
    with pytest.raises(InputError, match="no rotary positions in this config"):
        read(**config)


def test_the_same_types_with_rotation_are_read():
    assert read(model_type="falcon", alibi=False).ropes
    assert read(model_type="granitemoehybrid", position_embedding_type="rope").ropes
    assert read(model_type="zamba2", use_mem_rope=True).ropes


@pytest.mark.parametrize("kind", ["roformer", "esm"])
def test_rotation_that_is_fixed_in_code_is_called_so(kind):
    with pytest.raises(InputError, match="fixed in its code"):
        read(model_type=kind, position_embedding_type="rotary")
    with pytest.raises(InputError, match="without rotary positions"):
        read(model_type="bert")


@pytest.mark.parametrize("alpha", [2.0, 50.0, 1_000.0])
def test_hunyuans_alpha_stretches_the_base(alpha):
    scaling = HUNYUAN["rope_scaling"] | {"alpha": alpha}
    config = read(model_type="hunyuan_v1_dense", **HUNYUAN | {"rope_scaling": scaling})
    [rope] = config.ropes
    ours = scaled_rope(rope.settings, 32_768)
    base = 10_000.0 * alpha ** (128 / 126)
    torch.testing.assert_close(ours.inverse_frequencies, frequencies(128, base), rtol=1e-5, atol=0.0)
    theirs = library_rope_of_config(config.config, None, 32_768)
    torch.testing.assert_close(ours.inverse_frequencies, theirs.inverse_frequencies, rtol=1e-5, atol=0.0)
    assert "alpha" not in config.unknown
    if alpha == 1_000.0:
        assert base == pytest.approx(11_158_840, rel=1e-6)


@pytest.mark.parametrize(("kind", "rotary_dim"), [("gptj", 64), ("gptj", 16), ("codegen", 32)])
def test_gpt_js_rotary_dim_is_read(kind, rotary_dim):
    config = read(model_type=kind, n_embd=4096, n_head=16, n_positions=2048, rotary_dim=rotary_dim)
    [rope] = config.ropes
    assert (rope.settings.width, rope.settings.head_dim) == (rotary_dim, 256)
    theirs = library_rope_of_config(config.config, None, 2048)
    ours = scaled_rope(rope.settings, 2048)
    torch.testing.assert_close(ours.inverse_frequencies, theirs.inverse_frequencies, rtol=1e-5, atol=1e-9)
    assert GPTJAttention(GPTJConfig(n_embd=64, n_head=4, rotary_dim=16), 0).rotary_dim == 16


def test_layers_that_do_not_rotate_are_found_by_running_the_architecture():
    for kind, changes in (("cohere2", {}), ("exaone4", {}), ("gemma3_text", {})):
        config = AutoConfig.for_model(kind, num_hidden_layers=8, **changes)
        rotates = rotation_facts(config).rotates
        expected = [kind == "gemma3_text" or layer == "sliding_attention" for layer in config.layer_types]
        assert list(rotates) == expected
    for kind in ("smollm3", "llama4_text"):
        config = AutoConfig.for_model(kind, num_hidden_layers=8)
        assert list(rotation_facts(config).rotates) == [bool(rope) for rope in config.no_rope_layers]
    config = AutoConfig.for_model("smollm3", num_hidden_layers=4, no_rope_layers=[0, 1, 0, 0])
    assert rotation_facts(config).rotates == (False, True, False, False)


def test_deepseeks_scores_are_sharpened_and_its_heads_are_wider_than_what_rotates():
    scaling = {
        "type": "yarn",
        "factor": 40,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
    }
    facts = rotation_facts(AutoConfig.for_model("deepseek_v3", num_hidden_layers=2, rope_scaling=scaling))
    assert facts.head_width == 192
    assert facts.times_root == pytest.approx((0.1 * torch.tensor(40.0).log().item() + 1) ** 2, rel=1e-6)
    assert rotation_facts(AutoConfig.for_model("llama", num_hidden_layers=2)).times_root == pytest.approx(1)


def test_what_cannot_be_asked_is_not_known():
    assert rotation_facts(AutoConfig.for_model("gptj", n_layer=1)) is None
    assert rotation_facts(AutoConfig.for_model("llama", num_hidden_layers=500)) is None
