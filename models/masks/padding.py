"""Prompts of different length as one batch: padding, attention mask, position ids, and what they do.

The networks' own forward passes are called, with attention_mask and position_ids as transformers
5.23 defines them; nothing of a network is written anew here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase

from models.errors import InputError
from models.networks.building import building
from models.numerics.seeded import Seeded

Side = Literal["left", "right"]
SIDES: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """Rows of equal length, as transformers takes them."""

    input_ids: Int[Tensor, "row column"]
    attention_mask: Int[Tensor, "row column"]  # 1 for a real token, 0 for padding
    position_ids: Int[Tensor, "row column"]  # counted over real tokens; 0 on padding

    @property
    def real(self) -> Bool[Tensor, "row column"]:
        return self.attention_mask.bool()

    def columns(self, row: int) -> Int[Tensor, " tokens"]:
        """Where a row's real tokens stand."""
        return self.attention_mask[row].nonzero()[:, 0]


@dataclass(frozen=True)
class Given:
    """What the network is told about the padding; by default all of it."""

    mask: bool = True  # False: a mask of ones, padding is read like text
    positions: bool = True  # False: position ids count the columns, padding included


def pad(rows: Sequence[Sequence[int]], pad_token: int, side: Side) -> PaddedBatch:
    """The rows, filled up to the longest with ``pad_token`` on one side.

    Position ids are cumsum(attention_mask) − 1 and 0 on padding: what transformers' ``generate``
    works out by itself from the mask (generation/utils.py). Raises InputError without rows, or for
    a row without tokens.
    """
    if not rows or not all(len(row) for row in rows):
        raise InputError("A batch needs at least one prompt, and each prompt at least one token.")
    longest = max(map(len, rows))
    fills = [[0] * (longest - len(row)) for row in rows]
    ids, mask = [], []
    for row, fill in zip(rows, fills, strict=True):
        padding, ones = [pad_token] * len(fill), [1] * len(row)
        ids.append([*padding, *row] if side == "left" else [*row, *padding])
        mask.append([*fill, *ones] if side == "left" else [*ones, *fill])
    attention_mask = torch.tensor(mask)
    positions = (attention_mask.cumsum(-1) - 1) * attention_mask
    return PaddedBatch(torch.tensor(ids), attention_mask, positions)


def pad_token_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token to pad with: the tokenizer's own, else its end, else its start, else token 0."""
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, 0)
    return next(token for token in candidates if token is not None)


def positions_seen(batch: PaddedBatch, given: Given) -> Int[Tensor, "row column"]:
    """The position ids that the network is given; the column numbers where they are forgotten.

    Without position ids a forward pass counts columns, whatever the attention mask says.
    """
    if given.positions:
        return batch.position_ids
    return torch.arange(batch.input_ids.shape[1]).expand_as(batch.input_ids)


def batch_logits(
    model: PreTrainedModel, batch: PaddedBatch, given: Given | None = None
) -> Float[Tensor, "row column vocabulary"]:
    """The network's logits for a batch, in float32 on the CPU.

    A forgotten mask is a mask of ones. No mask at all would be something else: where position ids
    do not rise by one, transformers 5 then takes a row for packed sequences and separates them,
    which hides left padding by luck. Raises InputError for more columns than the network's learned
    positions.
    """
    given = given or Given()
    check_positions(model, batch.input_ids.shape[1])
    mask = batch.attention_mask if given.mask else torch.ones_like(batch.attention_mask)
    with torch.no_grad():
        output = model(
            batch.input_ids.to(model.device),
            attention_mask=mask.to(model.device),
            position_ids=positions_seen(batch, given).to(model.device),
            use_cache=False,
        )
    return output.logits.float().cpu()


def alone_logits(
    model: PreTrainedModel, rows: Sequence[Sequence[int]]
) -> list[Float[Tensor, "tokens vocabulary"]]:
    """The network's logits for each row by itself, in float32 on the CPU."""
    logits = []
    for row in rows:
        check_positions(model, len(row))
        with torch.no_grad():
            output = model(torch.tensor([list(row)], device=model.device), use_cache=False)
        logits.append(output.logits[0].float().cpu())
    return logits


def check_positions(model: PreTrainedModel, tokens: int) -> None:
    """Raise InputError where a network has fewer learned positions than there are tokens."""
    most = getattr(model.config, "max_position_embeddings", tokens)
    if tokens > most and not hasattr(model.config, "rope_parameters"):
        raise InputError(
            "There are {count} tokens; this network has learned {most} positions.",
            count=tokens,
            most=most,
        )


def differences(
    batched: Float[Tensor, "row column vocabulary"],
    batch: PaddedBatch,
    alone: Sequence[Float[Tensor, "_tokens vocabulary"]],
) -> list[Float[Tensor, " _tokens"]]:
    """For each row and each real token, the largest difference of a logit from the row alone."""
    return [(batched[row, batch.columns(row)] - logits).abs().amax(-1) for row, logits in enumerate(alone)]


def largest_of(changes: Sequence[Float[Tensor, " _tokens"]]) -> float:
    """The largest difference over all rows."""
    return max(float(change.max()) for change in changes)


@dataclass(frozen=True)
class PaddingCost:
    """What one way of padding does to the logits of real tokens."""

    side: Side
    given: Given
    largest: float  # |logit in the batch − logit alone|, over real tokens and the vocabulary


def padding_costs(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], pad_token: int
) -> tuple[PaddingCost, ...]:
    """Both sides, with nothing, the mask, the position ids, or both forgotten."""
    alone = alone_logits(model, rows)
    costs = []
    for side in SIDES:
        batch = pad(rows, pad_token, side)
        for given in (Given(), Given(mask=False), Given(positions=False), Given(False, False)):
            changes = differences(batch_logits(model, batch, given), batch, alone)
            costs.append(PaddingCost(side, given, largest_of(changes)))
    return tuple(costs)


def learned_positions_network(vocabulary: int, positions: int, seed: int) -> PreTrainedModel:
    """A random GPT-2 of two layers, to see what learned positions do where rotary ones do nothing.

    It has learned nothing; its logits differ with every position, which is all it is for.
    """
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=positions,
        n_embd=64,
        n_layer=2,
        n_head=4,
        initializer_range=0.3,  # GPT-2's 0.02 would leave all differences small
        bos_token_id=None,
        eos_token_id=None,
    )
    config._attn_implementation = "eager"
    with building(), Seeded(seed):
        return GPT2LMHeadModel(config).eval().requires_grad_(False)
