"""A network's positions: how it is told them, and the table in which it may have learned them."""

import inspect

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.errors import InputError
from models.networks.loading import Network

TABLES = ("wpe", "position_embeddings", "embed_positions")  # a learned table's name, over architectures
FIRST_ROW_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")


def first_row(model: PreTrainedModel) -> int:
    """The table's row of position 0; RoBERTa's begin after the one that stands for padding."""
    config = model.config
    return config.pad_token_id + 1 if config.model_type in FIRST_ROW_AFTER_PADDING else 0


def learned_table(network: Network) -> Float[Tensor, "position width"]:
    """The vectors that a network learned for its positions, added to those of its tokens.

    Raises InputError where it has no such table: rotary networks, and those with a fixed encoding.
    """
    for name, module in network.model.named_modules():
        if name.rpartition(".")[2] in TABLES and isinstance(module, nn.Embedding):
            weight = module.weight.detach().to(device="cpu", dtype=torch.float32)
            return weight[first_row(network.model) :]
    raise InputError(
        "{name} learned no vectors for its positions; BERT, GPT-2 and their like did.",
        name=network.entry.name,
    )


def model_inputs(
    network: Network, token_ids: Int[Tensor, "batch token"], positions: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """What the network is called with for texts of one length, each token at its position.

    Raises InputError for a position beyond a learned table, and where a network takes no positions.
    """
    ids = token_ids.to(network.device)
    if positions is None:
        return {"input_ids": ids}
    if "position_ids" not in inspect.signature(network.model.forward).parameters:
        raise InputError("{name} cannot be told the positions of its tokens.", name=network.entry.name)
    if not network.anatomy.rotary and max(positions) >= network.context:
        raise InputError(
            "{name} has learned {count} positions; there is no position {asked}.",
            name=network.entry.name,
            count=network.context,
            asked=max(positions),
        )
    rows = torch.tensor(positions, device=network.device)[None] + first_row(network.model)
    # without a mask transformers takes positions that do not rise one by one for packed sequences
    return {"input_ids": ids, "position_ids": rows, "attention_mask": torch.ones_like(ids)}
