"""Pasted configs: read as transformers reads them, unknown fields named, everything else refused."""

import json

import pytest
import torch
from transformers import CONFIG_MAPPING

from models.errors import InputError
from models.rotary.config import config_parts, read_config
from models.rotary.library import library_rope_of_config
from models.rotary.scaling import scaled_rope

LLAMA = {"model_type": "llama", "hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 2}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4_096}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8_192,
}
CONFIGS = {
    "plain": LLAMA,
    "new spelling": LLAMA | {"rope_parameters": LLAMA3 | {"rope_theta": 5e5}},
    "old spelling": LLAMA | {"rope_scaling": LLAMA3, "rope_theta": 5e5, "max_position_embeddings": 131_072},
    "linear by type": LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0}},
    "dynamic": LLAMA | {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "yarn": LLAMA | {"rope_scaling": YARN | {"truncate": False}, "max_position_embeddings": 16_384},
    "deepseek": {
        "model_type": "deepseek_v3",
        "rope_scaling": YARN | {"factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0},
        "max_position_embeddings": 163_840,
    },
    "gpt-neox": {
        "model_type": "gpt_neox",
        "hidden_size": 512,
        "num_attention_heads": 8,
        "rotary_pct": 0.5,
        "rotary_emb_base": 20_000,
    },
    "gemma 3": {
        "model_type": "gemma3_text",
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "num_hidden_layers": 6,
    },
    "modernbert": {"model_type": "modernbert", "global_rope_theta": 160_000.0, "local_rope_theta": 1e4},
    "phi-3": {
        "model_type": "phi3",
        "hidden_size": 3_072,
        "num_attention_heads": 32,
        "max_position_embeddings": 131_072,
        "original_max_position_embeddings": 4_096,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0 + i / 99 for i in range(48)],
            "long_factor": [1.0 + i for i in range(48)],
        },
    },
    "multimodal rope": {
        "model_type": "qwen2_vl_text",
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_frequencies_are_those_that_transformers_computes_from_the_config(name):
    read = read_config(json.dumps(CONFIGS[name]))
    assert read.unknown == ()
    assert read.ropes
    for rope in read.ropes:
        for length in (None, rope.settings.longest, 2 * rope.settings.longest):
            ours = scaled_rope(rope.settings, length)
            theirs = library_rope_of_config(read.config, rope.layer_type, length)
            torch.testing.assert_close(
                ours.inverse_frequencies, theirs.inverse_frequencies, rtol=1e-6, atol=0
            )
            assert ours.attention_factor == pytest.approx(theirs.attention_factor)


def test_settings_by_layer_type_are_named():
    types = {rope.layer_type: rope.settings for rope in read_config(json.dumps(CONFIGS["gemma 3"])).ropes}
    assert set(types) == {"full_attention", "sliding_attention"}
    assert types["full_attention"].rope_type == "linear"
    assert types["full_attention"].rope_theta == 1e6
    assert types["sliding_attention"].rope_theta == 1e4


def test_every_rotary_field_is_listed_and_what_is_unknown_or_unread_is_named():
    config = LLAMA | {
        "rope_scaling": YARN | {"beta_fats": 32, "low_freq_factor": 1.0},
        "rope_thetta": 1.0,
        "vocab_size": 7,
    }
    read = read_config(json.dumps(config))
    assert set(read.unknown) == {"rope_scaling.beta_fats", "rope_thetta"}
    fields = {field.path: field for field in read.fields}
    assert not fields["rope_scaling.low_freq_factor"].is_read
    assert fields["rope_scaling.factor"].is_read
    assert fields["rope_scaling.factor"].value == "4.0"
    assert "vocab_size" not in fields


def test_nothing_of_the_config_but_its_rotary_fields_reaches_transformers():
    config = LLAMA | {
        "auto_map": {"AutoConfig": "evil.py"},
        "vocab_size": "no number",
        "quantization_config": 3,
    }
    assert read_config(json.dumps(config)).ropes[0].settings.head_dim == 64


# Multimodal configs


MULTIMODAL = {
    "model_type": "gemma3",
    "text_config": {"model_type": "gemma3_text", "rope_theta": 5e5, "num_hidden_layers": 6},
    "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1_152},
}


def test_a_multimodal_config_is_answered_with_its_text_part():
    text = json.dumps(MULTIMODAL)
    with pytest.raises(InputError, match="multimodal"):
        read_config(text)
    assert config_parts(text) == ("text_config",)
    read = read_config(text, "text_config")
    assert {rope.settings.rope_theta for rope in read.ropes} == {5e5, 1e4}
    with pytest.raises(InputError, match="no part"):
        read_config(text, "vision_config")


# Bad input


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Paste"),
        ("no json", "no JSON"),
        ("{\n\n  'a': 1}", "line 3"),
        ("[" * 100_000, "no JSON"),
        ("[1, 2]", "brace"),
        ("3", "brace"),
        (" " * 300_000 + "{}", "characters"),
        ("{}", "model_type"),
        ('{"model_type": "nobody"}', "does not know"),
        ('{"model_type": ["llama"]}', "does not know"),
        ('{"model_type": "bert"}', "encoder"),
        ('{"model_type": "roberta"}', "encoder"),
        ('{"model_type": "t5"}', "another kind"),
        ('{"model_type": "gpt2"}', "another kind"),
        ('{"model_type": "bloom"}', "another kind"),
        ('{"model_type": "gemma3"}', "multimodal"),
        (json.dumps(LLAMA | {"num_hidden_layers": 10**12}), "num_hidden_layers"),
        (json.dumps(LLAMA | {"num_hidden_layers": "two"}), "num_hidden_layers"),
        (json.dumps(LLAMA | {"rope_scaling": "linear"}), "refuses"),
        (json.dumps(LLAMA | {"rope_scaling": {"type": "linear"}}), "refuses"),
        (json.dumps(LLAMA | {"rope_scaling": {"type": "mystery", "factor": 2.0}}), "not known"),
        (json.dumps(LLAMA | {"rope_scaling": {"type": "linear", "factor": 0.5}}), "factor"),
        (json.dumps(LLAMA | {"rope_scaling": {"type": "linear", "factor": "two"}}), "number"),
        (json.dumps(LLAMA | {"rope_theta": 0}), "base"),
        (json.dumps(LLAMA | {"rope_theta": -1.0}), "base"),
        (json.dumps(LLAMA | {"head_dim": 63}), r"\.$|even"),
        (json.dumps(LLAMA | {"max_position_embeddings": 10**9}), "positions"),
        (json.dumps(LLAMA | {"num_attention_heads": 0}), r"."),
    ],
)
def test_what_is_no_rotary_config_is_refused_in_a_sentence(text, said):
    with pytest.raises(InputError, match=said) as refused:
        read_config(text)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(CONFIG_MAPPING))
