"""Why a transformer needs positions: what becomes of it when its tokens change places.

Attention is a weighted mean over a set. Without positions and without a mask, shuffled tokens give
the same vectors in shuffled order (permutation equivariance); positions break that, and so does a
causal mask alone.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.networks.interventions import Intervention, Visible
from models.networks.loading import Network
from models.networks.tracing import Trace, trace_ids


@dataclass(frozen=True, eq=False)
class Shuffle:
    """Two forward passes: the tokens as they were, and the same tokens in another order."""

    order: Int[Tensor, " token"]  # token i of the second pass is token order[i] of the first
    plain: Trace
    mixed: Trace

    @property
    def change(self) -> Float[Tensor, " states"]:
        """How far each block's vectors moved, each token against itself; 0 if only places changed."""
        return relative_change(self.plain.hidden[:, self.order], self.mixed.hidden)

    def put_back(self, weights: Float[Tensor, "query key"]) -> Float[Tensor, "query key"]:
        """Attention weights of the second pass, rows and columns in the first one's order."""
        back = self.order.argsort()
        return weights[back][:, back]


def shuffled(tokens: int, seed: int) -> Int[Tensor, " token"]:
    """A random order of 0 … tokens − 1, the same for the same seed."""
    return torch.randperm(tokens, generator=torch.Generator().manual_seed(seed))


def relative_change(
    before: Float[Tensor, "*states token width"], after: Float[Tensor, "*states token width"]
) -> Float[Tensor, "*states"]:
    """‖after − before‖ / ‖before‖ over all tokens: 0 means the same vectors."""
    return (after - before).flatten(-2).norm(dim=-1) / before.flatten(-2).norm(dim=-1)


def shuffle(
    network: Network, token_ids: Int[Tensor, " token"], seed: int, positions: bool, causal: bool
) -> Shuffle:
    """Run a text and the same text shuffled, with or without positions and causal mask.

    Without positions every token gets position 0, so that nothing tells them apart. Raises InputError
    for a network that cannot be told its tokens' positions.
    """
    tokens = len(token_ids)
    visible = torch.ones(tokens, tokens, dtype=torch.bool)
    change = Intervention(
        positions=None if positions else (0,) * tokens,
        visible=Visible.from_tensor(visible.tril() if causal else visible),
    )
    order = shuffled(tokens, seed)
    return Shuffle(
        order, trace_ids(network, token_ids, change), trace_ids(network, token_ids[order], change)
    )
