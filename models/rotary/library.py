"""The same frequencies by transformers' own functions: what Loupe's are compared with."""

from dataclasses import replace
from typing import Any

import torch
from transformers import LlamaConfig, PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from models.rotary.rope import frequencies
from models.rotary.scaling import RopeSettings, ScaledRope, scaled_rope
from models.rotary.special import special_library

# Keys of a config's rope_parameters that RopeSettings calls by the same name.
SAME_NAMES = (
    "rope_theta",
    "factor",
    "partial_rotary_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "low_freq_factor",
    "high_freq_factor",
)


def parameters_of(settings: RopeSettings) -> dict[str, Any]:
    """rope_parameters as a config.json holds them; what is not set is left out.

    ntk, which transformers has no type for, is written as a default with its larger base.
    """
    parameters: dict[str, Any] = {"rope_type": settings.rope_type}
    parameters |= {name: value for name in SAME_NAMES if (value := getattr(settings, name)) is not None}
    if settings.rope_type != "yarn":
        del parameters["truncate"]
    if settings.rope_type in ("yarn", "llama3", "longrope"):
        parameters["original_max_position_embeddings"] = settings.original
    if settings.rope_type == "longrope":
        parameters |= {
            "short_factor": list(settings.short_factor),
            "long_factor": list(settings.long_factor),
        }
    return parameters


def config_of(settings: RopeSettings) -> PreTrainedConfig:
    """A Llama config with these rotary settings, for transformers to compute from."""
    return LlamaConfig(
        hidden_size=settings.head_dim,
        num_attention_heads=1,
        head_dim=settings.head_dim,
        max_position_embeddings=settings.longest,
        rope_parameters=parameters_of(settings),
    )


def library_rope(settings: RopeSettings, length: int | None = None) -> ScaledRope:
    """What transformers computes. It has no ntk: dynamic at factor × trained length is the same.

    Of the truncated basis it has the pairs that are kept, as proportional; only these are returned.
    """
    kind = settings.rope_type
    if kind == "truncated":
        return _kept_pairs(settings)
    if kind == "ntk":
        config = config_of(replace(settings, rope_type="dynamic", factor=1.0))
        return _computed(config, "dynamic", (settings.factor or 1.0) * settings.longest)
    if kind == "default":  # each model has its own; a linear scaling by 1 is the shared one
        return _computed(config_of(replace(settings, rope_type="linear", factor=1.0)), "linear", None)
    return _computed(config_of(settings), kind, length)


def library_rope_of_config(
    config: PreTrainedConfig, layer_type: str | None, length: int | None = None
) -> ScaledRope:
    """The same from a config as transformers read it, for one of its layer types."""
    if (special := special_library(config)) is not None:
        return special
    parameters = config.rope_parameters if layer_type is None else config.rope_parameters[layer_type]
    kind = parameters["rope_type"]
    if kind != "default":
        return _computed(config, kind, length, layer_type)
    held = dict(parameters)
    parameters |= {"rope_type": "linear", "factor": 1.0}
    try:
        return _computed(config, "linear", None, layer_type)
    finally:
        parameters.clear()
        parameters |= held


def _kept_pairs(settings: RopeSettings) -> ScaledRope:
    own = frequencies(settings.width, settings.rope_theta)
    kept = int((scaled_rope(settings).inverse_frequencies == own).sum())
    share = min(1.0, (2 * kept + 0.5) / settings.head_dim)  # transformers rounds the pairs down
    proportional = replace(settings, rope_type="proportional", partial_rotary_factor=share, factor=None)
    computed = _computed(config_of(proportional), "proportional", None)
    return ScaledRope(computed.inverse_frequencies[:kept])


def _computed(
    config: PreTrainedConfig, kind: str, length: int | float | None, layer_type: str | None = None
) -> ScaledRope:
    frequencies, attention_factor = ROPE_INIT_FUNCTIONS[kind](
        config, torch.device("cpu"), seq_len=length, layer_type=layer_type
    )
    return ScaledRope(frequencies.float(), float(attention_factor))
