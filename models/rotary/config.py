"""A pasted config.json: which of its fields concern rotary positions, and what they lead to.

transformers itself reads the fields, so that old spellings (rope_scaling, type, su, rotary_pct …),
each model's defaults and settings by layer type come out as it understands them.
"""

import json
from dataclasses import dataclass
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as MODEL_FOR_SEQ_TO_SEQ,
)

from models.errors import InputError
from models.rotary.bounds import LARGEST, MOST_LAYERS, check_bounds
from models.rotary.library import SAME_NAMES, library_rope_of_config
from models.rotary.scaling import RopeSettings
from models.rotary.special import WITH_ROTARY_DIM, is_rotary_in_code, rotates_nothing, special_settings

LONGEST_CONFIG = 200_000  # characters
SCALING_DICTS = ("rope_parameters", "rope_scaling")
# Fields inside the dictionary of rotary settings, by the types that read them; () is every type.
INSIDE: dict[str, tuple[str, ...]] = {
    "rope_type": (),
    "type": (),
    "rope_theta": (),
    "partial_rotary_factor": (),
    "factor": ("linear", "dynamic", "yarn", "longrope", "llama3", "proportional"),
    "original_max_position_embeddings": ("yarn", "longrope", "llama3"),
    "attention_factor": ("yarn", "longrope"),
    "beta_fast": ("yarn",),
    "beta_slow": ("yarn",),
    "mscale": ("yarn",),
    "mscale_all_dim": ("yarn",),
    "truncate": ("yarn",),
    "low_freq_factor": ("llama3",),
    "high_freq_factor": ("llama3",),
    "short_factor": ("longrope",),
    "long_factor": ("longrope",),
    "alpha": ("dynamic",),
    "mrope_section": (),
    "mrope_interleaved": (),
}
# Fields beside that dictionary.
BESIDE = (
    "rope_theta",
    "rope_local_base_freq",
    "global_rope_theta",
    "local_rope_theta",
    "rotary_emb_base",
    "rotary_pct",
    "rotary_dim",
    "partial_rotary_factor",
    "rope_interleave",
    "qk_rope_head_dim",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "head_dim",
    "hidden_size",
    "num_attention_heads",
    "layer_types",
    # whether anything is rotated, and in which layers
    "alibi",
    "position_embedding_type",
    "use_mem_rope",
    "no_rope_layers",
    "no_rope_layer_interval",
)
# Beside these: widths under GPT-J's names, and windows, on which rotation depends in some architectures.
SIZES = (
    "n_embd",
    "n_head",
    "n_positions",
    "sliding_window",
    "sliding_window_pattern",
    "use_sliding_window",
)
# What transformers needs to read the fields above; nothing else of the config is handed to it.
NEEDED = (*BESIDE, *SIZES, *SCALING_DICTS, "num_hidden_layers", "num_key_value_heads", "model_type")


@dataclass(frozen=True)
class ConfigField:
    """One field of the pasted config, by its path, and whether it is known and read."""

    path: str
    name: str
    value: str  # as JSON
    is_known: bool
    is_read: bool  # by the type of scaling that the config names


@dataclass(frozen=True, eq=False)
class RopeOfLayers:
    """The rotary settings of all layers, or of one type of layer."""

    layer_type: str | None
    settings: RopeSettings


@dataclass(frozen=True, eq=False)
class ReadConfig:
    """What was found in a pasted config."""

    model_type: str
    config: PreTrainedConfig  # as transformers read it
    fields: tuple[ConfigField, ...]
    ropes: tuple[RopeOfLayers, ...]

    @property
    def unknown(self) -> tuple[str, ...]:
        """Paths of rotary fields that neither Loupe nor transformers knows."""
        return tuple(field.path for field in self.fields if not field.is_known)


def parse(text: str) -> dict[str, Any]:
    """The pasted JSON object. Raises InputError on what is none."""
    if not text.strip():
        raise InputError("Paste the text of a config.json.")
    if len(text) > LONGEST_CONFIG:
        raise InputError(
            "The config has {count} characters; at most {most} are accepted.",
            count=len(text),
            most=LONGEST_CONFIG,
        )
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise InputError("The pasted text is no JSON; line {line} cannot be read.", line=line) from error
    if not isinstance(raw, dict):
        raise InputError("The pasted JSON is no object; a config.json begins with a brace.")
    return raw


