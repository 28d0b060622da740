"""Whether what a trace says about an attention layer is what the layer computes.

Many architectures attend through the same interface and differ in a detail that it does not show: a gate
on the heads' outputs, a norm after the rotation, a layer that is handed angles and rotates nothing. Each
network that is loaded is therefore looked at once, in numbers; one that is not understood runs, and is
not traced.
"""

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models.errors import InputError
from models.networks.recording import AttentionCall, Recorder, without_rotation
from models.numerics.masked_softmax import masked_softmax
from models.rotary.rope import rotate

EXACT, HALF = 1e-3, 0.05  # of the largest number; the second for networks in 16 bits


def why_unexplained(
    recorder: Recorder, projections: tuple[nn.Linear | Conv1D, ...], name: str
) -> InputError | None:
    """The refusal where weights, heads' outputs or the layer's output come about in another way."""
    for call, projected, projection in zip(
        recorder.attention, recorder.projected, projections, strict=True
    ):
        heads = call.row(0, call.query.shape[2])
        if not is_close(weights(heads), heads.probabilities):
            return InputError(
                "Loupe cannot explain {name}: its attention weights are no softmax of scaled scores.",
                name=name,
            )
        repeat = heads.query.shape[0] // heads.key.shape[0]
        value = heads.value.repeat_interleave(repeat, dim=0)
        if not is_close(heads.probabilities.to(value.dtype) @ value, heads.head_output):
            return InputError(
                "Loupe cannot explain {name}: its heads put out no weighted means of values.", name=name
            )
        joined = projection(heads.head_output.transpose(0, 1).flatten(1))
        if not is_close(joined, projected[0]):
            return InputError(
                "Loupe cannot explain {name}: what its attention writes is no projection of its heads' "
                "outputs.",
                name=name,
            )
    return None


def weights(call: AttentionCall) -> Tensor:
    """One text's weights as a trace explains them: softmax of capped, scaled and masked scores."""
    query, key = call.query.float(), call.key.float()
    scores = query @ key.repeat_interleave(len(query) // len(key), dim=0).mT * call.scale
    if call.softcap is not None:
        scores = call.softcap * torch.tanh(scores / call.softcap)
    if call.mask is not None:
        hidden = call.mask <= torch.finfo(call.mask.dtype).min / 2
        scores = scores.masked_fill(hidden, -torch.inf)
    sink = None if call.sink is None else call.sink.float()[:, None, None]
    return masked_softmax(scores, sink).probabilities


def is_undone(call: AttentionCall) -> bool:
    """Whether rotating back gives what the layer makes of the same text without any rotation."""
    one = call.row(0, call.query.shape[2])
    if one.rotary is None or (made := without_rotation(one.rotary)) is None:
        return False
    turns = (one.rotary.query, one.rotary.key)
    rotated = (one.query, one.key)
    return all(
        is_close(rotate(x.float(), turn.inverse), plain)
        for x, turn, plain in zip(rotated, turns, made, strict=True)
    )


def is_close(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two arrays agree as far as their precision lets them."""
    if ours.shape != theirs.shape:
        return False
    is_half = min(torch.finfo(x.dtype).bits for x in (ours, theirs)) < 32
    largest = float(theirs.float().abs().max())
    gap = float((ours.float() - theirs.float()).abs().max())
    return gap <= (HALF if is_half else EXACT) * max(largest, 1e-6)
