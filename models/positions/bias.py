"""Positions as numbers added to the scores: ALiBi's straight lines and T5's learned buckets."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError

MOST_HEADS = 1_024


def distances(queries: int, keys: int) -> Int[Tensor, "query key"]:
    """Query position less key position: positive for keys in the past."""
    return torch.arange(queries)[:, None] - torch.arange(keys)


def alibi_slopes(heads: int) -> Float[Tensor, " heads"]:
    """Each head's slope: 2^(−8h/n), h = 1 … n, where n heads are a power of two.

    For other counts, those of the next lower power of two, and then every other slope of twice that
    power (Press et al. 2022, "Train Short, Test Long", section 3 and its published code; the same in
    transformers' BLOOM and MPT). Raises InputError for fewer than 1 head or more than 1,024.
    """
    if not 1 <= heads <= MOST_HEADS:
        raise InputError("{heads} heads are not accepted; 1 to {most} are.", heads=heads, most=MOST_HEADS)
    lower = 2 ** math.floor(math.log2(heads))
    slopes = _geometric(lower)
    return torch.cat([slopes, _geometric(2 * lower)[0::2][: heads - lower]])


def _geometric(heads: int) -> Float[Tensor, " heads"]:
    return 2.0 ** (-8 * torch.arange(1, heads + 1, dtype=torch.float64) / heads).float()


def alibi_bias(
    slopes: Float[Tensor, " heads"], queries: int, keys: int
) -> Float[Tensor, "heads query key"]:
    """−slope · (i − j) for a key in the past, 0 for the query itself.

    Keys in the future get a positive number; a causal model never reads them.
    """
    return -slopes[:, None, None] * distances(queries, keys)


def t5_bucket(
    relative_position: Int[Tensor, "*shape"],
    bidirectional: bool,
    buckets: int = 32,
    max_distance: int = 128,
) -> Int[Tensor, "*shape"]:
    """The bucket of each relative position, key − query: exact nearby, then logarithmically wider.

    Half of the buckets hold one distance each; the others grow up to ``max_distance``, and the last
    takes everything beyond. Where both directions are visible, each has half of the buckets. Raffel
    et al. 2020, section 2.1, as transformers' T5 computes it. Raises InputError where there are too
    few buckets, or no distance beyond the exact ones.
    """
    side = buckets // 2 if bidirectional else buckets
    exact = side // 2
    if exact < 1 or max_distance <= exact:
        raise InputError(
            "{buckets} buckets up to a distance of {distance} are not accepted; there must be at least "
            "2 buckets a direction, and the distance must exceed half of them.",
            buckets=buckets,
            distance=max_distance,
        )
    backward = relative_position.abs() if bidirectional else (-relative_position).clamp(min=0)
    ratio = backward.float().clamp(min=1) / exact
    far = exact + (ratio.log() / math.log(max_distance / exact) * (side - exact)).long()
    bucket = torch.where(backward < exact, backward, far.clamp(max=side - 1))
    return bucket + side * (relative_position > 0) if bidirectional else bucket


def bucket_bias(
    table: Float[Tensor, " buckets"], queries: int, keys: int, bidirectional: bool, max_distance: int = 128
) -> Float[Tensor, "query key"]:
    """What each pair of positions gets from one head's learned number for each bucket."""
    bucket = t5_bucket(-distances(queries, keys), bidirectional, len(table), max_distance)
    return table[bucket]


def fit_buckets(
    wanted: Float[Tensor, "query key"],
    visible: Bool[Tensor, "query key"],
    buckets: int,
    bidirectional: bool,
    max_distance: int = 128,
) -> Float[Tensor, " buckets"]:
    """The numbers, one a bucket, nearest to ``wanted`` in the least-squares sense over visible pairs.

    They are the means over each bucket; 0 for a bucket that no visible pair falls into.
    """
    bucket = t5_bucket(-distances(*wanted.shape), bidirectional, buckets, max_distance)[visible]
    total = torch.zeros(buckets, dtype=wanted.dtype).index_add(0, bucket, wanted[visible])
    count = torch.zeros(buckets, dtype=wanted.dtype).index_add(0, bucket, torch.ones_like(wanted[visible]))
    return total / count.clamp(min=1)
