"""models.rotary.bounds: whatever a config says, it is read, or refused in a sentence before work begins."""

import itertools
import json

import pytest

import models.rotary.config as config
from models.errors import InputError
from models.rotary.config import NEEDED, config_parts, read_config
from models.rotary.library import library_rope_of_config
from models.rotary.scaling import scaled_rope

LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "max_position_embeddings": 4_096,
}
INSIDE = {"factor": 4.0, "original_max_position_embeddings": 1_024}
LLAMA3 = INSIDE | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
BASES = {
    "llama": LLAMA,
    "yarn": LLAMA | {"rope_scaling": INSIDE | {"rope_type": "yarn", "beta_fast": 32, "mscale": 1.0}},
    "llama3": LLAMA | {"rope_scaling": LLAMA3},
    "longrope": LLAMA
    | {
        "rope_scaling": INSIDE
        | {"rope_type": "longrope", "short_factor": [1.0] * 32, "long_factor": [2.0] * 32}
    },
    "gemma": {"model_type": "gemma3_text", "num_hidden_layers": 6},
    "neox": {"model_type": "gpt_neox", "rotary_pct": 0.25, "hidden_size": 64, "num_attention_heads": 4},
    "gptj": {"model_type": "gptj", "n_embd": 256, "n_head": 4, "n_positions": 512, "rotary_dim": 32},
    "hunyuan": LLAMA
    | {"model_type": "hunyuan_v1_dense", "head_dim": 64}
    | {"rope_scaling": {"rope_type": "dynamic", "alpha": 10.0, "factor": 1.0}},
    "smollm3": LLAMA | {"model_type": "smollm3", "num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0]},
    "falcon": LLAMA | {"model_type": "falcon", "alibi": False},
    "zamba": {"model_type": "zamba2", "use_mem_rope": True},
    "parts": {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 6}},
}
FINITE = (0, -1, 1, 2, 20_000, 1_000_000, 1.5, -0.5, 8, 2**31, 2**63, 10**300, 10**400, 1e308, 5e-324)
OTHERS = ("x", "", True, None, [], {}, [1], [0.0] * 40, {"a": 1}, {"full_attention": {}}, [[]])
NOT_FINITE = (float("inf"), -float("inf"), float("nan"))
EVIL = (*FINITE, *NOT_FINITE, *OTHERS)


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level("CRITICAL", logger="transformers")


def held(text, part=""):
    """Read it and compute what the page does; True where it was not refused."""
    try:
        read = read_config(text, part)
        for rope in read.ropes:
            scaled_rope(rope.settings, rope.settings.longest)
            library_rope_of_config(read.config, rope.layer_type, rope.settings.longest)
    except InputError:
        return False
    return True


def at(base, path, value):
    """The config with another value at a path of keys."""
    made = json.loads(json.dumps(base))
    inner = made
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    return json.dumps(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_any_value_in_any_field_is_read_or_refused(name):
    base = BASES[name]
    part = "text_config" if name == "parts" else ""
    inside = (*config.INSIDE, "rope_type")
    paths = [(part, field) if part else (field,) for field in NEEDED]
    paths += [(*([part] if part else []), "rope_scaling", field) for field in inside]
    paths += [("text_config",)] if part else []
    count = sum(held(at(base, path, value), part) for path, value in itertools.product(paths, EVIL) if path)
    assert count > 10  # some are good


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("partial_rotary_factor",), 20_000),
        (("rope_scaling", "partial_rotary_factor"), 20_000),
        (("partial_rotary_factor",), 0),
        (("num_hidden_layers",), 10**6),
        (("text_config", "num_hidden_layers"), 10**6),
        (("text_config", "head_dim"), 10**300),
        (("rope_scaling", "factor"), 10**400),
        (("rope_scaling", "factor"), float("inf")),
        (("hidden_size",), 2**63),
        (("num_attention_heads",), 10**9),
        (("layer_types",), ["full_attention"] * 20_000),
    ],
)
def test_what_would_take_minutes_is_refused_before_transformers_sees_it(path, value, monkeypatch):
    def built(*_args, **_named):
        raise AssertionError("transformers was asked")

    monkeypatch.setattr(config.AutoConfig, "for_model", built)
    with pytest.raises(InputError):
        read_config(at(LLAMA, path, value))


@pytest.mark.parametrize("value", ["gemma3_text", 3, [1], True])
def test_a_part_that_is_no_object_is_refused(value):
    text = json.dumps({"model_type": "gemma3", "text_config": value})
    for part in ("", *config_parts(text)):
        with pytest.raises(InputError):
            read_config(text, part)
