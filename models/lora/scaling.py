"""α/r against α/√r: what really depends on the rank in the first step, and what does not.

Before the first step B = 0, so ∇A = 0 and ∇B = s·G·Aᵀ with G = ∂L/∂W. Adam's first step moves every
entry of B by the learning rate η, whatever the gradient's size: B = −η·sign(∇B), ΔW = s·B·A.

Three quantities tell the rules apart: ‖∇B‖, ‖ΔW‖, and how far ΔW goes along −G, the direction of
steepest descent. With A kaiming and s = α/r: ‖∇B‖ ∝ 1/√r, progress ∝ s·r = α; with s = α/√r: ‖∇B‖
stays, progress ∝ α·√r.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.errors import InputError
from models.lora.adapter import Scaling, scale


@dataclass(frozen=True, eq=False)
class FirstStep:
    """One sign step on B, for each rank."""

    ranks: Int[Tensor, " ranks"]
    gradient: Float[Tensor, " ranks"]  # ‖∇B‖
    change: Float[Tensor, " ranks"]  # ‖ΔW‖
    progress: Float[Tensor, " ranks"]  # ⟨ΔW, −G⟩ / ‖G‖


def first_step(
    width: int, ranks: tuple[int, ...], alpha: float, scaling: Scaling, learning_rate: float, seed: int
) -> FirstStep:
    """The first step at each rank for a gradient G with singular values 1/i in random directions.

    Raises InputError on ranks above the width, α ≤ 0 or a learning rate ≤ 0.
    """
    if not ranks or min(ranks) < 1 or max(ranks) > width:
        raise InputError("Ranks lie between 1 and the width {width}.", width=width)
    if learning_rate <= 0:
        raise InputError("The learning rate must be greater than 0.")
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(width, width, generator=generator))[0] for _ in range(2))
    gradient = left / torch.arange(1, width + 1) @ right.T
    # the rows of the largest A; a smaller rank takes the first ones
    rows = (2 * torch.rand(max(ranks), width, generator=generator) - 1) / width**0.5
    measured = []
    for rank in ranks:
        a, s = rows[:rank], scale(alpha, rank, scaling)
        gradient_b = s * gradient @ a.T
        change = s * (-learning_rate * gradient_b.sign()) @ a
        measured.append((gradient_b.norm(), change.norm(), -(change * gradient).sum() / gradient.norm()))
    columns = (torch.stack(column) for column in zip(*measured, strict=True))
    return FirstStep(torch.tensor(ranks), *columns)


@dataclass(frozen=True)
class Knobs:
    """What a person may set; only some combinations of them differ."""

    alpha: float
    start: float  # factor on A's initial size
    learning_rate: float


def turned(knobs: Knobs, p: float, optimizer: str) -> Knobs:
    """(α, A, η) → (α/p², p·A, p·η): the same training under Adam, p²·η under SGD.

    With A' = p·A and B' = p·B, (α/p²)·B'A' = α·BA. The gradients become ∇/p; Adam does not see their
    size and moves by η' = p·η, SGD needs p² to make up for it. Raises InputError on p ≤ 0.
    """
    if p <= 0:
        raise InputError("p is {p}; it must be greater than 0.", p=p)
    power = 1 if optimizer == "adam" else 2
    return Knobs(knobs.alpha / p**2, knobs.start * p, knobs.learning_rate * p**power)
