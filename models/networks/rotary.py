"""A traced layer's rotary embedding, taken apart: frequencies, and vectors before they were rotated."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.networks.catalogue import Entry
from models.networks.tracing import LayerTrace, Trace
from models.rotary.rope import Layout, frequencies


@dataclass(frozen=True, eq=False)
class Rotary:
    """A layer's rotary embedding, taken apart."""

    frequency: Float[Tensor, " pairs"]  # radians a position
    factor: float  # on cos and sin (YaRN, LongRoPE); 1 in most networks
    layout: Layout
    base: float  # that the network's configuration names

    def frequency_at(self, base: float) -> Float[Tensor, " pairs"]:
        """The frequencies at another base: each times (base / own base)^(−2p/r).

        Raises InputError for a base that is not a positive finite number.
        """
        width = 2 * len(self.frequency)
        if base == self.base:
            return self.frequency
        return self.frequency * frequencies(width, base) / frequencies(width, self.base)


@runtime_checkable
class Rotating(Protocol):
    """What a network says about its rotary embedding; a loaded one does, and so do its facts."""

    @property
    def entry(self) -> Entry: ...

    @property
    def rope_base(self) -> float: ...

    @property
    def inverse_frequencies(self) -> tuple[Tensor, ...]: ...


def rotary_of(network: Rotating, trace: Trace, layer: int) -> Rotary:
    """The frequencies that rotated a layer, of a trace with the network's own positions 0, 1, 2, ….

    They are the angles between the first two tokens; where the network holds its frequencies as
    transformers usually does, those are taken, being exact. Raises InputError without rotary
    embedding, and for a text of one token.
    """
    record = trace.layers[layer]
    if record.rotary is None:
        raise InputError(
            "{name} has no rotary embedding that Loupe can take apart.", name=network.entry.name
        )
    turn = record.rotary.query
    if len(turn.cos) < 2:
        raise InputError("The text has one token; at least two are needed to see positions.")
    first, second = (torch.complex(turn.cos[row], turn.sin[row]) for row in (0, 1))
    measured = torch.angle(second * first.conj())
    return Rotary(_held(network, measured), float(first.abs()[0]), turn.layout, network.rope_base)


def _held(network: Rotating, measured: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """The network's own buffer of frequencies that agrees with the measured ones; else those."""
    for held in network.inverse_frequencies:
        if held.shape == measured.shape and torch.allclose(held, measured, rtol=1e-3, atol=1e-6):
            return held
    return measured


def before_rotation(
    record: LayerTrace,
) -> tuple[Float[Tensor, "heads query d_k"], Float[Tensor, "key_heads key d_k"]] | None:
    """Queries and keys as the layer's own projections put them out; None where their names are unknown."""
    return None if record.rotary is None else record.rotary.projected()
