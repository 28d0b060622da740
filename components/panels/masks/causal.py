"""What padding, packing and streaming share: a network that says what comes next."""

import torch

from models.errors import InputError
from models.networks.loading import Network, load


def causal_network(name: str) -> Network:
    """The network, if it is causal. Raises InputError for an encoder."""
    network = load(name)
    if network.entry.kind != "causal":
        raise InputError(
            "{name} is an encoder; this part needs a network that says what comes next.",
            name=network.entry.name,
        )
    return network


def rounding(network: Network) -> float:
    """How far two computations of the same logits may differ: 1e-4 in float32, far more in 16 bits."""
    return 1e-4 if network.dtype == torch.float32 else 1.0


def loss_rounding(network: Network) -> float:
    """The same for a mean loss."""
    return 1e-5 if network.dtype == torch.float32 else 5e-2
