"""One attention function for every architecture: it records, and it intervenes, for one pass.

It is registered with transformers under ATTENTION, the only such name. What it records into, which
intervention it applies, and what attends in its place, lies in context variables that are set around
one forward pass in one thread, so that nothing stays on the network that many sessions share.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from models.errors import InputError
from models.networks.interventions import Intervention, Visible
from models.rotary.rope import Layout, Rotation, rotate

ATTENTION = "loupe"


@dataclass(frozen=True)
class RotaryCall:
    """How one layer's queries and keys were rotated, and from what they were projected."""

    query: Rotation  # as applied: an intervention may swap the layout of one or both
    key: Rotation
    hidden: Float[Tensor, "*batch query width"]  # what the layer's projections read
    module: nn.Module  # the attention module, which holds them
    width: int  # of the cos and sin that the module was handed: twice the pairs

    def row(self, index: int, tokens: int) -> "RotaryCall":
        """The first tokens of one text of the batch; all its texts begin at the same position."""
        query, key = (
            Rotation(turn.cos[:tokens], turn.sin[:tokens], turn.layout) for turn in (self.query, self.key)
        )
        return RotaryCall(query, key, self.hidden[index, :tokens], self.module, self.width)


@dataclass(frozen=True)
class AttentionCall:
    """What one layer's attention was given and gave back, of one text or of a batch of texts."""

    query: Float[Tensor, "*batch heads query d_k"]
    key: Float[Tensor, "*batch key_heads key d_k"]
    value: Float[Tensor, "*batch key_heads key d_v"]
    mask: Float[Tensor, "*_batch mask_heads query key"] | None  # added to the scores; None hides nothing
    scale: float
    base_scale: float
    softcap: float | None
    probabilities: Float[Tensor, "*batch heads query key"]
    head_output: Float[Tensor, "*batch heads query d_v"]
    rotary: RotaryCall | None  # None where nothing is rotated, or in a way that is not known
    sink: Float[Tensor, " heads"] | None = None  # a learned score beside the keys' (gpt-oss)

    def row(self, index: int, tokens: int) -> "AttentionCall":
        """The first tokens of one text of the batch, without the batch axis."""
        mask = self.mask
        if mask is not None:
            mask = mask[min(index, len(mask) - 1), :, :tokens, :tokens]
        return AttentionCall(
            self.query[index, :, :tokens],
            self.key[index, :, :tokens],
            self.value[index, :, :tokens],
            mask,
            self.scale,
            self.base_scale,
            self.softcap,
            self.probabilities[index, :, :tokens, :tokens],
            self.head_output[index, :, :tokens],
            None if self.rotary is None else self.rotary.row(index, tokens),
            self.sink,
        )


@dataclass
class Recorder:
    """What one forward pass leaves behind, in the order of the layers."""

    intervention: Intervention
    modules: list[nn.Module] = field(default_factory=list)
    attention: list[AttentionCall] = field(default_factory=list)
    projected: list[Tensor] = field(default_factory=list)  # batch query width
    block_inputs: list[Tensor] = field(default_factory=list)  # batch query width
    block_outputs: list[Tensor] = field(default_factory=list)
    attended: Tensor = field(init=False)  # of the present block: what goes into the MLP's part
    written: Tensor = field(init=False)  # of the present block: what its MLP writes
    rotary: RotaryCall | None = None  # of the attention module that runs now


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def current_recorder() -> Recorder | None:
    """The recorder of the forward pass that this thread is in, if it is traced."""
    return _recorder.get()


@contextmanager
def recording(intervention: Intervention) -> Iterator[Recorder]:
    """Record the forward passes that this thread makes within the ``with`` block."""
    recorder = Recorder(intervention)
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


@contextmanager
def _unwatched() -> Iterator[None]:
    """A module that is run beside a pass leaves nothing in its recorder."""
    token = _recorder.set(None)
    try:
        yield
    finally:
        _recorder.reset(token)


# Called as transformers calls an attention function: module, query, key, value, mask, and options by name.
# Gives the heads' outputs, "batch query heads d_v", and the weights where it has them.
Attend = Callable[..., tuple[Tensor, Tensor | None]]
_attend: ContextVar[Attend | None] = ContextVar("attend", default=None)


