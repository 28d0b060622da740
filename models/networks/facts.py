"""What can be said about a network without holding it: plain values that fit into a message."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from models.networks.catalogue import Entry
from models.networks.loading import Network

SCALES_QUERIES_FIRST = ("OPT", "Esm")


@dataclass(frozen=True)
class NetworkFacts:
    """A network's sizes and kind, under the names that they have on a loaded one (Network)."""

    entry: Entry
    device: str
    dtype: str
    layers: int
    heads: int
    key_heads: int
    head_width: int  # d_k
    width: int
    context: int  # longest input, in tokens
    vocabulary: int
    rotary: bool  # whether its rotary embedding can be taken apart
    rewirable: bool  # whether skip connections and MLPs can be removed
    rope_base: float
    rotary_frequencies: tuple[tuple[float, ...], ...]  # radians a position, float32's values
    changes_beyond: int | None  # the length from which those follow that of the text; None: they never do

    @property
    def scales_queries_first(self) -> bool:
        """Whether queries are multiplied by 1/√d_k where they are projected, and q·k by 1 (OPT, ESM)."""
        return (self.entry.architecture or "").startswith(SCALES_QUERIES_FIRST)

    @property
    def inverse_frequencies(self) -> tuple[Tensor, ...]:
        return tuple(torch.tensor(row, dtype=torch.float32) for row in self.rotary_frequencies)


_known: WeakKeyDictionary[Network, NetworkFacts] = WeakKeyDictionary()


def facts_of(network: Network) -> NetworkFacts:
    """The facts of a loaded network, gathered once: live figures ask for them at every step."""
    if (known := _known.get(network)) is None:
        known = _known[network] = _gathered(network)
    return known


def _gathered(network: Network) -> NetworkFacts:
    frequencies = dict.fromkeys(tuple(held.tolist()) for held in network.inverse_frequencies)
    return NetworkFacts(
        network.entry,
        str(network.device),
        str(network.dtype),
        network.layers,
        network.heads,
        network.key_heads,
        network.head_width,
        network.width,
        network.context,
        network.vocabulary,
        network.anatomy.rotary,
        network.anatomy.rewirable,
        network.rope_base,
        tuple(frequencies),
        network.changes_beyond,
    )