def test_every_type_that_transformers_knows_is_read_or_refused(kind):
    try:
        read = read_config(json.dumps({"model_type": kind}))
    except InputError:
        return
    for rope in read.ropes:
        theirs = library_rope_of_config(read.config, rope.layer_type)
        ours = scaled_rope(rope.settings)
        torch.testing.assert_close(ours.inverse_frequencies, theirs.inverse_frequencies, rtol=1e-6, atol=0)


def scaled_by(config: dict, **more: object):
    """The one kind of layer of a config, scaled at its longest text."""
    (rope,) = read_config(json.dumps(LLAMA | {"head_dim": 128} | config | more)).ropes
    return rope.settings, scaled_rope(rope.settings, rope.settings.longest)


@pytest.mark.parametrize(
    ("factor", "given", "right"),
    [(64.0, 1.0, 1.0), (64.0, None, 1.4158883), (128.0, 1.4852, 1.4852), (128.0, None, 1.485203)],
)
def test_an_attention_factor_that_is_given_is_taken_once(factor, given, right):
    """vllm#46280, mlx-lm#1507 (Laguna-XS.2: 1.0, not 1.4158883); sglang#33558 (1.4852, not 2.205828)."""
    scaling = YARN | {"factor": factor} | ({} if given is None else {"attention_factor": given})
    _settings, scaled = scaled_by({"rope_scaling": scaling, "max_position_embeddings": int(4096 * factor)})
    assert scaled.attention_factor == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize("factor", [4.0, 8.0])
def test_the_factor_that_is_given_beats_the_ratio_of_the_lengths(factor):
    """transformers#38224, #40320: factor 8 beside 131,072 / 32,768 is 8, and 1.207944 on cos and sin."""
    scaling = YARN | {"factor": factor, "original_max_position_embeddings": 32_768}
    settings, scaled = scaled_by({"rope_scaling": scaling, "max_position_embeddings": 131_072})
    assert settings.factor == factor
    assert scaled.attention_factor == pytest.approx({4.0: 1.138629, 8.0: 1.207944}[factor], rel=1e-6)
    slowest = scaled_by({})[1].inverse_frequencies[-1] / scaled.inverse_frequencies[-1]
    assert float(slowest) == pytest.approx(factor, rel=1e-5)


@pytest.mark.parametrize(("factor", "longest"), [(32.0, 8.189e7), (8.0, 2.047e7)])
def test_llama_3_1_and_3_2_differ_by_their_factor_alone(factor, longest):
    """torchchat#1128, where 8 was hard-coded: 29 of 64 pairs untouched, 29 divided, 6 between."""
    config = {"rope_theta": 5e5, "max_position_embeddings": 131_072}
    _settings, scaled = scaled_by(config | {"rope_scaling": LLAMA3 | {"factor": factor}})
    slowed = scaled_by(config)[1].inverse_frequencies / scaled.inverse_frequencies
    untouched = int((slowed < 1 + 1e-5).sum())
    divided = int((slowed > factor * (1 - 1e-5)).sum())
    assert (untouched, divided, 64 - untouched - divided) == (29, 29, 6)
    assert 2 * torch.pi / float(scaled.inverse_frequencies[-1]) == pytest.approx(longest, rel=1e-3)


def test_a_type_without_its_factor_is_refused_and_null_is_plain():
    """llama3#299, transformerlab-app#152"""
    for wrong in ({"type": "linear"}, {"rope_type": "linear"}):
        with pytest.raises(InputError, match="factor"):
            scaled_by({"rope_scaling": wrong})
    assert scaled_by({"rope_scaling": {"type": "linear", "factor": 2}})[0].factor == 2
    assert scaled_by({"rope_scaling": None})[0].rope_type == "default"


@pytest.mark.parametrize(
    ("kind", "width", "heads", "head", "pairs"),
    [
        ("mistral", 5_120, 32, 128, 64),  # Mistral-Small-24B; 5120 / 32 = 160
        ("gpt_oss", 2_880, 64, 64, 32),  # gpt-oss-20b; 45
        ("gemma3_text", 3_840, 16, 256, 128),  # Gemma-3-12B; 240
        ("qwen3", 2_560, 32, 128, 64),  # Qwen3-4B; 80
        ("llama", 4_096, 32, None, 64),
    ],
)
def test_a_head_is_as_wide_as_head_dim_says(kind, width, heads, head, pairs):
    """Model-Optimizer#2482, LMCache#688"""
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": 6}
    config = {"model_type": kind} | sizes | ({} if head is None else {"head_dim": head})
    for rope in read_config(json.dumps(config)).ropes:
        assert len(scaled_rope(rope.settings).inverse_frequencies) == pairs