def config_parts(text: str) -> tuple[str, ...]:
    """The parts of a multimodal config that have rotary settings of their own; none otherwise."""
    raw = parse(text)
    known = CONFIG_MAPPING[raw["model_type"]] if _is_known(raw) else None
    names = [name for name, value in raw.items() if name.endswith("_config") and _is_part(value)]
    if known is not None:
        names += [name for name in known.sub_configs if name not in names]
    return tuple(name for name in names if "text" in name or "llm" in name or "language" in name)


def _is_part(value: object) -> bool:
    return isinstance(value, dict) and ("model_type" in value or "hidden_size" in value)


def _is_known(raw: dict[str, Any]) -> bool:
    kind = raw.get("model_type")
    return isinstance(kind, str) and kind in CONFIG_MAPPING


def read_config(text: str, part: str = "") -> ReadConfig:
    """Read a pasted config, or the named part of a multimodal one.

    Raises InputError with one sentence on what is no config, on one without rotary settings, and on
    one whose numbers cannot be computed with.
    """
    raw = parse(text)
    check_bounds(raw, frozenset(NEEDED))
    parts = config_parts(text)
    if part and part not in parts:
        raise InputError("This config has no part called {part}.", part=repr(part))
    for name in parts:
        if not isinstance(raw.get(name, {}), dict):
            raise InputError("The field {name} must be an object.", name=name)
    config = _built(raw)
    if part:
        config = getattr(config, part, None) or _built(raw[part])
        raw = raw.get(part, raw)
    _check_rotary(config, parts)
    ropes = tuple(_ropes(config))
    _check_computable(config, ropes)
    return ReadConfig(str(config.model_type), config, tuple(fields_of(raw, config)), ropes)


def _check_computable(config: PreTrainedConfig, ropes: tuple[RopeOfLayers, ...]) -> None:
    """Raises InputError where transformers accepts a config and cannot compute from it."""
    for rope in ropes:
        try:
            library_rope_of_config(config, rope.layer_type, rope.settings.longest)
        except Exception as error:  # of many kinds: a null where a number belongs, lists of other lengths
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise InputError(
                "transformers cannot compute with this config: {reason}.", reason=reason
            ) from error


def _built(raw: dict[str, Any]) -> PreTrainedConfig:
    """The config as transformers reads its rotary fields. Its own code is never run."""
    if not _is_known(raw):
        raise InputError(
            "The config's model_type is {type}, which transformers does not know.",
            type=json.dumps(raw.get("model_type"))[:60],
        )
    layers = raw.get("num_hidden_layers", 1)
    if not isinstance(layers, int) or not 1 <= layers <= MOST_LAYERS:
        raise InputError("num_hidden_layers must be a whole number from 1 to {most}.", most=MOST_LAYERS)
    kept = {name: raw[name] for name in NEEDED if raw.get(name) is not None and name != "model_type"}
    nested = {
        name: {key: part[key] for key in NEEDED if part.get(key) is not None}
        for name in CONFIG_MAPPING[raw["model_type"]].sub_configs
        if isinstance(part := raw.get(name), dict)
    }
    try:
        return AutoConfig.for_model(raw["model_type"], **json.loads(json.dumps(kept | nested)))
    except Exception as error:  # each architecture checks its own configuration, in its own way
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError("transformers refuses this config: {reason}.", reason=reason) from error


def _check_rotary(config: PreTrainedConfig, parts: tuple[str, ...]) -> None:
    """Raise InputError, with one sentence for each kind of config, unless there is a rotary part."""
    kind = config.model_type
    if rotates_nothing(config):
        raise InputError(
            "There are no rotary positions in this config: with these fields {type} rotates nothing.",
            type=kind,
        )
    if getattr(config, "rope_parameters", None) or kind in WITH_ROTARY_DIM:
        return
    if parts:
        raise InputError(
            "This is the config of a multimodal model; the rotary settings of its language model are "
            "in {part}: choose that part.",
            part=parts[0],
        )
    if is_rotary_in_code(kind):
        raise InputError(
            "The rotary positions of {type} are fixed in its code: there is nothing to scale.", type=kind
        )
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and kind not in MODEL_FOR_SEQ_TO_SEQ:
        raise InputError("{type} is an encoder without rotary positions: nothing can be scaled.", type=kind)
    raise InputError(
        "transformers reads no rotary settings for the type {type}; its positions are of another "
        "kind, or fixed in its code.",
        type=kind,
    )


