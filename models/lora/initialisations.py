"""How A and B begin, and what some initialisations do to the base weight.

| name       | A                 | B             | base       | source                             |
|------------|-------------------|---------------|------------|------------------------------------|
| kaiming    | U(±1/√in)         | 0             | W₀         | peft ``True``                      |
| gaussian   | N(0, 1/r²)        | 0             | W₀         | peft ``"gaussian"``                |
| zero       | 0                 | 0             | W₀         | the question everyone is asked     |
| random     | U(±1/√in)         | U(±1/√r)      | W₀         | peft ``False``: changes the output |
| b_random   | 0                 | U(±1/√r)      | W₀         | Hayou et al. 2024b, "Init[B]"      |
| orthogonal | random            | random, BA=0  | W₀         | peft ``"orthogonal"``, r even      |
| pissa      | √(S_r/s)·V_rᵀ     | U_r·√(S_r/s)  | W₀ − s·B·A | Meng et al. 2024                   |
| milora     | the same for the smallest r  || W₀ − s·B·A | Wang et al. 2024                   |
| olora      | R_r of W₀ = Q·R   | Q_r           | W₀ − s·B·A | Büyükakyüz 2024                    |
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.lora.adapter import check_rank

Initialisation = Literal[
    "kaiming", "gaussian", "zero", "random", "b_random", "orthogonal", "pissa", "milora", "olora"
]
INITIALISATIONS: tuple[Initialisation, ...] = get_args(Initialisation)
CHANGES_BASE = frozenset({"pissa", "milora", "olora"})


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter at its start, with the base weight that it needs."""

    a: Float[Tensor, "rank in"]
    b: Float[Tensor, "out rank"]
    base: Float[Tensor, "out in"]


def initialise(
    name: Initialisation,
    weight: Float[Tensor, "out in"],
    rank: int,
    s: float,
    generator: torch.Generator,
) -> Adapter:
    """A, B and the base weight for one matrix, as in the table above.

    Raises InputError on an unknown name, a rank that the matrix cannot have, an odd rank for
    ``orthogonal``.
    """
    check_rank(rank, *weight.shape)
    if name not in INITIALISATIONS:
        raise InputError(
            "There is no initialisation {name}; it is one of {known}.",
            name=repr(name),
            known=", ".join(INITIALISATIONS),
        )
    if name in ("pissa", "milora"):
        a, b = _singular(weight, rank, s, smallest=name == "milora")
    elif name == "olora":
        q, r = torch.linalg.qr(weight)
        a, b = r[:rank], q[:, :rank]
    elif name == "orthogonal":
        a, b = _orthogonal(weight, rank, generator)
    else:
        a, b = _drawn(name, weight, rank, generator)
    a, b = a.contiguous(), b.contiguous()
    return Adapter(a, b, weight - s * b @ a if name in CHANGES_BASE else weight)


def _drawn(
    name: Initialisation, weight: Tensor, rank: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    width_out, width_in = weight.shape

    def uniform(*shape: int) -> Tensor:
        """nn.Linear's kaiming_uniform_(a=√5): U(±1/√fan_in), deviation 1/√(3·fan_in)."""
        return (2 * torch.rand(*shape, generator=generator) - 1) / math.sqrt(shape[1])

    a, b = weight.new_zeros(rank, width_in), weight.new_zeros(width_out, rank)
    if name in ("kaiming", "random"):
        a = uniform(rank, width_in).to(weight.dtype)
    if name == "gaussian":
        a = torch.randn(rank, width_in, generator=generator).to(weight.dtype) / rank
    if name in ("b_random", "random"):
        b = uniform(width_out, rank).to(weight.dtype)
    return a, b


def _singular(weight: Tensor, rank: int, s: float, smallest: bool) -> tuple[Tensor, Tensor]:
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    chosen = slice(len(values) - rank, None) if smallest else slice(rank)
    root = (values[chosen] / s).sqrt()
    return root[:, None] * right[chosen], left[:, chosen] * root


def _orthogonal(weight: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Neither A nor B is zero, yet B·A is: they use different rows of one rotation (peft 0.21)."""
    if rank % 2:
        raise InputError("The orthogonal initialisation needs an even rank; {rank} is odd.", rank=rank)
    width_out, width_in = weight.shape
    q, _ = torch.linalg.qr(torch.randn(rank, rank, generator=generator))
    a = (torch.randn(width_in, rank // 2, generator=generator) @ q[0::2]).T / 10
    b = torch.randn(rank // 2, width_out, generator=generator).T @ q[1::2] / 10
    return a.to(weight.dtype), b.to(weight.dtype)
