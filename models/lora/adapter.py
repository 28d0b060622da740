"""Low-rank adaptation, in the open.

    W = W₀ + s·B·A        A [rank, in], B [out, rank], s = α/r (LoRA) or α/√r (rsLoRA)

Hu et al. 2021, "LoRA", section 4.1; Kalajdzievski 2023, "A Rank Stabilization Scaling Factor" (rsLoRA);
Liu et al. 2024, "DoRA", eq. 5; Shuttleworth et al. 2024, "LoRA vs Full Fine-tuning: An Illusion of
Equivalence" (intruder dimensions). Only ΔW = s·B·A is of low rank: W₀ keeps whatever rank it has.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError

Scaling = Literal["alpha/r", "alpha/sqrt(r)"]
SCALINGS: tuple[Scaling, ...] = get_args(Scaling)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What a change of weights did to singular values and directions."""

    delta: Float[Tensor, " rank"]  # singular values of ΔW, largest first
    before: Float[Tensor, " rank"]  # of W₀
    after: Float[Tensor, " rank"]  # of W₀ + ΔW
    cosine: Float[Tensor, "after before"]  # |cos| between left singular vectors


def check_rank(rank: int, width_out: int, width_in: int) -> None:
    """Raises InputError unless 1 ≤ rank ≤ the smaller width."""
    most = min(width_out, width_in)
    if not 1 <= rank <= most:
        raise InputError(
            "Rank {rank} is not possible: it must lie between 1 and {most}, the matrix's smaller side.",
            rank=rank,
            most=most,
        )


def scale(alpha: float, rank: int, scaling: Scaling = "alpha/r") -> float:
    """The factor s before B·A. Raises InputError on α ≤ 0, rank < 1 or an unknown rule.

    α = 0 would switch the adapter off and stop every gradient.
    """
    if not (alpha > 0 and math.isfinite(alpha)):
        raise InputError(
            "α is {alpha}; it must be greater than 0, or the adapter does nothing.", alpha=alpha
        )
    if rank < 1:
        raise InputError("Rank {rank} is not possible; it must be at least 1.", rank=rank)
    if scaling not in SCALINGS:
        raise InputError(
            "There is no scaling rule {scaling}; it is one of {known}.",
            scaling=repr(scaling),
            known=", ".join(SCALINGS),
        )
    return alpha / rank if scaling == "alpha/r" else alpha / math.sqrt(rank)


def delta_weight(
    a: Float[Tensor, "*runs rank in"], b: Float[Tensor, "*runs out rank"], s: float
) -> Float[Tensor, "*runs out in"]:
    """ΔW = s·B·A, of rank at most ``rank``."""
    return s * (b @ a)


def adapted(
    x: Float[Tensor, "*batch in"],
    weight: Float[Tensor, "out in"],
    a: Float[Tensor, "rank in"],
    b: Float[Tensor, "out rank"],
    s: float,
) -> Float[Tensor, "*batch out"]:
    """Return x W₀ᵀ + s·(x Aᵀ) Bᵀ: two branches, as they run while the adapter is not merged."""
    return x @ weight.T + s * (x @ a.T) @ b.T


def merge(
    weight: Float[Tensor, "out in"], a: Float[Tensor, "rank in"], b: Float[Tensor, "out rank"], s: float
) -> Float[Tensor, "out in"]:
    """One matrix instead of two branches: nothing is left that could cost time."""
    return weight + delta_weight(a, b, s)


def unmerge(
    merged: Float[Tensor, "out in"], a: Float[Tensor, "rank in"], b: Float[Tensor, "out rank"], s: float
) -> Float[Tensor, "out in"]:
    """W₀ again, up to the rounding of one addition and one subtraction."""
    return merged - delta_weight(a, b, s)


def dora_weight(
    weight: Float[Tensor, "*runs out in"],
    delta: Float[Tensor, "*runs out in"],
    magnitude: Float[Tensor, "*runs out"],
    detach_norm: bool = True,
) -> Float[Tensor, "*runs out in"]:
    """Return m ⊙ (W₀ + ΔW) / ‖W₀ + ΔW‖, one magnitude and one norm per output row (DoRA, eq. 5).

    With m = ‖W₀‖ at the start this is W₀ itself. ``detach_norm`` treats the norm as a constant in the
    gradient (DoRA, section 4.3), as peft does. A row of zeros stays one (peft 0.21 divides 0 by 0).
    """
    direction = weight + delta
    norm = direction.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(direction.dtype).tiny)
    return magnitude[..., None] * direction / (norm.detach() if detach_norm else norm)


def parameter_count(width_out: int, width_in: int, rank: int, dora: bool = False) -> int:
    """Trained numbers for one matrix: r·(in + out), and one magnitude per output row with DoRA.

    Raises InputError on a rank that the matrix cannot have.
    """
    check_rank(rank, width_out, width_in)
    return rank * (width_in + width_out) + (width_out if dora else 0)


def extended(
    a: Float[Tensor, "rank in"],
    b: Float[Tensor, "out rank"],
    a_start: Float[Tensor, "rank in"],
    b_start: Float[Tensor, "out rank"],
) -> tuple[Float[Tensor, "twice_rank in"], Float[Tensor, "out twice_rank"]]:
    """[A; A_start] and [B, −B_start], whose product is B·A − B_start·A_start.

    An initialisation that took s·B_start·A_start out of W₀ needs that base; the extended adapter has
    twice the rank and fits W₀ as it was published (Meng et al. 2024, "PiSSA", appendix C).
    """
    return torch.cat([a, a_start]), torch.cat([b, -b_start], dim=1)


def capacity_floor(change: Float[Tensor, "*runs out in"], rank: int) -> Float[Tensor, "*runs"]:
    """The part of ‖change‖² that no matrix of ``rank`` can express: Eckart–Young, Σ_{i>r} σᵢ² / Σ σᵢ²."""
    squares = torch.linalg.svdvals(change).square()
    return squares[..., rank:].sum(-1) / squares.sum(-1)


def spectrum(before: Float[Tensor, "out in"], after: Float[Tensor, "out in"]) -> Spectrum:
    """Singular values of W₀, W and W − W₀, and how far W's left directions are those of W₀."""
    left_before, values_before, _ = torch.linalg.svd(before, full_matrices=False)
    left_after, values_after, _ = torch.linalg.svd(after, full_matrices=False)
    return Spectrum(
        torch.linalg.svdvals(after - before),
        values_before,
        values_after,
        (left_after.T @ left_before).abs(),
    )


def intruders(
    cosine: Float[Tensor, "after before"], top: int = 10, epsilon: float = 0.5
) -> Int[Tensor, " count"]:
    """Which of the ``top`` leading directions of W resemble no direction of W₀: max |cos| < ε.

    The defaults are those of peft's ``reduce_intruder_dimension`` (0.21). Raises InputError where
    ``epsilon`` is no cosine or ``top`` no number of directions.
    """
    if not (0 <= epsilon <= 1 and 1 <= top <= len(cosine)):
        raise InputError(
            "Intruders are sought among 1 to {most} directions with ε between 0 and 1; "
            "{top} and {epsilon} were given.",
            most=len(cosine),
            top=top,
            epsilon=epsilon,
        )
    foreign: Bool[Tensor, " top"] = cosine[:top].amax(dim=1) < epsilon
    return foreign.nonzero()[:, 0]
