"""Sharpness: the largest eigenvalue of the loss's Hessian, by Lanczos' method on Hessian products."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST_ITERATIONS = 80
CLOSE = 1e-3  # of the eigenvalue: how much may still be missing when the iteration ends


def preconditioned_sharpness(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    scales: list[Tensor] | None = None,
    seed: int = 0,
    iterations: int = MOST_ITERATIONS,
    close: float = CLOSE,
) -> float:
    """λ_max of S^½ H S^½, with S the diagonal of ``scales`` (the identity without).

    The largest in value, not in size: power iteration would find a large negative one, and creeps where
    the top of the spectrum lies close together, as it does before training. Lanczos' method finds the
    best value in the span of v, Hv, H²v, …, which never exceeds λ_max, and ends when the residual bounds
    what is missing by ``close``. A Hessian product is the gradient of ⟨∇f, v⟩ (Pearlmutter 1994).
    """
    roots = None if scales is None else torch.cat([scale.sqrt().flatten() for scale in scales])
    gradients = torch.autograd.grad(loss(), parameters, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        inner = vector if roots is None else roots * vector
        parts = [
            part.view_as(p)
            for part, p in zip(inner.split([p.numel() for p in parameters]), parameters, strict=True)
        ]
        made = torch.autograd.grad(gradients, parameters, parts, retain_graph=True)
        flat = torch.cat([part.flatten() for part in made])
        return flat if roots is None else roots * flat

    generator = torch.Generator().manual_seed(seed)
    first = parameters[0]
    size = sum(p.numel() for p in parameters)
    start = torch.randn(size, generator=generator, dtype=first.dtype)
    return largest_eigenvalue(product, start, min(iterations, size), close)


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor], start: Tensor, iterations: int, close: float
) -> float:
    """λ_max of a symmetric operator, by Lanczos with full reorthogonalisation (Golub & Van Loan, 10.1)."""
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    value = 0.0
    for _ in range(iterations):
        vector = product(basis[-1])
        diagonal.append(float(vector @ basis[-1]))
        known = torch.stack(basis)
        for _twice in range(2):  # once leaves what rounding has brought back
            vector = vector - (known @ vector) @ known
        length = float(vector.norm())
        off = torch.tensor(beside, dtype=torch.float64)
        tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        tridiagonal = tridiagonal + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(tridiagonal)
        value = float(values[-1])
        size = float(values.abs().max())
        if length <= 1e-7 * size or length * abs(float(vectors[-1, -1])) <= close * max(value, 0.1 * size):
            return value
        beside.append(length)
        basis.append(vector / length)
    return value
