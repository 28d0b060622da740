"""Packing and streaming: what a packed row, a masked pass and a decoded token take."""

import time
from collections.abc import Callable
from statistics import median

import torch

from models.masks.packing import Conversation, pack, packed_logits
from models.masks.padding import batch_logits, pad
from models.masks.streaming import KeyCache, decode, stream_logits
from models.networks.catalogue import DEFAULT
from models.networks.loading import Network, load
from models.networks.texts import passages
from tests.benchmarks.figures import Figure, Goal

TURNS = 30
LENGTHS = (40, 24, 16, 48)  # tokens of the conversations: 128 together


def measure() -> list[Figure]:
    torch.set_num_threads(1)  # as in the process
    network = load(DEFAULT)
    ids = network.tokenizer.backend_tokenizer.encode(passages()[0].text).ids
    return [packing(network, ids), padding(network, ids), streaming(network, ids), decoding(network, ids)]


def in_turns(*calls: Callable[[], object]) -> list[float]:
    """Median milliseconds of each call, taken in turns so that a busy moment meets them all."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(TURNS + 3):
        for call, times in zip(calls, taken, strict=True):
            begun = time.perf_counter()
            call()
            if turn >= 3:  # the first are not measured
                times.append(1000 * (time.perf_counter() - begun))
    return [median(times) for times in taken]


def plain(network: Network, ids: torch.Tensor) -> None:
    with torch.no_grad():
        network.model(ids[None], use_cache=False)


def packing(network: Network, ids: list[int]) -> Figure:
    """A packed row of 128 tokens against two plain passes of as many."""
    ends = torch.tensor(LENGTHS).cumsum(0).tolist()
    parts = [ids[end - length : end] for length, end in zip(LENGTHS, ends, strict=True)]
    row = pack([Conversation(tuple(part[:8]), tuple(part[8:])) for part in parts])
    same = torch.tensor(ids[: len(row.input_ids)])

    def twice() -> None:
        plain(network, same)
        plain(network, same)

    value, reference = in_turns(lambda: packed_logits(network.model, row), twice)
    name = f"packed row of {len(row.input_ids)} tokens against two plain passes"
    return Figure("masks", name, value, "ms", Goal("ratio", "<=", 1.5), reference)


def padding(network: Network, ids: list[int]) -> Figure:
    """A padded batch against the plain pass of a batch of the same shape."""
    batch = pad([ids[:64], ids[:20]], 0, "left")

    def same_shape() -> None:
        with torch.no_grad():
            network.model(batch.input_ids, use_cache=False)

    value, reference = in_turns(lambda: batch_logits(network.model, batch), same_shape)
    name = "padded batch of 2 × 64 tokens against a plain pass of that shape"
    return Figure("masks", name, value, "ms", Goal("ratio", "<=", 1.5), reference)


def streaming(network: Network, ids: list[int]) -> Figure:
    """A pass with sinks at positions within the cache against a plain pass."""
    text = torch.tensor(ids[:512])
    cache = KeyCache(64, 4, "cache")
    value, reference = in_turns(lambda: stream_logits(network, text, cache), lambda: plain(network, text))
    name = "masked pass of 512 tokens with moved sinks against a plain pass"
    return Figure("masks", name, value, "ms", Goal("ratio", "<=", 2), reference)


def decoding(network: Network, ids: list[int]) -> Figure:
    """A decoded token with eviction against one of transformers' generate, cache and all."""
    text, tokens = torch.tensor(ids[:160]), 60
    prompt = text[:100][None]

    def theirs() -> None:
        network.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=tokens, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip

    def ours() -> None:
        for _one in decode(network, text[: 100 + tokens], 100, KeyCache(64, 4, "cache")):
            pass

    value, reference = in_turns(ours, theirs)
    name = "decoded token with eviction against a token of generate"
    return Figure("masks", name, value / tokens, "ms", Goal("ratio", "<=", 2), reference / tokens)
