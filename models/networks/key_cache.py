"""Which keys a decoder keeps: all of them, or a sliding window with attention sinks.

The sinks are the first tokens of the text, kept for good; with a window they give the Λ-shaped mask of
StreamingLLM (Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks") and
LM-Infinite (Han et al. 2023).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError
from models.rotary.rope import rotate, rotation

Positions = Literal["text", "cache"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)


@dataclass(frozen=True)
class KeyCache:
    """Which keys are kept: the first ``sinks`` and the latest ``window``, the token's own included.

    A ``window`` of None keeps all. ``positions``: "text" leaves every key the position it has in
    the text; "cache" counts positions within the cache, as StreamingLLM does, so that no distance
    is larger than the cache. The window counts as sliding_window does in transformers: a token
    reads itself and window − 1 before it. Raises InputError for a window below 1 or negative sinks.
    """

    window: int | None = None
    sinks: int = 0
    positions: Positions = "text"

    def __post_init__(self) -> None:
        if (self.window is not None and self.window < 1) or self.sinks < 0:
            raise InputError(
                "A window of {window} with {sinks} sinks is not accepted; "
                "a window holds at least the token itself, and sinks are 0 or more.",
                window=self.window,
                sinks=self.sinks,
            )

    @property
    def size(self) -> int | None:
        """Keys in the full cache."""
        return None if self.window is None else self.window + self.sinks

    def kept(self, tokens: int) -> Int[Tensor, " tokens"]:
        """How many keys each token finds, its own included."""
        return torch.arange(1, tokens + 1).clamp(max=tokens if self.size is None else self.size)

    def delay(self, token: Int[Tensor, "*tokens"]) -> Int[Tensor, "*tokens"]:
        """How many positions the sinks have moved up behind the window when ``token`` is read."""
        if self.size is None or self.positions == "text":
            return torch.zeros_like(token)
        return (token - (self.size - 1)).clamp(min=0)

    def visible(self, tokens: int | Int[Tensor, " tokens"]) -> Bool[Tensor, "query key"]:
        """Which keys each token finds: a Λ where there are sinks, a band where not.

        ``tokens`` is the number of tokens, or those positions of the text that are wanted.
        """
        position = torch.arange(tokens) if isinstance(tokens, int) else tokens
        query, key = position[:, None], position[None, :]
        causal = key <= query
        if self.window is None:
            return causal
        return causal & ((query - key < self.window) | (key < self.sinks))


EVERYTHING = KeyCache()


def moved(
    x: Float[Tensor, "*batch tokens d_k"],
    steps: Int[Tensor, " tokens"],
    frequencies: Float[Tensor, " pairs"],
) -> Float[Tensor, "*batch tokens d_k"]:
    """Rotary vectors in Llama's layout moved by so many positions: R(p + s) x = R(s) R(p) x.

    Su et al. 2021, "RoFormer", equation 15. ``frequencies`` in radians a position.
    """
    return rotate(x, rotation(steps, frequencies.to(x.device), "half"))


def with_late_sinks(
    query: Float[Tensor, "*batch heads tokens d_k"],
    key: Float[Tensor, "*batch key_heads tokens d_k"],
    cache: KeyCache,
    frequencies: Float[Tensor, " pairs"],
) -> tuple[Tensor, Tensor]:
    """Rotated queries and keys whose products see the sinks right behind the window, however long the text.

    q·k depends on the distance alone, so each query is turned back by the sinks' delay, for the
    sinks only. Both kinds of score come out of one product of twice the width: queries [q, turned q]
    against keys [k, 0] of the window and [0, k] of the sinks. Where nothing is late, both stay.
    """
    position = torch.arange(query.shape[-2], device=query.device)
    delay = cache.delay(position)
    if cache.sinks == 0 or not delay.any():
        return query, key
    is_sink = (position < cache.sinks)[:, None]
    keys = [key.masked_fill(is_sink, 0), key.masked_fill(~is_sink, 0)]
    return torch.cat([query, moved(query, -delay, frequencies)], dim=-1), torch.cat(keys, dim=-1)
