"""Texts of just so many tokens, and calls timed against each other."""

import time
from collections.abc import Callable
from statistics import median

from models.networks.loading import Network
from models.networks.texts import passages
from models.networks.tokens import tokenize
from models.networks.tracing import trace

CALLS = 60


def text_of(network: Network, tokens: int) -> str:
    """The beginning of a passage that makes just so many tokens, the tokenizer's own included."""
    text = tokenize(network.tokenizer, passages()[0].text, tokens).shown
    shown = trace(network, text).tokens_shown
    if shown != tokens:
        raise RuntimeError(f"The text makes {shown} tokens, not {tokens}.")
    return text


def in_turns(*calls: Callable[[], object]) -> list[float]:
    """Median milliseconds of each call, taken in turns so that a busy moment meets them all."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(CALLS + 5):
        for call, times in zip(calls, taken, strict=True):
            begun = time.perf_counter()
            call()
            if turn >= 5:  # the first are not measured
                times.append(1000 * (time.perf_counter() - begun))
    return [median(times) for times in taken]
