"""What a network holds and computes for a text, kept for a few texts and settings."""

from functools import lru_cache

import torch

from components.words import _
from models.networks.loading import Network, load
from models.networks.tokens import labels
from models.quantization.bit_budget import measure_allocation, parts_of
from models.quantization.quantized_network import (
    Baseline,
    Cascade,
    Measured,
    Weight,
    cascade,
    layer_inputs,
    read_baseline,
    token_ids,
    weight_errors,
    weights_of,
)
from models.quantization.weight_formats import Setting
from models.runtime.kept import Kept
from models.runtime.memory import drop_when_short
from models.runtime.settings import settings

SCOPES = ("all", "attention", "mlp")
SHARE = 0.25  # of the cache's bytes, for what matrices read


def _most_bytes() -> int:
    return int(SHARE * settings().cache_megabytes * 1e6)


def _bytes_of(inputs: dict[str, torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in inputs.values())


BASELINES: Kept[tuple[str, str], Baseline] = Kept(_most_bytes, lambda baseline: baseline.nbytes)
INPUTS: Kept[tuple[str, str], dict[str, torch.Tensor]] = Kept(_most_bytes, _bytes_of)
drop_when_short(BASELINES.clear)
drop_when_short(INPUTS.clear)


def network(name: str) -> Network:
    """The network that this process holds: what is shown here is done to its weights. Raises InputError."""
    return load(name)


@lru_cache(maxsize=16)
def weights(name: str) -> tuple[Weight, ...]:
    """All matrices that quantizers take. Raises InputError."""
    return weights_of(network(name))


def baseline(name: str, text: str) -> Baseline:
    """The untouched network on a text and on the passages; shared, so nothing may be changed in it.

    Raises InputError for an encoder.
    """

    def make() -> Baseline:
        return read_baseline(network(name), token_ids(network(name), text))

    return BASELINES.get((name, text), make)


def read_by(name: str, text: str) -> dict[str, torch.Tensor]:
    """The input of every matrix for a text; shared, so nothing may be changed in it."""
    if (known := BASELINES.find((name, text))) is not None:
        return known.inputs
    return INPUTS.get((name, text), lambda: layer_inputs(network(name), token_ids(network(name), text))[0])


@lru_cache(maxsize=8)
def text_labels(name: str, text: str) -> tuple[str, ...]:
    loaded = network(name)
    return labels(loaded.tokenizer, tuple(token_ids(loaded, text).tolist()))


def chosen_weights(name: str, scope: str) -> tuple[Weight, ...]:
    """All matrices, or those of attention or of the MLPs alone, by their names."""
    every = weights(name)
    if scope == "all":
        return every
    inside = tuple(weight for weight in every if "attn" in weight.module or "attention" in weight.module)
    if scope == "attention":
        return inside or every
    return tuple(weight for weight in every if weight not in inside) or every


@lru_cache(maxsize=64)
def followed_down(name: str, text: str, scope: str, setting: Setting) -> Cascade:
    base = baseline(name, text)
    return cascade(network(name), base.tokens, chosen_weights(name, scope), setting, base)


@lru_cache(maxsize=64)
def allocated(name: str, text: str, allocation: tuple[int, ...], setting: Setting) -> Measured:
    base = baseline(name, text)
    return measure_allocation(network(name), base.tokens, allocation, setting, base)


@lru_cache(maxsize=32)
def errors_alone(name: str, setting: Setting) -> torch.Tensor:
    """‖W − Ŵ‖ / ‖W‖ of every matrix."""
    return weight_errors(network(name), weights(name), setting)


@lru_cache(maxsize=16)
def part_names(name: str) -> tuple[str, ...]:
    """Layers of each part of the bit budget, such as "0" or "0–3"."""
    parts = parts_of(network(name))
    return tuple(str(p.first) if p.first == p.last else f"{p.first}–{p.last}" for p in parts)


def part_label(name: str) -> str:
    """A part's name as a heading."""
    return (_("Layers {layers}") if "–" in name else _("Layer {layers}")).format(layers=name)
