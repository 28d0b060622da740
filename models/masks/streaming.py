"""A long text through a bounded cache: sliding window, attention sinks, prefill and decode.

A Λ-shaped cache keeps the first tokens and the latest (Xiao et al. 2023, "Efficient Streaming
Language Models with Attention Sinks"). A full pass under the mask of the same shape gives the same
numbers, as a token's keys and values were themselves computed under that mask.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from models.errors import InputError, check_at_least
from models.networks.key_cache import KeyCache, moved, with_late_sinks
from models.networks.loading import Network
from models.networks.positions import first_row
from models.networks.recording import Attend, attending, eager_attention

LONGEST_STREAM = 1_024  # tokens
# Networks that rotate whole heads in halves, and attend through transformers' interface.
ROTARY = ("gemma", "llama", "mistral", "mixtral", "qwen2", "qwen3")


def stream_logits(
    network: Network, token_ids: Int[Tensor, " tokens"], cache: KeyCache
) -> Float[Tensor, "tokens vocabulary"]:
    """All tokens in one pass under the cache's mask, in float32 on the CPU.

    Raises InputError for too many tokens, and for positions within the cache on a network whose
    keys cannot be turned.
    """
    check_stream(network, len(token_ids), cache)
    with attending(_late_sinks(network.model, cache)), torch.no_grad():
        output = network.model(
            token_ids[None].to(network.device),
            attention_mask=_additive(cache.visible(len(token_ids)), network),
            use_cache=False,
            **_positions(network, len(token_ids)),
        )
    return output.logits[0].float().cpu()


def check_stream(network: Network, tokens: int, cache: KeyCache) -> None:
    """Raise InputError where the network cannot read so many tokens in this way."""
    config = network.model.config
    is_rotary = hasattr(config, "rope_parameters")
    most = LONGEST_STREAM if is_rotary else min(LONGEST_STREAM, network.context)
    most = min(most, own_window(config) or most)  # a cache that is cut says nothing about their windows
    if not 2 <= tokens <= most:
        raise InputError(
            "There are {count} tokens; this network can stream from 2 to {most}.", count=tokens, most=most
        )
    if network.changes_beyond is not None and tokens > network.changes_beyond:
        raise InputError(
            "The frequencies of {name} change with the length of the text beyond {most} tokens, so that "
            "keys in a cache no longer fit; at most {most} are streamed.",
            name=network.entry.name,
            most=network.changes_beyond,
        )
    if cache.positions == "cache" and cache.window is not None and not _can_turn(network.model):
        raise InputError(
            "Positions within the cache need rotary positions, whose keys can be turned after the fact; "
            "{name} does not have them.",
            name=network.entry.name,
        )


def own_window(config: PreTrainedConfig) -> int | None:
    """The window that some layers have whatever mask they are given; None without one."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and not any("sliding" in kind for kind in kinds):
        return None
    return getattr(config, "sliding_window", None)


def _positions(network: Network, tokens: int) -> dict[str, Tensor]:
    """0, 1, 2, … where the network takes them: OPT would count them from the mask, which is ours."""
    if "position_ids" not in inspect.signature(network.model.forward).parameters:
        return {}
    at = torch.arange(tokens, device=network.device) + first_row(network.model)
    return {"position_ids": at[None]}


def _can_turn(model: PreTrainedModel) -> bool:
    rope = getattr(model.config, "rope_parameters", None) or {}
    return model.config.model_type in ROTARY and rope.get("rope_type") == "default"


def running_mean(values: Float[Tensor, " values"], width: int) -> Float[Tensor, " values"]:
    """The mean of each value and the width − 1 before it; of fewer at the beginning.

    Raises InputError for a width below 1.
    """
    check_at_least(1, width=width)
    total = torch.cat([values.new_zeros(1, dtype=torch.float64), values.double().cumsum(0)])
    end = torch.arange(1, len(values) + 1)
    begin = (end - width).clamp(min=0)
    return ((total[end] - total[begin]) / (end - begin)).float()


# Attending -----------------------------------------------------------------------------------


def _frequencies(model: PreTrainedModel) -> Float[Tensor, " half"]:
    return model.get_submodule("model.rotary_emb").get_buffer("inv_freq")


def _late_sinks(model: PreTrainedModel, cache: KeyCache) -> Attend | None:
    """Attention that reads the sinks right behind the window; None where they stay where they were."""
    if cache.sinks == 0 or cache.window is None or cache.positions == "text":
        return None
    frequencies = _frequencies(model)

    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        query, key = with_late_sinks(query, key, cache, frequencies)
        return eager_attention(module)(module, query, key, value, attention_mask, scaling=scale, **options)

    return attend


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
    with attending(_late_sinks(network.model, cache)), torch.no_grad():
        output = network.model(
            token_ids[None].to(network.device),
            attention_mask=_additive(cache.visible(len(token_ids)), network),
            past_key_values=kept,
            use_cache=True,
            **_positions(network, len(token_ids)),
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
        layer.keys[:, :, : cache.sinks] = moved(keys, steps, _frequencies(model))


def _seen_sinks(kept: DynamicCache, sinks: list[Tensor], cache: KeyCache, token: int) -> list[Tensor]:
    """The sinks' keys as first computed; one more while the text has not yet filled them."""
    if token >= cache.sinks:
        return sinks
    return [layer.keys[:, :, : cache.sinks].clone() for layer in _layers(kept)]