def _ropes(config: PreTrainedConfig) -> list[RopeOfLayers]:
    if (special := special_settings(config)) is not None:
        return [RopeOfLayers(None, special)]
    parameters = config.rope_parameters
    nested = config.nested_rope_parameter_keys(parameters)
    if not nested:
        return [RopeOfLayers(None, settings_from(parameters, *_lengths(config, None)))]
    # transformers looks for truncate beside the layer types, not among their settings.
    truncate = {"truncate": parameters.get("truncate")}
    return [
        RopeOfLayers(name, settings_from(parameters[name] | truncate, *_lengths(config, name)))
        for name in nested
        if parameters[name] is not None
    ]


def _lengths(config: PreTrainedConfig, layer_type: str | None) -> tuple[int, int]:
    """Width of a head and longest text. Raises InputError where the config has no such numbers."""
    try:
        of_layers: Any = config
        if layer_type is not None and config.is_heterogeneous:  # Gemma 4: by type of layer
            by_type: Any = config.per_layer_config  # typed as a sequence, keyed by type as well
            of_layers = by_type[layer_type]
        head_dim = getattr(of_layers, "head_dim", None)
        head_dim = head_dim or of_layers.hidden_size // of_layers.num_attention_heads
        longest = config.max_position_embeddings
        return _length("head_dim", head_dim), _length("max_position_embeddings", longest)
    except (AttributeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise InputError(
            "The type {type} names no single head width and longest text, which Loupe needs.",
            type=config.model_type,
        ) from error


def settings_from(parameters: dict[str, Any], head_dim: int, longest: int) -> RopeSettings:
    """RopeSettings from rope_parameters as transformers standardised them.

    Raises InputError on values of the wrong kind.
    """
    values: dict[str, Any] = {}
    for name in SAME_NAMES:
        if (value := parameters.get(name)) is not None:
            values[name] = _truth(name, value) if name == "truncate" else _number(name, value)
    for name in ("short_factor", "long_factor"):
        if (listed := parameters.get(name)) is not None:
            if not isinstance(listed, list):
                raise InputError("{name} must be a list of numbers.", name=name)
            values[name] = tuple(_number(name, value) for value in listed)
    trained = parameters.get("original_max_position_embeddings")
    return RopeSettings(
        str(parameters["rope_type"]),
        head_dim,
        longest=longest,
        trained=None if trained is None else _length("original_max_position_embeddings", trained),
        **values,
    )


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError("The field {name} must be true or false.", name=name)
    return value


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("The field {name} must be a number.", name=name)
    if not -LARGEST <= value <= LARGEST:  # nor is it NaN
        raise InputError("The field {name} must be a finite number, up to 10¹⁵.", name=name)
    return float(value)


def _length(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError("The field {name} must be a whole number.", name=name)
    return value


def fields_of(raw: dict[str, Any], config: PreTrainedConfig) -> list[ConfigField]:
    """Every field of the pasted config that concerns rotary positions, known or not."""
    fields = []
    for name, value in raw.items():
        if name in SCALING_DICTS and isinstance(value, dict):
            fields += _inside(name, value, config)
        elif name in BESIDE or "rope" in name or "rotary" in name:
            fields.append(ConfigField(name, name, _json(value), name in (*BESIDE, *SCALING_DICTS), True))
    return fields


def _inside(path: str, parameters: dict[str, Any], config: PreTrainedConfig) -> list[ConfigField]:
    kind = str(parameters.get("rope_type", parameters.get("type", "default")))
    kind = {"su": "longrope"}.get(kind, kind)
    nested = config.nested_rope_parameter_keys(parameters)
    fields = []
    for name, value in parameters.items():
        if name in nested and isinstance(value, dict):
            fields += _inside(f"{path}.{name}", value, config)
        else:
            readers = INSIDE.get(name)
            is_read = readers is not None and (not readers or kind in readers)
            fields.append(ConfigField(f"{path}.{name}", name, _json(value), readers is not None, is_read))
    return fields


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
