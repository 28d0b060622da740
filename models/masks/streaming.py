"""A long text through a bounded cache: sliding window, attention sinks, prefill and decode.

A Λ-shaped cache keeps the first tokens and the latest (Xiao et al. 2023, "Efficient Streaming
Language Models with Attention Sinks"). A full pass under the mask of the same shape gives the same
numbers, as a token's keys and values were themselves computed under that mask.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, PreTrainedModel

from models.errors import InputError
from models.networks.loading import Network
from models.networks.recording import Rewrite, rewriting

Positions = Literal["text", "cache"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)
LONGEST_STREAM = 1_024  # tokens
# Networks that rotate whole heads in halves, and attend through transformers' interface.
ROTARY = ("gemma", "llama", "mistral", "mixtral", "qwen2", "qwen3")


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

    def __post_init__(self):
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


def visible_pairs(places: int | Int[Tensor, " places"], cache: KeyCache) -> Bool[Tensor, "query key"]:
    """Which keys each token finds in the cache: a Λ where there are sinks, a band where not.

    ``places`` is the number of tokens, or those places of the text that are wanted.
    """
    place = torch.arange(places) if isinstance(places, int) else places
    query, key = place[:, None], place[None, :]
    causal = key <= query
    if cache.window is None:
        return causal
    return causal & ((query - key < cache.window) | (key < cache.sinks))


def stream_logits(
    network: Network, token_ids: Int[Tensor, " tokens"], cache: KeyCache
) -> Float[Tensor, "tokens vocabulary"]:
    """All tokens in one pass under the cache's mask, in float32 on the CPU.

    Raises InputError for too many tokens, and for positions within the cache on a network whose
    keys cannot be turned.
    """
    check_stream(network, len(token_ids), cache)
    with rewriting(_late_sinks(network.model, len(token_ids), cache)), torch.no_grad():
        output = network.model(
            token_ids[None].to(network.device),
            attention_mask=_additive(visible_pairs(len(token_ids), cache), network),
            use_cache=False,
        )
    return output.logits[0].float().cpu()


def check_stream(network: Network, tokens: int, cache: KeyCache) -> None:
    """Raise InputError where the network cannot read so many tokens in this way."""
    config = network.model.config
    is_rotary = hasattr(config, "rope_parameters")
    most = LONGEST_STREAM if is_rotary else min(LONGEST_STREAM, network.context)
    if not 2 <= tokens <= most:
        raise InputError(
            "There are {count} tokens; this network can stream from 2 to {most}.", count=tokens, most=most
        )
    if cache.positions == "cache" and cache.window is not None and not _can_turn(network.model):
        raise InputError(
            "Positions within the cache need rotary positions, whose keys can be turned after the fact; "
            "{name} does not have them.",
            name=network.entry.name,
        )


def _can_turn(model: PreTrainedModel) -> bool:
    rope = getattr(model.config, "rope_parameters", None) or {}
    return model.config.model_type in ROTARY and rope.get("rope_type") == "default"


def losses(
    logits: Float[Tensor, "tokens vocabulary"], token_ids: Int[Tensor, " tokens"]
) -> Float[Tensor, " later"]:
    """−ln p of every token but the first, in nats: entry i is the loss of token i + 1."""
    return cross_entropy(logits[:-1], token_ids[1:], reduction="none")


def running_mean(values: Float[Tensor, " values"], width: int) -> Float[Tensor, " values"]:
    """The mean of each value and the width − 1 before it; of fewer at the beginning."""
    total = torch.cat([values.new_zeros(1, dtype=torch.float64), values.double().cumsum(0)])
    end = torch.arange(1, len(values) + 1)
    begin = (end - width).clamp(min=0)
    return ((total[end] - total[begin]) / (end - begin)).float()


# Turning keys --------------------------------------------------------------------------------


def turned(
    vectors: Float[Tensor, "*batch tokens d_k"],
    steps: Int[Tensor, " tokens"],
    frequencies: Float[Tensor, " half"],
) -> Float[Tensor, "*batch tokens d_k"]:
    """Rotary vectors moved by so many positions: R(p + s) x = R(s) R(p) x.

    Su et al. 2021, "RoFormer", equation 15, in the half-split layout of transformers' Llama:
    dimension i turns with dimension i + d_k/2 by the angle s·θᵢ.
    """
    angles = steps[:, None].float() * frequencies
    cos, sin = angles.cos().to(vectors.dtype), angles.sin().to(vectors.dtype)
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _frequencies(model: PreTrainedModel) -> Float[Tensor, " half"]:
    return model.get_submodule("model.rotary_emb").get_buffer("inv_freq")


def _late_sinks(model: PreTrainedModel, tokens: int, cache: KeyCache) -> Rewrite | None:
    """Queries and keys such that the sinks stand right behind the window, whatever the text's length.

    q·k depends on the distance alone, so each query is turned back by the sinks' delay, for the
    sinks only. Both kinds of score come out of one product: queries [q, turned q] against keys
    [k, 0] of the window and [0, k] of the sinks.
    """
    delay = cache.delay(torch.arange(tokens, device=model.device))
    if cache.sinks == 0 or not delay.any():
        return None
    is_sink = (torch.arange(tokens, device=model.device) < cache.sinks)[:, None]

    def rewrite(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        late = turned(query, -delay, _frequencies(model))
        keys = [key.masked_fill(is_sink, 0), key.masked_fill(~is_sink, 0)]
        return torch.cat([query, late], dim=-1), torch.cat(keys, dim=-1)

    return rewrite


def _additive(visible: Bool[Tensor, "query key"], network: Network) -> Float[Tensor, "1 1 query key"]:
    hidden = torch.finfo(network.dtype).min
    mask = torch.zeros(visible.shape, dtype=network.dtype).masked_fill(~visible, hidden)
    return mask[None, None].to(network.device)


# Decoding ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decoded:
    """One token read with the cache as it was then."""

    token: int  # its place in the text
    loss: float  # −ln p of the token after it, in nats
    keys: int  # in the cache, the token's own included


def decode(
    network: Network, token_ids: Int[Tensor, " tokens"], prefill: int, cache: KeyCache
) -> Iterator[Decoded]:
    """Read ``prefill`` tokens in one pass, then one at a time with transformers' own cache.

    What the cache may not keep is thrown away before each step, so that it never holds more than
    window + sinks keys. Nothing is masked: what is in the cache is read. Raises InputError as
    ``stream_logits`` does, and for a prefill that leaves nothing to decode.
    """
    check_stream(network, len(token_ids), cache)
    if not 1 <= prefill < len(token_ids) - 1:
        raise InputError(
            "A prefill of {prefill} is not accepted; from 1 to {most} tokens are.",
            prefill=prefill,
            most=len(token_ids) - 2,
        )
    kept, logits = _prefill(network, token_ids[:prefill], cache)
    sinks = [layer.keys[:, :, : cache.sinks].clone() for layer in _layers(kept)]
    for token in range(prefill - 1, len(token_ids) - 1):
        if token >= prefill:
            _evict(kept, cache, token)
            _move_sinks(network.model, kept, sinks, cache, token)
            logits = _step(network, token_ids, token, kept)
            sinks = _seen_sinks(kept, sinks, cache, token)
        loss = cross_entropy(logits[None], token_ids[token + 1][None])
        yield Decoded(token, float(loss), kept.get_seq_length())


def _prefill(
    network: Network, token_ids: Int[Tensor, " prefill"], cache: KeyCache
) -> tuple[DynamicCache, Float[Tensor, " vocabulary"]]:
    kept = DynamicCache()
    with rewriting(_late_sinks(network.model, len(token_ids), cache)), torch.no_grad():
        output = network.model(
            token_ids[None].to(network.device),
            attention_mask=_additive(visible_pairs(len(token_ids), cache), network),
            past_key_values=kept,
            use_cache=True,
        )
    return kept, output.logits[0, -1].float().cpu()


def _step(
    network: Network, token_ids: Int[Tensor, " tokens"], token: int, kept: DynamicCache
) -> Float[Tensor, " vocabulary"]:
    """One token at its position in the text; the network reads all that the cache holds."""
    with torch.no_grad():
        output = network.model(
            token_ids[None, token : token + 1].to(network.device),
            position_ids=torch.tensor([[token]], device=network.device),
            past_key_values=kept,
            use_cache=True,
        )
    return output.logits[0, -1].float().cpu()


def _layers(kept: DynamicCache) -> list[Any]:
    """The cache's layers, which transformers types as holding nothing before the first token."""
    return kept.layers


