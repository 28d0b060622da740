"""Muon's update: a momentum matrix pushed towards the nearest orthogonal one by Newton–Schulz.

    X ← aX + b(XXᵀ)X + c(XXᵀ)²X,  (a, b, c) = (3.4445, −4.775, 2.0315)

Each step applies p(s) = as + bs³ + cs⁵ to every singular value and leaves the singular vectors as
they are. The coefficients trade convergence for speed: singular values end between about 0.7 and
1.2, not at 1 (Jordan 2024, "Muon"; torch.optim.Muon in 2.13).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError

COEFFICIENTS = (3.4445, -4.775, 2.0315)
EPSILON = 1e-7


@dataclass(frozen=True, eq=False)
class NewtonSchulz:
    """The matrix and its singular values before the first and after each step."""

    matrices: Float[Tensor, "points rows columns"]
    singular_values: Float[Tensor, "points rank"]  # largest first at the start, then in that order


def newton_schulz(
    matrix: Float[Tensor, "rows columns"], steps: int, dtype: torch.dtype = torch.float64
) -> NewtonSchulz:
    """The iteration from matrix/‖matrix‖_F, in ``dtype`` (torch's Muon uses bfloat16).

    Raises InputError for a matrix of zeros or with infinities, and for more than 50 steps.
    """
    if not (matrix.isfinite().all() and matrix.any()):
        raise InputError("A matrix of finite numbers that are not all 0 is needed.")
    if not 0 <= steps <= 50:
        raise InputError("{steps} Newton–Schulz steps are not accepted; 0 to 50 are.", steps=steps)
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if is_tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=EPSILON)
    a, b, c = COEFFICIENTS
    points = [x]
    for _ in range(steps):
        gram = x @ x.T
        # as torch does it, product and sum in one rounding: (bA + cA²)X + aX
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        points.append(x)
    matrices = torch.stack([point.double().T if is_tall else point.double() for point in points])
    return NewtonSchulz(matrices, _followed(matrices))


def _followed(matrices: Float[Tensor, "points rows columns"]) -> Float[Tensor, "points rank"]:
    """Singular values in the order of the first matrix's: uᵀXv for its singular vectors u, v."""
    u, _s, vt = torch.linalg.svd(matrices[0], full_matrices=False)
    return torch.einsum("rk,prc,kc->pk", u, matrices, vt)


def polynomial(values: Float[Tensor, "*shape"], steps: int = 1) -> Float[Tensor, "*shape"]:
    """P(s) = as + bs³ + cs⁵, ``steps`` times over."""
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        values = a * values + b * values**3 + c * values**5
    return values


def nearest_orthogonal(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """UVᵀ of the singular value decomposition: what the iteration approximates."""
    u, _s, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
    return u @ vt
