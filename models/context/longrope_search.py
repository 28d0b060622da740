"""LongRoPE's search: which divisor of each frequency loses least on long texts.

Ding et al. 2024, "LongRoPE", section 3: an evolutionary search that starts from position
interpolation, NTK-aware scaling and YaRN and keeps the divisors in rising order, as slow pairs need
at least as much interpolation as fast ones. Left out: their first n tokens without interpolation,
for which transformers has no key.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.context.long_context import Way, loss_by_position
from models.rotary.scaling import RopeSettings, scaled_rope, unscaled_frequencies

KEPT = 6  # of each generation
BRED = 10
LARGEST_STRETCH = 1.5  # times the factor


@dataclass(frozen=True)
class Found:
    """The best divisors so far, and their mean loss in nats a token."""

    divisors: tuple[float, ...]
    loss: float
    generation: int


def starting_divisors(rope: RopeSettings) -> list[tuple[float, ...]]:
    """θ/θ' of the methods that the search starts from; ``rope`` names factor and lengths."""
    own = unscaled_frequencies(rope.width, rope.rope_theta)
    kinds = (
        replace(rope, rope_type="linear"),
        replace(rope, rope_type="ntk"),
        replace(rope, rope_type="yarn"),
        replace(rope, rope_type="llama3", low_freq_factor=1.0, high_freq_factor=4.0),
    )
    return [tuple((own / scaled_rope(kind).inverse_frequencies).tolist()) for kind in kinds]


def mutated(divisors: tuple[float, ...], most: float, chance: random.Random) -> tuple[float, ...]:
    """Some divisors moved by chance, then put in rising order between 1 and ``most``."""
    moved = [
        divisor * chance.lognormvariate(0, 0.35) if chance.random() < 0.3 else divisor
        for divisor in divisors
    ]
    return tuple(sorted(min(most, max(1.0, divisor)) for divisor in moved))


def search(
    network: str, rope: RopeSettings, texts: Int[Tensor, "text token"], generations: int, seed: int
) -> Iterator[Found]:
    """Yield the best divisors after each generation. ``rope`` gives factor and lengths."""
    chance, most = random.Random(seed), LARGEST_STRETCH * (rope.factor or 1.0)
    measured: dict[tuple[float, ...], float] = {}
    generation = starting_divisors(rope)
    for number in range(generations):
        for divisors in generation:
            if divisors not in measured:
                measured[divisors] = float(mean_loss(network, long_rope(rope, divisors), texts))
        best = sorted(measured, key=measured.__getitem__)[:KEPT]
        yield Found(best[0], measured[best[0]], number)
        generation = [mutated(chance.choice(best), most, chance) for _ in range(BRED)]


def long_rope(rope: RopeSettings, divisors: tuple[float, ...]) -> RopeSettings:
    """LongRoPE with these divisors beyond the trained length and none within it."""
    return replace(rope, rope_type="longrope", short_factor=(1.0,) * len(divisors), long_factor=divisors)


def mean_loss(network: str, rope: RopeSettings, texts: Int[Tensor, "text token"]) -> Float[Tensor, ""]:
    """Mean loss over all positions of all texts."""
    return torch.stack([loss_by_position(network, Way(rope), text).mean() for text in texts]).mean()