def _evict(kept: DynamicCache, cache: KeyCache, token: int) -> None:
    """Make room for ``token``: keep the sinks, and the window without its own place."""
    if cache.window is None:
        return
    for layer in _layers(kept):
        first = max(cache.sinks, layer.keys.shape[2] - (cache.window - 1))
        layer.keys = torch.cat([layer.keys[:, :, : cache.sinks], layer.keys[:, :, first:]], dim=2)
        layer.values = torch.cat([layer.values[:, :, : cache.sinks], layer.values[:, :, first:]], dim=2)


def _move_sinks(
    model: PreTrainedModel, kept: DynamicCache, sinks: list[Tensor], cache: KeyCache, token: int
) -> None:
    """Turn the sinks' keys, always from those first computed, to stand right behind the window."""
    delay = cache.delay(torch.tensor([token], device=model.device))
    if cache.sinks == 0 or not delay.any():
        return
    for layer, keys in zip(_layers(kept), sinks, strict=True):
        steps = delay.expand(keys.shape[2])
        layer.keys[:, :, : cache.sinks] = turned(keys, steps, _frequencies(model))


def _seen_sinks(kept: DynamicCache, sinks: list[Tensor], cache: KeyCache, token: int) -> list[Tensor]:
    """The sinks' keys as first computed; one more while the text has not yet filled them."""
    if token >= cache.sinks:
        return sinks
    return [layer.keys[:, :, : cache.sinks].clone() for layer in _layers(kept)]
