"""Heavy-ball momentum on a quadratic: which (α, β) converge, how fast, and where it is best.

    z ← βz + λw,  w ← w − αz   (torch's SGD; Polyak 1964)

On an eigenvalue λ, (w, z) is multiplied by [[1 − αλ, −αβ], [λ, β]]: its eigenvalues σ are the roots
of σ² − (1 + β − αλ)σ + β, and |σ|, the larger of the two, is what remains after a step. It converges
if and only if 0 < αλ < 2 + 2β (with 0 ≤ β < 1); the roots are complex, and then |σ| = √β, between
the two values of αλ with β = (1 − √(αλ))², which is critical damping. (Goh 2017, "Why Momentum Really
Works", gives the same map; |σ| there is √β too, although a formula of the article prints 2√β.)
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.optimizers.conditioning import loss_of_matrices
from models.optimizers.learning_rates import batched_paths
from models.optimizers.trajectories import Choice, Run


def spectral_radius(
    rate: Float[Tensor, "*shape"], beta: Float[Tensor, "*shape"], curvature: float
) -> Float[Tensor, "*shape"]:
    """The larger |σ|: the factor by which a step shrinks (or grows) the error along λ = curvature."""
    half = (1 + beta - rate * curvature) / 2
    inside = half**2 - beta
    real = half.abs() + inside.clamp(min=0).sqrt()
    return torch.where(inside < 0, beta.clamp(min=0).sqrt(), real)


def convergence_map(
    rates: Float[Tensor, " rates"], betas: Float[Tensor, " betas"], condition: float
) -> Float[Tensor, "betas rates"]:
    """The slowest of the two eigenvalues' factors, for curvatures 1 and κ; above 1 is divergence.

    Raises InputError unless κ ≥ 1.
    """
    if not 1 <= condition < math.inf:
        raise InputError("A condition number of {condition} is not accepted here.", condition=condition)
    beta, rate = torch.meshgrid(betas, rates, indexing="ij")
    slow, steep = (spectral_radius(rate, beta, curvature) for curvature in (1.0, condition))
    return torch.maximum(slow, steep)


def stability_edge(betas: Float[Tensor, " betas"], condition: float) -> Float[Tensor, " betas"]:
    """The largest α that does not diverge: (2 + 2β)/κ."""
    return (2 + 2 * betas) / condition


def critical_beta(rate: Float[Tensor, "*shape"], curvature: float) -> Float[Tensor, "*shape"]:
    """Critical damping: β = (1 − √(αλ))², where the two roots meet."""
    return (1 - (rate * curvature).sqrt()) ** 2


@dataclass(frozen=True)
class Optimum:
    """The best learning rate and β for curvatures 1 and κ, and the factor a step."""

    rate: float
    beta: float
    factor: float


def best_momentum(condition: float) -> Optimum:
    """α = (2/(1 + √κ))², β = ((√κ − 1)/(√κ + 1))², factor (√κ − 1)/(√κ + 1) (Polyak 1964)."""
    root = math.sqrt(condition)
    factor = (root - 1) / (root + 1)
    return Optimum((2 / (1 + root)) ** 2, factor**2, factor)


def best_gradient_descent(condition: float) -> Optimum:
    """α = 2/(1 + κ), factor (κ − 1)/(κ + 1)."""
    return Optimum(2 / (1 + condition), 0.0, (condition - 1) / (condition + 1))


def library_path(rate: float, beta: float, condition: float, steps: int) -> Float[Tensor, "points 2"]:
    """torch.optim.SGD from (1, 1) on ½(x² + κy²)."""
    choice = Choice("momentum", rate, (("momentum", beta),))
    matrix = torch.diag(torch.tensor([1.0, condition], dtype=torch.float64))[None]
    starts, rates = torch.ones(1, 2, dtype=torch.float64), torch.tensor([rate], dtype=torch.float64)
    return batched_paths(loss_of_matrices(matrix), starts, rates, choice, Run(steps=steps))[:, 0]


def written_out_path(rate: float, beta: float, condition: float, steps: int) -> Float[Tensor, "points 2"]:
    """The same by powers of the 2 × 2 matrix of each eigenvalue."""
    curvatures = torch.tensor([1.0, condition], dtype=torch.float64)
    w, z = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    points = [w]
    for _ in range(steps):
        z = beta * z + curvatures * w
        w = w - rate * z
        points.append(w)
    return torch.stack(points)
