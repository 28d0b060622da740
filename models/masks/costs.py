"""What a mask costs and saves: visible pairs, the arithmetic of attention, and the keys to be kept."""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from models.errors import InputError, check_at_least
from models.numerics.attention_costs import attention_flops, kv_cache_bytes_per_token


@dataclass(frozen=True)
class Shape:
    """What of a network the costs of attention depend on."""

    layers: int
    heads: int
    key_heads: int
    head_width: int


@dataclass(frozen=True)
class MaskCost:
    """Costs of one mask, all layers together, for one text."""

    pairs: int  # that are visible
    flops: int  # of scores and mix over the visible pairs
    dense_flops: int  # over all pairs, as kernels without block skipping compute
    blocks: int  # of block × block pairs, in which at least one is visible: a block-sparse kernel's work
    all_blocks: int
    kept: int  # keys held at once, at most, while tokens come one after another
    kept_bytes: int | float  # of keys and values for them
    rereading: int  # tokens that read later ones


def mask_cost(
    visible: Bool[Tensor, "query key"], shape: Shape, bytes_per_number: int | float, block: int
) -> MaskCost:
    """Count the costs of a square mask.

    FLOPs as in models.numerics.attention_costs.attention_flops: 2 for a multiply-add, softmax and
    projections not counted. Raises InputError where there is not a key for each query.
    """
    queries, keys = visible.shape
    kept = int(kept_keys(visible).max())
    pairs = int(visible.sum())
    blocks = visible_blocks(visible, block)
    one_token = kv_cache_bytes_per_token(shape.layers, shape.key_heads, shape.head_width, bytes_per_number)
    return MaskCost(
        pairs=pairs,
        flops=shape.layers * 2 * 2 * shape.heads * shape.head_width * pairs,
        dense_flops=shape.layers * attention_flops(shape.heads, shape.head_width, queries, keys, False),
        blocks=int(blocks.sum()),
        all_blocks=blocks.numel(),
        kept=kept,
        kept_bytes=kept * one_token,
        rereading=int(reading_later(visible).sum()),
    )


def kept_keys(visible: Bool[Tensor, "query key"]) -> Int[Tensor, " query"]:
    """How many keys a decoder holds at each step: those so far that this or a later query reads.

    Raises InputError unless the mask is square.
    """
    queries, keys = visible.shape
    if queries != keys:
        raise InputError(
            "A mask of {queries} queries and {keys} keys is no text's; both must be the same.",
            queries=queries,
            keys=keys,
        )
    still_read = visible.flip(0).cummax(dim=0).values.flip(0)  # by this query or a later one
    return still_read.tril().sum(dim=1)


def reading_later(visible: Bool[Tensor, "query key"]) -> Bool[Tensor, " query"]:
    """Which tokens read later ones. Their vectors change when a token is added, so that a cache of
    keys and values cannot be gone on with: causal masks have none of them.
    """
    return visible.triu(1).any(dim=1)


def visible_blocks(visible: Bool[Tensor, "query key"], size: int) -> Bool[Tensor, "down across"]:
    """Which blocks of size × size pairs hold a visible one; the last blocks may be cut off.

    These are what FlexAttention's kernels compute (BlockMask). Raises InputError for a size below 1.
    """
    check_at_least(1, block=size)
    queries, keys = visible.shape
    down, across = -(-queries // size), -(-keys // size)
    filled = pad(visible, (0, across * size - keys, 0, down * size - queries))
    return filled.reshape(down, size, across, size).any(dim=3).any(dim=1)
