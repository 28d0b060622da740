"""A head of a real network as the positions page takes it apart: its vectors, and what rotates them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from components.traces import facts, traced
from models.networks.rotary import Rotary, rotary_of
from models.networks.tracing import LayerTrace

FLOAT = torch.finfo(torch.float32).eps


@dataclass(frozen=True, eq=False)
class RealHead:
    """A head of the traced text: its vectors before rotation, and what rotates them."""

    record: LayerTrace
    index: int
    rotary: Rotary

    @property
    def query(self) -> Float[Tensor, "query d_k"]:
        return self.record.unrotated_query[self.index]

    @property
    def key(self) -> Float[Tensor, "key d_k"]:
        return self.record.unrotated_key[self.record.key_of_head[self.index]]

    @property
    def visible(self) -> Tensor:
        visible = self.record.visible
        return visible if visible.ndim == 2 else visible[self.index]


def real_head(network: str, text: str, layer: int, head: int) -> RealHead:
    """A head of a network on a text. Raises InputError for a network without rotary embedding."""
    trace = traced(network, text)
    return RealHead(trace.layers[layer], head, rotary_of(facts(network), trace, layer))


def rounding_of_scores(record: LayerTrace, farthest: int) -> float:
    """How far two float32 computations of the same scores may differ; 1e-4 at least.

    An angle at position m is known to about ε·m, and a score changes by at most ‖q‖‖k‖ times that.
    """
    lengths = record.query.norm(dim=-1).max() * record.key.norm(dim=-1).max()
    return max(1e-4, float(FLOAT * max(16, farthest) * lengths))
