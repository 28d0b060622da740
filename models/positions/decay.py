"""How scores under rotary embedding fall, or do not fall, with distance."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.rotary.rope import Layout, curve, pair_products


def in_phase(
    distances: Int[Tensor, " distance"], frequency: Float[Tensor, " pairs"]
) -> Float[Tensor, " distance"]:
    """Mean over the pairs of cos(Δ θ_p): the score of a query with a key equal to it, over ‖q‖².

    Exact where all pairs are of one length, and the expectation for random q = k. Also the inner
    product of two sinusoidal encodings a distance Δ apart, over its value at 0.
    """
    return (distances[:, None].to(frequency.dtype) * frequency).cos().mean(dim=-1)


def roformer_bound(
    distances: Int[Tensor, " distance"], frequency: Float[Tensor, " pairs"]
) -> Float[Tensor, " distance"]:
    """Mean over j of |S_j|, S_j = Σ_{p<j} e^{i Δ θ_p}, over its value at distance 0.

    Su et al. 2021, eq. 36 and 37, bound |q·k| by this times the largest step between the products
    of neighbouring pairs. It bounds; it does not say that scores fall.
    """
    angle = distances[:, None].double() * frequency.double()
    sums = torch.polar(torch.ones_like(angle), angle).cumsum(dim=-1).abs()
    return (sums.mean(dim=-1) / ((len(frequency) + 1) / 2)).to(frequency.dtype)


def unit(x: Float[Tensor, "token d_k"]) -> Float[Tensor, "token d_k"]:
    """Each vector at length 1; a vector of zeros stays."""
    return x / x.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)


def mean_cosine_at_distances(
    query: Float[Tensor, "query d_k"],
    key: Float[Tensor, "key d_k"],
    visible: Bool[Tensor, "query key"],
    distances: Int[Tensor, " distance"],
    frequency: Float[Tensor, " pairs"],
    layout: Layout,
) -> Float[Tensor, " distance"]:
    """The mean cosine of all visible pairs of unrotated vectors, were all of them at one distance.

    What the content of the text is stays the same at every distance, so that the curve shows the
    rotation alone. Computed from sums over the keys, without a score for every pair and distance.
    """
    query, key = unit(query), unit(key)
    seen = visible.to(key.dtype)
    rotary = 2 * len(frequency)
    together = seen @ key  # for each query, the sum of the keys that it sees
    products = pair_products(query, together, len(frequency), layout).sum(dim=0) / seen.sum()
    unrotated = (query[:, rotary:] * together[:, rotary:]).sum() / seen.sum()
    return curve(products, distances, frequency) + unrotated


def mean_by_distance(
    scores: Float[Tensor, "query key"], visible: Bool[Tensor, "query key"]
) -> Float[Tensor, " distance"]:
    """The mean of the visible scores a distance query − key = 0, 1, … apart; NaN where none is."""
    queries, keys = scores.shape
    distance = torch.arange(queries)[:, None] - torch.arange(keys)
    counted = visible & (distance >= 0)
    total = torch.zeros(queries, dtype=scores.dtype).index_add(0, distance[counted], scores[counted])
    count = torch.zeros(queries, dtype=scores.dtype).index_add(
        0, distance[counted], torch.ones_like(scores[counted])
    )
    return total / count