@contextmanager
def attending(attend: Attend | None) -> Iterator[None]:
    """Let ``attend`` stand in for every layer's attention in the passes of this thread.

    Queries and keys come after rotary embedding. Nothing is recorded. None leaves attention as it is.
    """
    token = _attend.set(attend)
    try:
        yield
    finally:
        _attend.reset(token)


def eager_attention(module: nn.Module) -> Any:
    """The eager attention that transformers defines beside the class of an attention module.

    Raises InputError where there is none.
    """
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if eager is None:
        raise InputError(
            "Loupe cannot trace {architecture}: it attends in a way of its own.",
            architecture=type(module).__name__,
        )
    return eager


def layout_of(module: nn.Module) -> Layout | None:
    """Which dimensions the architecture rotates together; None where it does that in its own way."""
    rotate_half = getattr(sys.modules[type(module).__module__], "rotate_half", None)
    if rotate_half is None:
        return None
    answers: dict[tuple[float, ...], Layout] = {
        (-2.0, -3.0, 0.0, 1.0): "half",
        (-1.0, 0.0, -3.0, 2.0): "interleaved",
    }
    return answers.get(tuple(rotate_half(torch.arange(4.0)).tolist()))


def rotary_call(
    module: nn.Module,
    hidden: Float[Tensor, "batch query width"] | None,
    embeddings: tuple[Tensor, Tensor] | None,
) -> RotaryCall | None:
    """What rotates this layer, from the cos and sin that transformers hands to its attention.

    Both hold every pair's value twice, either one half after the other or side by side.
    """
    layout = layout_of(module)
    if hidden is None or embeddings is None or layout is None:
        return None
    cos, sin = (part[0].float() for part in embeddings)
    width = cos.shape[-1]
    pairs = cos.shape[-1] // 2
    is_in_halves = torch.equal(cos[:, :pairs], cos[:, pairs:])
    cos, sin = (part[:, :pairs] if is_in_halves else part[:, ::2] for part in (cos, sin))
    turn = Rotation(cos, sin, layout)
    return RotaryCall(turn, turn, hidden, module, width)


def without_rotation(
    call: RotaryCall,
) -> tuple[Float[Tensor, "heads query d_k"], Float[Tensor, "key_heads key d_k"]] | None:
    """One text's queries and keys as its layer makes them where every pair is turned by no angle.

    The module itself is run once more with cos 1 and sin 0, so that whatever it does before and after it
    rotates (norms of a head or of the whole projection, clipping, fused weights) is its own. None where
    it wants more than the hidden states.
    """
    hidden = call.hidden[None]
    shape = (1, hidden.shape[1], call.width)
    caught: list[Tensor] = []

    def catch(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_args: Any, **_options: Any
    ) -> tuple[Tensor, None]:
        caught.extend((query[0], key[0]))
        return query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]), None

    embeddings = (hidden.new_ones(shape), hidden.new_zeros(shape))
    try:
        with _unwatched(), attending(catch), torch.no_grad():
            call.module(hidden_states=hidden, position_embeddings=embeddings, attention_mask=None)
    except Exception:  # each architecture has arguments of its own
        return None
    return (caught[0], caught[1]) if len(caught) == 2 else None


def attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads query d_k"],
    key: Float[Tensor, "batch key_heads key d_k"],
    value: Float[Tensor, "batch key_heads key d_v"],
    attention_mask: Float[Tensor, "batch mask_heads query key"] | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Float[Tensor, "batch query heads d_v"], Float[Tensor, "batch heads query read"] | None]:
    """The architecture's own eager attention, given another scale or mask where one is asked for.

    ``read`` counts the keys; several times that where ``attending`` lays several kinds side by side.

    Each architecture's eager function is called, and none is rewritten here, so that the result
    without an intervention is the same to the last bit.
    """
    if (attend := _attend.get()) is not None:
        return attend(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **options
        )
    eager = eager_attention(module)
    recorder = _recorder.get()
    if recorder is None:
        return eager(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **options)
    intervention = recorder.intervention
    rotary = recorder.rotary
    if rotary is not None:
        query, key, rotary = _swap_layout(query, key, rotary, intervention.swapped_layout)
    base_scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scale = intervention.scale(base_scale, query.shape[-1])
    layer = len(recorder.attention)
    if (visible := intervention.mask_of(layer)) is not None:
        attention_mask = in_own_window(_additive(visible, query), options.get("sliding_window"))
    attention_mask = _hide(attention_mask, intervention.hidden_cells, layer, query, key)
    output, probabilities = eager(
        module, query, key, value, attention_mask, scaling=scale, dropout=dropout, **options
    )
    output = _silence(output, intervention.silenced, layer)
    recorder.modules.append(module)
    recorder.attention.append(
        AttentionCall(
            query,
            key,
            value,
            attention_mask,
            scale,
            base_scale,
            options.get("softcap"),
            probabilities,
            output.transpose(1, 2),
            rotary,
            getattr(module, "sinks", None),
        )
    )
    return output, probabilities


