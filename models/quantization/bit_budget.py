"""How many bits each part of a network gets under a cap: by hand, greedily, and the best there is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.errors import InputError
from models.networks.loading import Network
from models.quantization.quantized_network import (
    Baseline,
    Measured,
    Replaced,
    Weight,
    check_decoder,
    matrix,
    measure,
    quantized,
    read_baseline,
    text_kl,
    weights_of,
)
from models.quantization.weight_formats import Setting

OPTIONS = (2, 3, 4, 5, 6, 8)  # bits a part may get
MOST_PARTS = 6


@dataclass(frozen=True)
class Part:
    """Consecutive layers that get the same bits."""

    first: int
    last: int
    weights: tuple[Weight, ...]


def parts_of(network: Network) -> tuple[Part, ...]:
    """Each layer on its own, or up to MOST_PARTS runs of layers where there are more."""
    weights = weights_of(network)
    layers = sorted({weight.layer for weight in weights})
    count = min(MOST_PARTS, len(layers))
    runs = [layers[len(layers) * i // count : len(layers) * (i + 1) // count] for i in range(count)]
    return tuple(Part(run[0], run[-1], tuple(w for w in weights if w.layer in run)) for run in runs)


def part_sizes(network: Network, parts: Sequence[Part]) -> Int[Tensor, " parts"]:
    """Weights in each part."""
    return torch.tensor([sum(matrix(network, weight).numel() for weight in part.weights) for part in parts])


@dataclass(frozen=True)
class Cost:
    """The mean KL with one part alone at one number of bits."""

    part: int
    bits: int
    kl: float


def part_costs(
    network: Network,
    tokens: Int[Tensor, " query"],
    setting: Setting,
    baseline: Baseline | None = None,
) -> Iterator[Cost]:
    """Each part alone at each number of bits; one measurement a step."""
    base = baseline or read_baseline(network, tokens)
    for number, part in enumerate(parts_of(network)):
        for bits in OPTIONS:
            replaced, _ = quantized(network, part.weights, replace(setting, format="int", bits=bits))
            yield Cost(number, bits, float(text_kl(network, base, replaced).mean()))


def mean_bits(allocation: Sequence[int], sizes: Int[Tensor, " parts"]) -> float:
    """Bits a weight, over all parts."""
    return int((torch.tensor(allocation) * sizes).sum()) / int(sizes.sum())


def greedy_allocation(
    costs: Float[Tensor, "parts options"], sizes: Int[Tensor, " parts"], cap: float
) -> tuple[int, ...]:
    """From the fewest bits on, the next step goes where it lowers the cost most for each bit spent.

    Costs are taken to add up over the parts. Raises InputError under a cap below the fewest bits.
    """
    _check_cap(cap)
    chosen = [0] * len(sizes)
    while True:
        steps = []
        for part, option in enumerate(chosen):
            for further in range(option + 1, len(OPTIONS)):
                tried = [*chosen[:part], further, *chosen[part + 1 :]]
                if mean_bits([OPTIONS[i] for i in tried], sizes) <= cap + 1e-9:
                    spent = (OPTIONS[further] - OPTIONS[option]) * int(sizes[part])
                    gain = float(costs[part, option] - costs[part, further])
                    steps.append((gain / spent, tried))
        gain, best = max(steps, key=lambda step: step[0], default=(0.0, chosen))
        if gain <= 0:
            return tuple(OPTIONS[option] for option in chosen)
        chosen = best


def best_allocation(
    costs: Float[Tensor, "parts options"], sizes: Int[Tensor, " parts"], cap: float
) -> tuple[int, ...]:
    """Of all allocations under the cap the one with the least sum of costs."""
    _check_cap(cap)
    choices = torch.tensor(list(product(range(len(OPTIONS)), repeat=len(sizes))))
    spent = (torch.tensor(OPTIONS)[choices] * sizes).sum(1).double() / sizes.sum()
    total = costs.gather(1, choices.T).sum(0)
    total = torch.where(spent <= cap + 1e-9, total, torch.inf)
    return tuple(OPTIONS[int(option)] for option in choices[total.argmin()])


def _check_cap(cap: float) -> None:
    if not cap >= OPTIONS[0]:
        raise InputError("A budget of at least {least} bits per weight is needed.", least=OPTIONS[0])


def measure_allocation(
    network: Network,
    tokens: Int[Tensor, " query"],
    allocation: Sequence[int],
    setting: Setting,
    baseline: Baseline | None = None,
) -> Measured:
    """All parts quantized together: what an allocation really does."""
    check_decoder(network)
    parts = parts_of(network)
    if len(allocation) != len(parts):
        raise InputError("There are {parts} parts; each needs its bits.", parts=len(parts))
    replaced: Replaced = {}
    for part, bits in zip(parts, allocation, strict=True):
        replaced |= quantized(network, part.weights, replace(setting, format="int", bits=bits))[0]
    return measure(network, baseline or read_baseline(network, tokens), replaced)
