"""Numbers of a pasted config that no network has: refused before anything is built from them."""

import math
from typing import Any

from models.errors import InputError
from models.rotary.scaling import WIDEST

MOST_LAYERS = 1_000
LARGEST = 10**15  # of any number; larger whole ones are no floats, and no config has them
LONGEST_LIST = 10_000
DEEPEST = 4  # objects within objects: a part, its rotary settings, those of a type of layer
SHARES = ("partial_rotary_factor", "rotary_pct", "rope_pct")
# Whole numbers, and the most that each may be.
COUNTS = {
    "num_hidden_layers": MOST_LAYERS,
    "hidden_size": 10**6,
    "num_attention_heads": 10**5,
    "num_key_value_heads": 10**5,
    "head_dim": WIDEST,
    "rotary_dim": WIDEST,
    "qk_rope_head_dim": WIDEST,
    "n_embd": 10**6,
    "n_head": 10**5,
    "n_positions": 10**9,
    "no_rope_layer_interval": MOST_LAYERS,
}


def check_bounds(config: dict[str, Any], names: frozenset[str], depth: int = 0) -> None:
    """Look through what is handed to transformers: the fields ``names``, and all that lies inside one.

    Raises InputError on the first number that is not finite, too large, or out of its range; also inside
    parts of a multimodal config.
    """
    if depth > DEEPEST:
        raise InputError("The config has objects within objects, deeper than any that is known.")
    for name, value in config.items():
        if name in names:
            _check(name, value, depth)
        elif name.endswith("_config") and isinstance(value, dict):
            check_bounds(value, names, depth + 1)


def _check(name: str, value: Any, depth: int) -> None:
    if isinstance(value, dict):
        check_bounds(value, frozenset(value), depth + 1)
    elif isinstance(value, list):
        if len(value) > LONGEST_LIST:
            raise InputError("The list {name} has more than {most} entries.", name=name, most=LONGEST_LIST)
        for item in value:
            _check(name, item, depth)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(name, value)


def _check_number(name: str, value: int | float) -> None:
    if not -LARGEST <= value <= LARGEST or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError("The field {name} must be a finite number, up to 10¹⁵.", name=name)
    if name in SHARES and not 0 <= value <= 1:
        raise InputError("The field {name} must be from 0 to 1.", name=name)
    if name in COUNTS and (value != int(value) or not 1 <= value <= COUNTS[name]):
        raise InputError("{name} must be a whole number from 1 to {most}.", name=name, most=COUNTS[name])