def _swap_layout(
    query: Float[Tensor, "batch heads query d_k"],
    key: Float[Tensor, "batch key_heads key d_k"],
    rotary: RotaryCall,
    swapped: frozenset[str],
) -> tuple[Tensor, Tensor, RotaryCall]:
    """Queries, keys or both, rotated anew by the same angles in the other layout's pairs."""
    own, other = rotary.query, rotary.query.other
    if "query" in swapped:
        query = rotate(rotate(query, own.inverse), other)
    if "key" in swapped:
        key = rotate(rotate(key, own.inverse), other)
    turn_of_query = other if "query" in swapped else own
    turn_of_key = other if "key" in swapped else own
    turned = replace(rotary, query=turn_of_query, key=turn_of_key)
    return query, key, turned


def _additive(visible: Visible, query: Tensor) -> Float[Tensor, "1 1 query key"]:
    """Zero where visible and the least finite number elsewhere, as transformers' eager mask."""
    mask: Bool[Tensor, "query key"] = visible.to_tensor().to(query.device)
    hidden = torch.finfo(query.dtype).min
    return torch.zeros((), dtype=query.dtype, device=query.device).where(mask, hidden)[None, None]


def in_own_window(
    mask: Float[Tensor, "batch mask_heads query key"] | None, window: int | None
) -> Float[Tensor, "batch mask_heads query key"] | None:
    """A mask of ours within the window that the layer itself has, as transformers hands it over.

    A mask with four dimensions takes the place of the network's own in every layer; without this a
    layer of Gemma or Mistral would read beyond its window, as it never does.
    """
    if mask is None or not isinstance(window, int) or window >= mask.shape[-1]:
        return mask
    if mask.shape[-2] != mask.shape[-1]:  # one token beside a cache, which has been cut already
        return mask
    at = torch.arange(mask.shape[-1], device=mask.device)
    far = (at[:, None] - at).abs() >= window
    return mask.masked_fill(far, torch.finfo(mask.dtype).min)


def attend_in_own_window(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Eager attention under a mask of ours and the layer's own window; for ``attending``."""
    mask = in_own_window(attention_mask, options.get("sliding_window"))
    return eager_attention(module)(module, query, key, value, mask, **options)


def _hide(
    mask: Float[Tensor, "batch mask_heads query key"] | None,
    cells: frozenset[tuple[int, int, int, int]],
    layer: int,
    query: Float[Tensor, "batch heads query d_k"],
    key: Float[Tensor, "batch key_heads key d_k"],
) -> Float[Tensor, "batch _heads query key"] | None:
    """The mask with this layer's single cells hidden too, one for each head; else the same mask."""
    places = [cell[1:] for cell in cells if cell[0] == layer]
    if not places:
        return mask
    batch, heads, queries, _width = query.shape
    shape = (batch, heads, queries, key.shape[2])
    mask = query.new_zeros(shape) if mask is None else mask.expand(shape).clone()
    for head, row, column in places:
        mask[:, head, row, column] = torch.finfo(mask.dtype).min
    return mask


def _silence(output: Tensor, silenced: frozenset[tuple[int, int]], layer: int) -> Tensor:
    heads = [head for silenced_layer, head in silenced if silenced_layer == layer]
    if not heads:
        return output
    output = output.clone()
    output[:, :, heads] = 0
    return output


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
