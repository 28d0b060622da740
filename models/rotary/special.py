"""Architectures whose rotary positions are no matter of rope_parameters alone."""

import importlib
import inspect
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig

from models.errors import InputError
from models.rotary.scaling import RopeSettings, ScaledRope

FIXED_BASE = 10_000.0  # in the code of GPT-J and CodeGen
WITH_ROTARY_DIM = ("gptj", "codegen")


def rotates_nothing(config: PreTrainedConfig) -> bool:
    """Whether a field of the configuration switches rotary positions off, as transformers reads it.

    Falcon-RW has ALiBi, Granite 4 Hybrid, Zamba and Jamba let their other layers tell positions apart.
    """
    kind = config.model_type
    if kind == "falcon":
        return bool(config.alibi)
    if kind in ("granitemoehybrid", "bamba"):
        return getattr(config, "position_embedding_type", "rope") not in ("rope", None)
    if kind == "zamba2":
        return not config.use_mem_rope
    return kind in ("jamba", "nemotron_h", "zamba")


def is_rotary_in_code(model_type: str) -> bool:
    """Whether the architecture's own module in transformers speaks of rotary positions at all."""
    try:
        return "rotary" in inspect.getsource(_modeling(AutoConfig.for_model(model_type))).lower()
    except (ImportError, KeyError, OSError, ValueError, TypeError):
        return False


def _modeling(config: PreTrainedConfig) -> Any:
    name = type(config).__module__.replace(".configuration_", ".modeling_")
    return importlib.import_module(name)


def special_settings(config: PreTrainedConfig) -> RopeSettings | None:
    """The settings of an architecture that reads them in its own way; None of any other.

    GPT-J and CodeGen rotate ``rotary_dim`` of a head, base 10,000; HunYuan's ``alpha`` makes a dynamic
    scaling a fixed NTK-aware one, base·α^(d/(d−2)). Raises InputError as RopeSettings does.
    """
    if config.model_type in WITH_ROTARY_DIM:
        width = _whole(config, "n_embd") // _whole(config, "n_head")
        rotated = width if config.rotary_dim is None else _whole(config, "rotary_dim")
        return RopeSettings(
            "default",
            width,
            rope_theta=FIXED_BASE,
            longest=_whole(config, "n_positions"),
            partial_rotary_factor=rotated / max(width, 1),
        )
    alpha = _alpha(config)
    if alpha is None:
        return None
    if getattr(config, "head_dim", None) is not None:
        width = _whole(config, "head_dim")
    else:
        width = _whole(config, "hidden_size") // _whole(config, "num_attention_heads")
    base, longest = config.rope_parameters.get("rope_theta"), _whole(config, "max_position_embeddings")
    if isinstance(base, bool) or not isinstance(base, int | float):
        raise InputError("The field {name} must be a number.", name="rope_theta")
    return RopeSettings("ntk", width, rope_theta=float(base), longest=longest, factor=alpha)


def _whole(config: PreTrainedConfig, name: str) -> int:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError("The field {name} must be a whole number.", name=name)
    return value


def special_library(config: PreTrainedConfig) -> ScaledRope | None:
    """The same frequencies from the architecture's own code in transformers; None of any other."""
    if config.model_type in WITH_ROTARY_DIM:
        width = config.rotary_dim or config.n_embd // config.n_head
        sine, cosine = _modeling(config).create_sinusoidal_positions(2, width)[1].chunk(2)
        return ScaledRope(torch.atan2(sine, cosine))
    if _alpha(config) is None:
        return None
    found = vars(_modeling(config)).items()
    [own] = [part for name, part in found if name.endswith("RotaryEmbedding")]
    frequencies, factor = own.compute_ntk_alpha_rope_parameters(config)
    return ScaledRope(frequencies.float(), float(factor))


def _alpha(config: PreTrainedConfig) -> float | None:
    parameters = getattr(config, "rope_parameters", None) or {}
    if not str(config.model_type).startswith("hunyuan") or parameters.get("rope_type") != "dynamic":
        return None
    alpha = parameters.get("alpha")
    is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    return float(alpha) if is_number and alpha else None
