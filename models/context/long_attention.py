"""Attention for long texts: no weights are kept, and queries may be limited to a window and sinks.

Registered with transformers under LONG_ATTENTION. Which keys may be read, and whether queries and
keys are kept, lies in a context variable around one forward pass in one thread, so that a network
that several sessions share stays as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from models.errors import InputError

LONG_ATTENTION = "loupe_long"


@dataclass(frozen=True)
class Reach:
    """Which earlier tokens a query reads: itself and those before it, ``window`` in all, and sinks.

    ``sinks`` are the first tokens of the text, read from anywhere: with a window this is the
    Λ-shaped mask of StreamingLLM (Xiao et al. 2023) and LM-Infinite (Han et al. 2023). With
    ``cache_positions`` the distance to a sink is counted inside the cache that a decoder would keep,
    as StreamingLLM does, and never exceeds ``window + sinks`` − 1; without, it is the text's own.

    Raises InputError on a window below 1 or sinks below 0.
    """

    window: int | None = None  # None: everything before
    sinks: int = 0
    cache_positions: bool = True

    def __post_init__(self):
        if (self.window is not None and self.window < 1) or self.sinks < 0:
            raise InputError("A window holds at least one token, and sinks cannot be fewer than 0.")

    def visible(self, tokens: int) -> Bool[Tensor, "query key"]:
        """True where the query may read the key."""
        distance = torch.arange(tokens)[:, None] - torch.arange(tokens)[None, :]
        causal = distance >= 0
        if self.window is None:
            return causal
        return causal & ((distance < self.window) | (torch.arange(tokens) < self.sinks)[None, :])


EVERYTHING = Reach()


@dataclass
class LongPass:
    """One forward pass: what may be read, and of every layer the rotated queries and keys if kept."""

    reach: Reach
    inverse_frequencies: Float[Tensor, " pairs"]
    keep: bool = False
    query: list[Float[Tensor, "heads query d_k"]] = field(default_factory=list)
    key: list[Float[Tensor, "key_heads key d_k"]] = field(default_factory=list)
    scale: float = 1.0


_pass: ContextVar[LongPass | None] = ContextVar("long_pass", default=None)


@contextmanager
def long_pass(
    reach: Reach, inverse_frequencies: Float[Tensor, " pairs"], keep: bool = False
) -> Iterator[LongPass]:
    """Limit and record the forward passes that this thread makes within the ``with`` block."""
    present = LongPass(reach, inverse_frequencies, keep)
    token = _pass.set(present)
    try:
        yield present
    finally:
        _pass.reset(token)


def attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads query d_k"],
    key: Float[Tensor, "batch key_heads key d_k"],
    value: Float[Tensor, "batch key_heads key d_v"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Float[Tensor, "batch query heads d_v"], None]:
    """Transformers' own sdpa attention; under a window, torch's with the window's mask."""
    present = _pass.get()
    if present is not None and present.keep:
        present.query.append(query[0])
        present.key.append(key[0])
        present.scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if present is None or present.reach.window is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    output = windowed_attention(query, key, value, scale, present.reach, present.inverse_frequencies)
    return output.transpose(1, 2), None


def windowed_attention(
    query: Float[Tensor, "batch heads token d_k"],
    key: Float[Tensor, "batch key_heads token d_k"],
    value: Float[Tensor, "batch key_heads token d_v"],
    scale: float,
    reach: Reach,
    inverse_frequencies: Float[Tensor, " pairs"],
) -> Float[Tensor, "batch heads token d_v"]:
    """Attention of rotated queries and keys over a window and sinks.

    Where sinks are counted by their place in the cache, a query meets them with another rotation
    than the window's keys: they are given to torch as further keys in further dimensions, which are
    zero for the others.
    """
    tokens = query.shape[2]
    visible = reach.visible(tokens).to(query.device)
    sinks = min(reach.sinks, tokens)
    if reach.window is None or not sinks or not reach.cache_positions:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=visible, scale=scale, enable_gqa=True
        )
    # The cache holds ``sinks + window`` tokens at most: there a late query sits at its last place.
    position = torch.arange(tokens, device=query.device)
    shift = (position - (sinks + reach.window - 1)).clamp(min=0)
    moved = rotated(query, -shift, inverse_frequencies)
    distance = position[:, None] - position[None, :]
    near = visible & (distance < reach.window)
    # A sink that is within the window is read there; its copy among the further keys is hidden.
    far = visible[:, :sinks] & ~near[:, :sinks]
    zeros = torch.zeros_like
    first = key[:, :, :sinks]
    return scaled_dot_product_attention(
        torch.cat([query, moved], -1),
        torch.cat([torch.cat([key, zeros(key)], -1), torch.cat([zeros(first), first], -1)], 2),
        torch.cat([value, value[:, :, :sinks]], 2),
        attn_mask=torch.cat([near, far], 1),
        scale=scale,
        enable_gqa=True,
    )


def rotated(
    x: Float[Tensor, "batch heads token d_k"],
    positions: Tensor,
    inverse_frequencies: Float[Tensor, " pairs"],
) -> Float[Tensor, "batch heads token d_k"]:
    """Turn each token's pairs by position · θ, in Llama's layout: dimension i goes with i + d/2."""
    angles = positions[:, None].float() * inverse_frequencies.to(x.device)
    cos, sin = (torch.cat([part, part], -1).to(x.dtype) for part in (angles.cos(), angles.sin()))
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], -1) * sin


ALL_ATTENTION_FUNCTIONS.register(LONG_ATTENTION, attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(LONG_ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
