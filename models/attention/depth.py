"""What happens with depth: attention entropy, and how close a layer's tokens are to being all alike.

Entropy collapse is a row of weights concentrating on one key: in training, a sign of instability
(Zhai et al. 2023, "Stabilizing Transformer Training by Preventing Attention Entropy Collapse").
Rank collapse is all tokens' vectors becoming one vector: attention averages, and averages of
averages agree (Dong et al. 2021, "Attention is not all you need: pure attention loses rank doubly
exponentially with depth"). Residual connections and MLPs counteract the second.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.errors import InputError


def attention_entropy(
    probabilities: Float[Tensor, "*heads query key"],
) -> Float[Tensor, "*heads query"]:
    """H_i = −Σ_j α_ij ln α_ij in nats, with 0 ln 0 = 0: from 0 (one key) to ln n (n keys, evenly)."""
    entropy = -torch.xlogy(probabilities, probabilities).sum(dim=-1)
    return entropy.clamp(min=0.0)  # a weight rounded to just above 1 has a negative term


def largest_entropy(visible: Bool[Tensor, "query key"]) -> float:
    """The mean over queries of ln n, where a query sees n keys: no head's mean entropy exceeds it."""
    return visible.sum(dim=-1).double().log().mean().item()


def rank_one_residual(
    hidden: Float[Tensor, "query width"], kind: Literal["best", "mean"] = "best"
) -> float:
    """How far the tokens' vectors X are from a matrix of rank 1, relative to ‖X‖; 0 is collapsed.

    * "best": from the nearest rank-1 matrix. By Eckart and Young 1936 that is the first term of the
      singular value decomposition, so the distance is √(σ₂² + σ₃² + …) / √(σ₁² + σ₂² + …).
      At 0 tokens may still differ in length or sign.
    * "mean": from 1·meanᵀ, every token the same vector; never smaller than "best".

    Dong et al. 2021 measure ‖res(X)‖ / ‖X‖ with res(X) = X − 1xᵀ for the x that makes it least: that
    is "mean", except that their norm is √(‖X‖₁ ‖X‖_∞), of the largest column and row sums, and ours
    is Frobenius', in which the least x is the mean. "best" drops the requirement that all rows be
    equal. Computed in float64. A zero matrix gives 0, one that is not finite NaN.
    """
    hidden = hidden.double()
    if not hidden.any():
        return 0.0
    if not torch.isfinite(hidden).all():
        return math.nan
    if kind == "best":
        singular_values = torch.linalg.svdvals(hidden)
        return (singular_values[1:].norm() / singular_values.norm()).item()
    return ((hidden - hidden.mean(dim=0)).norm() / hidden.norm()).item()


@dataclass(frozen=True)
class CausalRank:
    """The rank of a causal attention matrix: by the determinant, and as arithmetic finds it."""

    size: int  # queries, and keys
    rank: int  # singular values above the tolerance
    smallest_diagonal: float  # above 0: full rank, exactly
    log_abs_determinant: float  # Σ_i ln α_ii, nats; −∞ for a determinant of 0
    smallest_singular_value: float  # never above the smallest diagonal entry
    tolerance: float  # of torch.linalg.matrix_rank: size · machine epsilon · largest singular value


def causal_rank(probabilities: Float[Tensor, "query key"]) -> CausalRank:
    """Is a causal attention matrix of full rank? In exact arithmetic always, in a computer not.

    The matrix is triangular, so its determinant is the product of its diagonal; softmax makes each
    factor positive, so the determinant is not 0. But where heads look away from the diagonal its
    logarithm falls by the hundred, singular values fall below rounding, and the numerical rank
    (torch.linalg.matrix_rank) is smaller. Full rank in the first sense therefore does not settle
    what a decoder can express. Depends on the precision: float64 finds more rank than float32.

    Raises InputError when the matrix is not square, holds a weight that is not finite, or gives weight
    to a key after its query.
    """
    queries, keys = probabilities.shape
    if queries != keys or queries == 0:
        raise InputError(
            "A causal attention matrix is square; this one has {queries} queries and {keys} keys.",
            queries=queries,
            keys=keys,
        )
    if not torch.isfinite(probabilities).all():
        raise InputError("This matrix holds NaN or infinity; weights are finite numbers.")
    if probabilities.triu(diagonal=1).any():
        raise InputError("This matrix gives weight to keys after the query; only a causal one is accepted.")
    # linalg knows no half precision
    probabilities = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    diagonal = probabilities.diagonal()
    singular_values = torch.linalg.svdvals(probabilities)
    return CausalRank(
        size=queries,
        rank=int(torch.linalg.matrix_rank(probabilities)),
        smallest_diagonal=diagonal.min().item(),
        log_abs_determinant=diagonal.double().log().sum().item(),
        smallest_singular_value=singular_values[-1].item(),
        tolerance=queries * torch.finfo(probabilities.dtype).eps * singular_values[0].item(),
    )
