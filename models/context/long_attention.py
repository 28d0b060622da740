"""Attention for long texts: no weights are kept, and queries may be limited to a window and sinks.

Which keys may be read, and whether queries and keys are kept, is set around one forward pass in one
thread, so that a network that several sessions share stays as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from models.networks.key_cache import KeyCache, with_late_sinks
from models.networks.recording import attending


@dataclass
class LongPass:
    """One forward pass: which keys the cache holds; rotated queries and keys by layer, if kept."""

    cache: KeyCache
    inverse_frequencies: Float[Tensor, " pairs"]
    keep: bool = False
    query: list[Float[Tensor, "heads query d_k"]] = field(default_factory=list)
    key: list[Float[Tensor, "key_heads key d_k"]] = field(default_factory=list)
    scale: float = 1.0

    def attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "batch heads query d_k"],
        key: Float[Tensor, "batch key_heads key d_k"],
        value: Float[Tensor, "batch key_heads key d_v"],
        attention_mask: Tensor | None,
        *,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[Float[Tensor, "batch query heads d_v"], None]:
        """Transformers' own sdpa attention; under a window, torch's with the window's mask."""
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        if self.keep:
            self.query.append(query[0])
            self.key.append(key[0])
            self.scale = scale
        if self.cache.window is None:
            return sdpa_attention_forward(
                module, query, key, value, attention_mask, scaling=scaling, **options
            )
        output = windowed_attention(query, key, value, scale, self.cache, self.inverse_frequencies)
        return output.transpose(1, 2), None


@contextmanager
def long_pass(
    cache: KeyCache, inverse_frequencies: Float[Tensor, " pairs"], keep: bool = False
) -> Iterator[LongPass]:
    """Limit and record the forward passes that this thread makes within the ``with`` block."""
    present = LongPass(cache, inverse_frequencies, keep)
    with attending(present.attend):
        yield present


def windowed_attention(
    query: Float[Tensor, "batch heads token d_k"],
    key: Float[Tensor, "batch key_heads token d_k"],
    value: Float[Tensor, "batch key_heads token d_v"],
    scale: float,
    cache: KeyCache,
    inverse_frequencies: Float[Tensor, " pairs"],
) -> Float[Tensor, "batch heads token d_v"]:
    """Attention of rotated queries and keys over what the cache keeps."""
    visible = cache.visible(query.shape[2]).to(query.device)
    query, key = with_late_sinks(query, key, cache, inverse_frequencies)
    return scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scale, enable_gqa=True)
