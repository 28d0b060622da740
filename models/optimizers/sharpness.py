"""Sharpness: the largest eigenvalue of the loss's Hessian, by power iteration on Hessian products."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def preconditioned_sharpness(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    scales: list[Tensor] | None = None,
    seed: int = 0,
    iterations: int = 20,
) -> float:
    """λ_max of S^½ H S^½, with S the diagonal of ``scales`` (the identity without).

    Power iteration finds the eigenvalue of the largest size; its Rayleigh quotient is returned, which
    never exceeds λ_max. A Hessian product is the gradient of ⟨∇f, v⟩ (Pearlmutter 1994).
    """
    roots = None if scales is None else [scale.sqrt() for scale in scales]
    gradients = torch.autograd.grad(loss(), parameters, create_graph=True)
    generator = torch.Generator().manual_seed(seed)
    vector = _unit([torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters])
    quotient = 0.0
    for _ in range(iterations):
        inner = vector if roots is None else [root * v for root, v in zip(roots, vector, strict=True)]
        product = torch.autograd.grad(gradients, parameters, inner, retain_graph=True)
        if roots is not None:
            product = tuple(root * part for root, part in zip(roots, product, strict=True))
        quotient = sum(float((v * h).sum()) for v, h in zip(vector, product, strict=True))
        vector = _unit(list(product))
    return quotient


def _unit(parts: list[Tensor]) -> list[Tensor]:
    norm = torch.stack([part.double().square().sum() for part in parts]).sum().sqrt().clamp(min=1e-30)
    return [part / norm.to(part.dtype) for part in parts]
