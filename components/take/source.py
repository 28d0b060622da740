"""Where a script takes a network from: its own text, a package, or transformers' hub."""

import dataclasses
from functools import lru_cache
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from components.take.literals import Data, Expression, Written, as_text
from components.take.parts.network import network_of
from components.take.parts.recorded import Change, record
from models.networks.catalogue import Entry, find
from models.networks.interventions import Intervention
from models.networks.loading import Network, load
from models.networks.rotary import Rotary
from models.networks.tracing import NO_INTERVENTION, Trace
from models.rotary.rope import rotate, rotation

Given = dict[str, Any]  # a recipe's arguments, or how a script makes them


def is_embedded(network: str) -> bool:
    """Whether it comes with this program alone, so that a script has to hold what it needs of it."""
    return find(network).source == "embedded"


def model_of(network: str) -> Expression:
    """The Python that makes a network's transformers model, in float32 on the processor."""
    loaded = load(network)
    if loaded.entry.source == "embedded":
        text = f"network_of({_config(loaded)}, WEIGHTS)"
        return Expression(text, (network_of,), data=_weights(network))
    return _loaded(loaded.entry)


def _loaded(entry: Entry) -> Expression:
    architecture = str(entry.architecture)
    kind = "AutoModel"
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        kind = "AutoModelForCausalLM"
    elif architecture.endswith("ForMaskedLM"):
        kind = "AutoModelForMaskedLM"
    imports = [f"from transformers import {kind}"]
    place = repr(entry.location)
    if entry.source == "package":
        imports += [f"import {entry.location}", "from pathlib import Path"]
        place = f'Path({entry.location}.__file__).parent / "model"'
    text = f'{kind}.from_pretrained({place}, dtype="float32", attn_implementation="eager").eval()'
    return Expression(text, imports=tuple(imports))


def _config(network: Network) -> str:
    """What differs from the architecture's defaults, as a dictionary over several lines."""
    config = network.model.config
    usual = type(config)().to_dict()
    left_out = ("transformers_version", "architectures", "dtype", "_name_or_path")
    given = {
        name: value
        for name, value in config.to_dict().items()
        if name not in left_out and (name == "model_type" or usual.get(name) != value)
    }
    return Written().text("", given)


@lru_cache(maxsize=1)
def _weights(network: str) -> tuple[Data]:
    """All parameters, tied ones once."""
    model = load(network).model
    shared: dict[int, str] = {}
    for name, tensor in model.state_dict().items():
        shared.setdefault(tensor.data_ptr(), name)
    parameters = {name: model.state_dict()[name].contiguous() for name in shared.values()}
    return (Data("WEIGHTS", as_text(safetensors.torch.save(parameters))),)


# What recipes are given -----------------------------------------------------------------------------


def given_network(network: str, trace: Trace) -> Given:
    """``model`` and ``token_ids``."""
    return {"model": model_of(network), "token_ids": trace.token_ids.tolist()}


def given_recorded(network: str, trace: Trace, change: Intervention) -> Given:
    """The same, and a pass that was ``recorded`` with a change."""
    changed = Change(change.scale_exponent, change.temperature, change.silenced)
    if changed == Change():
        call = Expression("record(model, token_ids)", (record,))
        return {**given_network(network, trace), "recorded": call}
    call = Expression("record(model, token_ids, change)", (record,))
    return {**given_network(network, trace), "change": changed, "recorded": call}


def given_head(network: str, trace: Trace, change: Intervention, layer: int, head: int) -> Given:
    """``query``, ``key`` and ``value`` of one head, what is ``visible`` to it, and the ``scale``."""
    held = trace.layers[layer]
    if is_embedded(network):
        source = held.key_of_head[head]
        return {
            "query": held.query[head],
            "key": held.key[source],
            "value": held.value[source],
            "visible": visible_of(held.visible if held.visible.ndim == 2 else held.visible[head]),
            "scale": held.scale,
        }
    parts = ("query", "key", "value", "visible")
    return {
        **given_recorded(network, trace, change),
        **{part: Expression(f"recorded.layers[{layer}].{part}[{head}]") for part in parts},
        "scale": Expression(f"recorded.layers[{layer}].scale"),
    }


def given_unrotated(network: str, trace: Trace, layer: int, head: int, rotary: Rotary) -> Given:
    """``query`` and ``key`` of one head before rotary embedding, and what is ``visible`` to it."""
    held = trace.layers[layer]
    visible = held.visible if held.visible.ndim == 2 else held.visible[head]
    if is_embedded(network):
        return {
            "query": held.unrotated_query[head],
            "key": held.unrotated_key[held.key_of_head[head]],
            "visible": visible_of(visible),
        }
    place = f"recorded.layers[{layer}]"
    return {
        **given_recorded(network, trace, NO_INTERVENTION),
        "turn": turn_of(trace, rotary),
        "query": Expression(f"rotate({place}.query[{head}], turn.inverse)", (rotate,)),
        "key": Expression(f"rotate({place}.key[{head}], turn.inverse)", (rotate,)),
        "visible": Expression(f"{place}.visible[{head}]"),
    }


def turn_of(trace: Trace, rotary: Rotary) -> Expression:
    """The Python that makes a network's rotation of a text."""
    frequency = Written().text("", rotary.frequency, 20)
    return Expression(
        f'rotation(torch.arange({trace.tokens_shown}), {frequency}, "{rotary.layout}", {rotary.factor!r})',
        (rotation,),
        ("import torch",),
    )


def given_queries(network: str, trace: Trace) -> Given:
    """``query`` and ``key`` of all heads of all layers, what is ``visible``, and the ``scale``."""
    if is_embedded(network):
        return {
            "query": torch.stack([layer.query for layer in trace.layers]),
            "key": torch.stack([layer.key for layer in trace.layers]),
            "visible": visible_of(trace.layers[0].visible),
            "scale": trace.layers[0].scale,
            "token_ids": trace.token_ids.tolist(),
        }
    stacked = {
        part: Expression(
            f"torch.stack([layer.{part} for layer in recorded.layers])", imports=("import torch",)
        )
        for part in ("query", "key", "visible")
    }
    return {
        **given_recorded(network, trace, NO_INTERVENTION),
        **stacked,
        "scale": Expression("recorded.layers[0].scale"),
    }


def visible_of(visible: Tensor) -> Tensor | Expression:
    """A mask; the usual one by its name."""
    if visible.ndim == 2 and torch.equal(visible, torch.ones_like(visible).tril()):
        return Expression(
            f"torch.ones({len(visible)}, {len(visible)}).tril().bool()", imports=("import torch",)
        )
    return visible


def row_of(rows: Tensor | Expression, row: int) -> Tensor | Expression:
    """One row of what a script is given, or makes."""
    if isinstance(rows, Tensor):
        return rows[row]
    return dataclasses.replace(rows, text=f"{rows.text}[{row}]")
