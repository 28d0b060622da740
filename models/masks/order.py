"""Can a network tell the order of its tokens without position encodings?

The same tokens in another order, the last one in its place: does the last token's vector change?
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError
from models.networks.interventions import Intervention, Visible
from models.networks.loading import Network
from models.networks.recording import recording


@dataclass(frozen=True)
class OrderTrial:
    """A way to run the network: who may read whom, and whether positions are told apart."""

    causal: bool
    positions: bool


TRIALS = (
    OrderTrial(causal=True, positions=True),
    OrderTrial(causal=True, positions=False),
    OrderTrial(causal=False, positions=False),
)


def shuffled(token_ids: Int[Tensor, " query"], seed: int) -> Int[Tensor, " query"]:
    """The tokens in a random order; the first and the last stay where they are.

    Raises InputError where fewer than two tokens could change places.
    """
    if len(token_ids) < 4:
        raise InputError("At least four tokens are needed, so that two between the ends can change places.")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(token_ids) - 2, generator=generator) + 1
    return torch.cat([token_ids[:1], token_ids[order], token_ids[-1:]])


def last_token_states(
    network: Network, token_ids: Int[Tensor, " query"], trial: OrderTrial
) -> Float[Tensor, "states width"]:
    """The last token's vector before each block and after the last block.

    Without positions, every token is given position 0: rotary embeddings then turn all of them alike,
    and learned ones add the same to all. Raises InputError for a network that takes no positions.
    """
    n = len(token_ids)
    visible: Bool[Tensor, "query key"] = torch.ones(n, n, dtype=torch.bool)
    visible = visible.tril() if trial.causal else visible
    positions = torch.arange(n) if trial.positions else torch.zeros(n, dtype=torch.long)
    ids, positions = (part[None].to(network.device) for part in (token_ids, positions))
    change = Intervention(visible=Visible.from_tensor(visible))
    try:
        with recording(change) as recorder, torch.no_grad():
            network.model(ids, position_ids=positions, use_cache=False)
    except TypeError as error:  # an architecture whose forward has no such argument
        raise InputError(
            "{name} takes no position numbers, so that they cannot be taken away.", name=network.entry.name
        ) from error
    states = [*recorder.block_inputs, recorder.block_outputs[-1]]
    return torch.cat([state[:, -1] for state in states]).float().cpu()


def order_distances(
    network: Network, token_ids: Int[Tensor, " query"], seed: int, trial: OrderTrial
) -> Float[Tensor, " states"]:
    """‖a − b‖ / ‖a‖ of the last token's vector, in order (a) and shuffled (b), at each depth.

    One causal layer without positions is blind to order, as the last token's own row is an average over
    the same keys. Two are not: the first layer gave each token an average over what stood before it
    (Haviv et al. 2022, "Transformer Language Models without Positional Encodings Still Learn Positional
    Information"; Kazemnejad et al. 2023).
    """
    before = last_token_states(network, token_ids, trial)
    after = last_token_states(network, shuffled(token_ids, seed), trial)
    return (before - after).norm(dim=-1) / before.norm(dim=-1)
