"""Traces, scores and samples as bytes, in the safetensors format, and back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import torch
from safetensors.torch import load
from torch import Tensor

from models.networks.sampling import Samples
from models.networks.scoring import AnswerScore
from models.networks.tracing import LayerTrace, OutputProjection, RotaryTrace, Trace, Unrotated
from models.rotary.rope import Rotation

TYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}
LAYER_ARRAYS = ("query", "key", "value", "head_output", "projected")
LAYER_NUMBERS = ("scale", "base_scale", "softcap")


def pack(about: Any, arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays by name, and what else there is to say about them, as one safetensors file.

    Written out here, because the library's own writer copies every array three times: of a trace with
    128 tokens that takes a third of the time of its forward pass.
    """
    header: dict[str, Any] = {"__metadata__": {"about": orjson.dumps(about).decode()}}
    parts: list[Any] = []  # an array is a buffer, which its type does not say
    end = 0
    for name, array in arrays.items():
        part = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        header[name] = {
            "dtype": TYPES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (end, end + part.nbytes),
        }
        parts.append(part)
        end += part.nbytes
    head = orjson.dumps(header)
    return b"".join([len(head).to_bytes(8, "little"), head, *parts])


def unpack(data: bytes) -> tuple[Any, dict[str, Tensor]]:
    """What was said about the arrays, and the arrays. Raises ValueError on bytes that are no such file."""
    try:
        arrays = load(data)
        header = orjson.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return orjson.loads(header["__metadata__"]["about"]), arrays
    except Exception as error:  # safetensors has an exception of its own, and a header may lack anything
        raise ValueError("This is no answer.") from error


def pack_trace(trace: Trace) -> bytes:
    """A trace without what the network itself holds."""
    arrays = {"token_ids": trace.token_ids, "hidden": trace.hidden}
    if trace.logits is not None:
        arrays["logits"] = trace.logits
    about = {
        "labels": trace.labels,
        "text_shown": trace.text_shown,
        "tokens_total": trace.tokens_total,
        "layers": [_about_layer(record) for record in trace.layers],
    }
    for index, record in enumerate(trace.layers):
        arrays |= {f"{index}.{name}": getattr(record, name) for name in LAYER_ARRAYS}
        if record.sink is not None:
            arrays[f"{index}.sink"] = record.sink
        arrays[f"{index}.visible"] = torch.from_numpy(np.packbits(record.visible.numpy()))
        arrays[f"{index}.probabilities"] = _without_hidden(record)
        if record.rotary is not None:
            for which, turn in (("query", record.rotary.query), ("key", record.rotary.key)):
                arrays |= {f"{index}.{which}.cos": turn.cos, f"{index}.{which}.sin": turn.sin}
    return pack(about, {name: tensor.numpy() for name, tensor in arrays.items()})


def _without_hidden(record: LayerTrace) -> Tensor:
    """The weights of visible pairs, a row a head; all, where a hidden pair has weight or heads differ."""
    weights = record.probabilities.numpy()
    if record.visible.ndim == 3:
        return record.probabilities
    sent = weights.reshape(len(weights), -1).take(np.flatnonzero(record.visible.numpy()), axis=1)
    has_hidden_weight = np.count_nonzero(sent) < np.count_nonzero(weights)
    return record.probabilities if has_hidden_weight else torch.from_numpy(sent)


def _with_hidden(sent: Tensor, visible: np.ndarray) -> Tensor:
    """The weights of all pairs: those that were not sent are zero."""
    if sent.ndim == 3:
        return sent
    weights = np.zeros((len(sent), visible.size), dtype=np.float32)
    weights[:, np.flatnonzero(visible)] = sent.numpy()
    return torch.from_numpy(weights.reshape(len(sent), *visible.shape))


def _about_layer(record: LayerTrace) -> dict[str, Any]:
    about = {name: getattr(record, name) for name in LAYER_NUMBERS}
    rotary = record.rotary
    layouts = None if rotary is None else (rotary.query.layout, rotary.key.layout)
    return about | {"visible": tuple(record.visible.shape), "layouts": layouts}


def unpack_trace(
    data: bytes,
    output_projection: Callable[[int], OutputProjection],
    unrotated: Callable[[int], Unrotated | None],
) -> Trace:
    """The trace that was packed. What the network itself holds is asked for by layer, when it is read."""
    about, arrays = unpack(data)

    def layer(index: int, said: dict[str, Any]) -> LayerTrace:
        mine: dict[str, Any] = {name: arrays[f"{index}.{name}"] for name in LAYER_ARRAYS}
        numbers: dict[str, Any] = {name: said[name] for name in LAYER_NUMBERS}
        shape = said["visible"]
        bits = np.unpackbits(arrays[f"{index}.visible"].numpy(), count=int(np.prod(shape)))
        visible = bits.astype(bool).reshape(shape)
        rotary = None
        if said["layouts"] is not None:
            turns = [
                Rotation(arrays[f"{index}.{which}.cos"], arrays[f"{index}.{which}.sin"], layout)
                for which, layout in zip(("query", "key"), said["layouts"], strict=True)
            ]
            rotary = RotaryTrace(turns[0], turns[1], lambda: unrotated(index))
        return LayerTrace(
            **mine,
            **numbers,
            visible=torch.from_numpy(visible),
            probabilities=_with_hidden(arrays[f"{index}.probabilities"], visible),
            output_projection=lambda: output_projection(index),
            rotary=rotary,
            sink=arrays.get(f"{index}.sink"),
        )

    return Trace(
        arrays["token_ids"],
        tuple(about["labels"]),
        about["text_shown"],
        about["tokens_total"],
        tuple(layer(index, said) for index, said in enumerate(about["layers"])),
        arrays["hidden"],
        arrays.get("logits"),
    )


def pack_pair(pair: tuple[Tensor, Tensor | None] | None) -> bytes:
    """Two arrays of which the second, or both, may be missing; in float32."""
    named = zip(("first", "second"), pair or (), strict=False)
    return pack(None, {name: part.float().cpu().numpy() for name, part in named if part is not None})


def unpack_pair(data: bytes) -> tuple[Tensor | None, Tensor | None]:
    _about, arrays = unpack(data)
    return arrays.get("first"), arrays.get("second")


def pack_scores(scores: tuple[AnswerScore, ...]) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    for index, one in enumerate(scores):
        arrays |= {f"{index}.ids": one.token_ids, f"{index}.log": one.log_probabilities}
    return pack([one.labels for one in scores], arrays)


def unpack_scores(data: bytes) -> tuple[AnswerScore, ...]:
    about, arrays = unpack(data)
    return tuple(
        AnswerScore(arrays[f"{index}.ids"].numpy(), tuple(labels), arrays[f"{index}.log"].numpy())
        for index, labels in enumerate(about)
    )


def pack_samples(samples: Samples) -> bytes:
    names = ("prompt_ids", "token_ids", "log_probabilities", "lengths")
    return pack(samples.texts, {name: getattr(samples, name) for name in names})


def unpack_samples(data: bytes) -> Samples:
    about, arrays = unpack(data)
    return Samples(**{name: array.numpy() for name, array in arrays.items()}, texts=tuple(about))


def trace_bytes(trace: Trace) -> int:
    """Of the arrays that a trace holds, each counted once."""
    tensors = [trace.token_ids, trace.hidden, *([] if trace.logits is None else [trace.logits])]
    for record in trace.layers:
        tensors += [getattr(record, name) for name in (*LAYER_ARRAYS, "probabilities", "visible")]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
