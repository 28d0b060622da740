"""Quantized keys and values: what a smaller KV cache does to the loss, position by position.

Each query reads old tokens from the quantized cache and the latest ones exactly, as KIVI (Liu et al.
2024) and transformers' QuantizedCache do. Both kinds lie side by side as keys, and a mask shows each
query one of the two for every token, so that the architecture's own attention does the rest.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from models.errors import InputError
from models.networks.loading import Network
from models.networks.recording import attending, eager_attention
from models.numerics.token_losses import token_losses
from models.quantization.integers import IntegerScheme, check_bits, check_group, quantize_integers
from models.quantization.quantized_network import check_decoder, held_out

Axis = Literal["token", "channel"]
AXES: tuple[Axis, ...] = get_args(Axis)


@dataclass(frozen=True)
class CacheSetting:
    """Bits and axes of keys and values; 16 bits leave one of the two as it is.

    axis "token": groups of a token's channels share a scale; "channel": groups of tokens do, in each
        channel. residual: so many of the latest tokens are read exactly, and with them every group
        of tokens that is not complete.
    """

    key_bits: int = 4
    value_bits: int = 4
    key_axis: Axis = "channel"
    value_axis: Axis = "token"
    group_size: int = 32
    residual: int = 0

    def __post_init__(self) -> None:
        for bits in (self.key_bits, self.value_bits):
            if bits != 16:
                check_bits(bits)
        check_group(self.group_size)
        if self.residual < 0:
            raise InputError("The number of exact tokens cannot be negative.")


def quantize_cache(
    cached: Float[Tensor, "batch heads token width"], bits: int, axis: Axis, group: int
) -> Float[Tensor, "batch heads token width"]:
    """Keys or values in affine integers, grouped along the channels of a token or along the tokens."""
    if bits == 16:
        return cached
    laid = cached if axis == "token" else cached.transpose(2, 3)
    scheme = IntegerScheme(bits, "affine", "group", group)
    back = quantize_integers(laid.reshape(-1, laid.shape[-1]).float(), scheme).dequantized
    back = back.reshape(laid.shape).to(cached.dtype)
    return back if axis == "token" else back.transpose(2, 3)


def reads_exactly(tokens: int, axis: Axis, setting: CacheSetting) -> Bool[Tensor, "query key"]:
    """Which keys each query still finds unquantized: the latest, and those of an unfinished group."""
    place = torch.arange(tokens)
    is_late = place[:, None] - place < setting.residual
    if axis == "token":
        return is_late
    end_of_group = (place // setting.group_size + 1) * setting.group_size
    return is_late | (end_of_group - 1 > place[:, None])


def attention(
    setting: CacheSetting,
    module: nn.Module,
    query: Float[Tensor, "batch heads query d_k"],
    key: Float[Tensor, "batch key_heads key d_k"],
    value: Float[Tensor, "batch key_heads key d_v"],
    attention_mask: Float[Tensor, "batch mask_heads query key"] | None,
    **options: Any,
) -> tuple[Float[Tensor, "batch query heads d_v"], Float[Tensor, "batch heads query key"]]:
    """The architecture's eager attention over exact and quantized keys and values.

    Keys and values may be exact for different lengths, so that there are up to four kinds of pairs;
    a pair is exact where both are, and else takes the quantized form of what is quantized already.
    """
    eager = eager_attention(module)
    if attention_mask is None:
        return eager(module, query, key, value, attention_mask, **options)
    tokens = key.shape[2]
    keys = {
        True: key,
        False: quantize_cache(key, setting.key_bits, setting.key_axis, setting.group_size),
    }
    values = {
        True: value,
        False: quantize_cache(value, setting.value_bits, setting.value_axis, setting.group_size),
    }
    key_exact = reads_exactly(tokens, setting.key_axis, setting).to(key.device)
    value_exact = reads_exactly(tokens, setting.value_axis, setting).to(key.device)
    kinds = [(k, v) for k in (True, False) for v in (True, False)]
    hidden = torch.finfo(query.dtype).min
    masks = [attention_mask.masked_fill((key_exact != k) | (value_exact != v), hidden) for k, v in kinds]
    output, probabilities = eager(
        module,
        query,
        torch.cat([keys[k] for k, _ in kinds], 2),
        torch.cat([values[v] for _, v in kinds], 2),
        torch.cat(masks, -1),
        **options,
    )
    return output, probabilities.unflatten(-1, (len(kinds), tokens)).sum(-2)


def logits_with_cache(
    network: Network, tokens: Int[Tensor, "batch query"], setting: CacheSetting | None
) -> Float[Tensor, "batch query vocabulary"]:
    """The network's logits when every layer's cache is quantized; None leaves it as it is."""
    attend = None if setting is None else partial(attention, setting)
    with torch.inference_mode(), attending(attend):
        return network.model(tokens.to(network.device), use_cache=False).logits.float().cpu()


@dataclass(frozen=True, eq=False)
class CacheEffect:
    """Loss of the passages' tokens by position, with the cache exact and quantized; and its size."""

    before: Float[Tensor, " next"]  # nats, mean over the passages
    after: Float[Tensor, " next"]
    bits: float  # of a cached number, scales and zero points counted


def cache_effect(network: Network, setting: CacheSetting, length: int) -> CacheEffect:
    """Read the passages' beginnings with a quantized cache and without. ``length`` in tokens.

    Raises InputError for encoders, which keep no cache.
    """
    check_decoder(network)
    tokens = held_out(network, min(length, network.context))
    before = token_losses(logits_with_cache(network, tokens, None), tokens).mean(0)
    after = token_losses(logits_with_cache(network, tokens, setting), tokens).mean(0)
    return CacheEffect(before, after, cache_bits(setting, network.head_width, tokens.shape[1]))


def cache_bits(setting: CacheSetting, width: int, tokens: int) -> float:
    """Bits of a cached number, keys and values alike in number; exact latest tokens are not counted."""
    sizes = []
    for bits, axis in ((setting.key_bits, setting.key_axis), (setting.value_bits, setting.value_axis)):
        along = width if axis == "token" else tokens
        groups = -(-along // min(setting.group_size, along))
        sizes.append(16.0 if bits == 16 else bits + (16 + bits) * groups / along)
    return sum(sizes) / 2
