"""What one head of a long text reads: its map made small, its weights and scores by distance."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.context.long_attention import LongPass, rotated
from models.errors import InputError
from models.numerics.masked_softmax import masked_softmax


@dataclass(frozen=True, eq=False)
class WeightByDistance:
    """Of the weight that queries give, the share that goes to keys at each distance."""

    distance: Float[Tensor, " bin"]  # tokens back, the first of the bin
    share: Float[Tensor, " bin"]  # mean over the queries; sums to 1


def head_weights(present: LongPass, layer: int, head: int) -> Float[Tensor, "query key"]:
    """Attention weights of one head, from the queries and keys that a pass kept.

    Raises InputError where there is no such head.
    """
    if not (0 <= layer < len(present.query) and 0 <= head < len(present.query[layer])):
        raise InputError(
            "There is no head {head} in layer {layer}; the network has {layers} layers of {heads} heads.",
            head=head,
            layer=layer,
            layers=len(present.query),
            heads=len(present.query[0]),
        )
    query, key = query_and_key(present, layer, head)
    scores = query @ key.T * present.scale
    reach, tokens = present.reach, len(query)
    if reach.window is not None and reach.sinks and reach.cache_positions:
        position = torch.arange(tokens)
        shift = (position - (reach.sinks + reach.window - 1)).clamp(min=0)
        moved = rotated(query[None, None], -shift, present.inverse_frequencies)[0, 0]
        sinks = min(reach.sinks, tokens)
        far = position[:, None] - torch.arange(sinks)[None, :] >= reach.window
        scores[:, :sinks] = torch.where(far, moved @ key[:sinks].T * present.scale, scores[:, :sinks])
    return masked_softmax(scores.masked_fill(~reach.visible(tokens), -torch.inf)).probabilities


def query_and_key(
    present: LongPass, layer: int, head: int
) -> tuple[Float[Tensor, "token d_k"], Float[Tensor, "token d_k"]]:
    """Rotated queries of one head and keys of the key head that it reads, in float32 on the CPU."""
    query, key = present.query[layer], present.key[layer]
    own = key[head // (len(query) // len(key))]
    return query[head].float().cpu(), own.float().cpu()


def small_map(weights: Float[Tensor, "query key"], size: int) -> Float[Tensor, "rows columns"]:
    """The largest weight of each square of tokens; NaN where the mask leaves nothing."""
    tokens = len(weights)
    side = -(-tokens // min(size, tokens))
    padded = torch.nn.functional.pad(weights, (0, -tokens % side, 0, -tokens % side))
    rows = len(padded) // side
    small = padded.reshape(rows, side, rows, side).amax((1, 3))
    return small.masked_fill(torch.ones_like(small).triu(1).bool(), torch.nan)


def weight_by_distance(weights: Float[Tensor, "query key"], first_query: int) -> WeightByDistance:
    """Shares of weight in bins of doubling distance (0, 1, 2–3, 4–7, …), for queries from one on.

    Raises InputError where no query is left.
    """
    tokens = len(weights)
    if not 0 <= first_query < tokens:
        raise InputError("The first query must lie within the text of {tokens} tokens.", tokens=tokens)
    query = torch.arange(first_query, tokens)[:, None]
    distance = (query - torch.arange(tokens)[None, :]).clamp(min=0)
    # frexp's exponent is exact: 0 for 0, and 1 + floor(log2 d) for a whole d above it.
    bins = torch.frexp(distance.float()).exponent.long()
    count = 1 + math.floor(math.log2(max(tokens - 1, 1))) + 1
    share = torch.zeros(count).scatter_add_(0, bins.flatten(), weights[first_query:].flatten())
    starts = torch.cat([torch.zeros(1), 2.0 ** torch.arange(count - 1)])
    return WeightByDistance(starts, share / (tokens - first_query))


def score_by_distance(
    query: Float[Tensor, " d_k"],
    key: Float[Tensor, " d_k"],
    inverse_frequencies: Float[Tensor, " pairs"],
    distances: Float[Tensor, " distance"],
    scale: float,
) -> Float[Tensor, " distance"]:
    """Scale · q·R(−Δ)k: the score of one query and key, neither rotated, if they were Δ apart.

    Pair i gives |q_i||k_i| cos(Δθ_i + φ_i), in Llama's layout.
    """
    pairs = len(inverse_frequencies)
    q = torch.complex(query[:pairs], query[pairs:])
    k = torch.complex(key[:pairs], key[pairs:])
    turned = torch.exp(1j * distances[:, None] * inverse_frequencies)
    return (turned * (q * k.conj())).sum(1).real * scale
