"""NormalFloat 4: sixteen levels at quantiles of the normal distribution, in blocks with one scale each.

Blocks are those of bitsandbytes 0.50: consecutive numbers of the flattened matrix, whatever the length
of its rows; only the last block of all may be shorter. Dettmers et al. 2023, "QLoRA", section 3 and
appendix E.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import check_at_least

BLOCK = 64
_TAIL = 0.9677083  # 1 − ½ (1/30 + 1/32): between the quantiles of 15 and of 16 equal parts


@cache
def nf4_levels() -> Float[Tensor, "16"]:
    """Quantiles of the standard normal over the largest: seven below zero, zero, eight above.

    The tails end midway between those of 15 and of 16 equal parts, as both the negative and the
    positive side get a zero of which one is dropped.
    """
    above = torch.special.ndtri(torch.linspace(_TAIL, 0.5, 9, dtype=torch.float64)[:-1])
    below = -torch.special.ndtri(torch.linspace(_TAIL, 0.5, 8, dtype=torch.float64)[:-1])
    levels = torch.cat([above, below, torch.zeros(1, dtype=torch.float64)]).sort().values
    return (levels / levels.max()).float()


def flat_blocks(x: Float[Tensor, "*shape"], block: int) -> Float[Tensor, "blocks block"]:
    """Consecutive numbers in rows of ``block``; the last row is filled up with zeros.

    Raises InputError for a block below 1.
    """
    check_at_least(1, block=block)
    flat = x.flatten()
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % block))
    return padded.reshape(len(padded) // block, block)


def unblocked(blocks: Float[Tensor, "blocks block"], shape: torch.Size) -> Float[Tensor, "..."]:
    """The tensor again, without what ``flat_blocks`` filled up."""
    return blocks.flatten()[: shape.numel()].reshape(shape)


def over_largest(
    blocks: Float[Tensor, "blocks block"],
) -> tuple[Float[Tensor, "blocks block"], Float[Tensor, "blocks 1"]]:
    """Each block divided by its largest magnitude, and that; blocks of zeros stay."""
    largest = blocks.abs().amax(dim=1, keepdim=True)
    return blocks * (1.0 / torch.where(largest > 0, largest, 1.0)), largest


def nearest_level(x: Float[Tensor, "*shape"], levels: Float[Tensor, " levels"]) -> Float[Tensor, "*shape"]:
    """The nearest entry of a sorted list; of two equally near ones the lower."""
    return levels[torch.bucketize(x, (levels[1:] + levels[:-1]) / 2, out_int32=True)]


def nf4_rounded(weight: Float[Tensor, "*shape"], block: int = BLOCK) -> Float[Tensor, "*shape"]:
    """A weight as 4 bits hold it, in its own dtype: each block over its largest |w|, to a level, and back.

    The numbers are those of a 4-bit base, its memory is not ("fake quantization"). Scales stay in
    float32 (no double quantization).
    """
    unit, largest = over_largest(flat_blocks(weight.float(), block))
    return unblocked(nearest_level(unit, nf4_levels()).mul_(largest), weight.shape).to(weight.dtype)
