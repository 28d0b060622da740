"""GPTQ, column by column: what rounding a column spoils, the columns not yet rounded make good.

With H = 2 XᵀX + λ and U the upper Cholesky factor of H⁻¹, in the chosen order of the columns,

    e = (w_i − ŵ_i) / U_ii,     w_j ← w_j − e · U_ij     for the columns j > i

which is the least-squares answer of the remaining columns (Frantar et al. 2022, "GPTQ", algorithm 1).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.errors import InputError
from models.quantization.error import output_error
from models.quantization.integers import (
    IntegerScheme,
    check_finite,
    integer_codes,
    quantize_integers,
    scale_and_zero,
)


@dataclass(frozen=True)
class GptqScheme:
    """The grid is one for each row, from the row as it was.

    damping: λ over the mean of H's diagonal. act_order: columns with the largest diagonal first.
    """

    bits: int = 3
    affine: bool = False
    damping: float = 0.01
    act_order: bool = False

    def __post_init__(self):
        if not 0 < self.damping <= 10:
            raise InputError("Damping lies above 0 and up to 10.")

    @property
    def grid(self) -> IntegerScheme:
        return IntegerScheme(self.bits, "affine" if self.affine else "symmetric", "channel")


@dataclass(frozen=True, eq=False)
class GptqStep:
    """The matrix after one more column: rounded in ``column`` and all before, changed in the rest."""

    column: int
    weight: Float[Tensor, "out in"]
    output_error: float  # as the matrix is now, unrounded columns as they are


def hessian(inputs: Float[Tensor, "tokens in"]) -> Float[Tensor, "in in"]:
    """2 XᵀX, the second derivative of the squared output error in each row of W."""
    return 2 * inputs.T @ inputs


def column_order(curvature: Float[Tensor, "in in"], scheme: GptqScheme) -> Int[Tensor, " in"]:
    """The columns in the order in which they are rounded."""
    if scheme.act_order:
        return curvature.diagonal().argsort(descending=True, stable=True)
    return torch.arange(len(curvature))


def inverse_factor(
    curvature: Float[Tensor, "in in"], scheme: GptqScheme
) -> tuple[Int[Tensor, " in"], Float[Tensor, "in in"]]:
    """The order, and U with UᵀU = (H + λ)⁻¹ in that order; in float64. Channels never read get H = 1."""
    order = column_order(curvature, scheme)
    damped = curvature[order][:, order].double()
    diagonal = damped.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += scheme.damping * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return order, torch.linalg.cholesky(inverse, upper=True)


def gptq_steps(
    weight: Float[Tensor, "out in"], inputs: Float[Tensor, "tokens in"], scheme: GptqScheme
) -> Iterator[GptqStep]:
    """Round one column after another. Raises InputError for values that are not finite."""
    check_finite(weight)
    check_finite(inputs)
    order, factor = inverse_factor(hessian(inputs), scheme)
    low, high = weight.aminmax(dim=1, keepdim=True) if scheme.affine else _magnitudes(weight)
    scale, zero = scale_and_zero(low, high, scheme.grid)
    now = weight.double()
    for step, column in enumerate(order.tolist()):
        rounded = _rounded(now[:, column : column + 1].float(), scale, zero, scheme.grid).double()
        error = (now[:, column] - rounded[:, 0]) / factor[step, step]
        later = order[step + 1 :]
        now = now.clone()
        now[:, later] -= error[:, None] * factor[step, step + 1 :]
        now[:, column] = rounded[:, 0]
        done = now.float()
        yield GptqStep(column, done, output_error(inputs, weight, done))


def gptq(
    weight: Float[Tensor, "out in"], inputs: Float[Tensor, "tokens in"], scheme: GptqScheme
) -> Float[Tensor, "out in"]:
    """The whole matrix rounded; as ``gptq_steps``, without keeping the steps."""
    check_finite(weight)
    order, factor = inverse_factor(hessian(inputs), scheme)
    low, high = weight.aminmax(dim=1, keepdim=True) if scheme.affine else _magnitudes(weight)
    scale, zero = scale_and_zero(low, high, scheme.grid)
    now, result = weight.double()[:, order], torch.empty_like(weight)
    for step, column in enumerate(order.tolist()):
        rounded = _rounded(now[:, step : step + 1].float(), scale, zero, scheme.grid)
        error = (now[:, step : step + 1] - rounded) / factor[step, step]
        now[:, step + 1 :] -= error * factor[step, step + 1 :]
        result[:, column] = rounded[:, 0]
    return result


def _magnitudes(weight: Tensor) -> tuple[Tensor, Tensor]:
    high = weight.abs().amax(dim=1, keepdim=True)
    return torch.zeros_like(high), high


def _rounded(
    column: Float[Tensor, "out 1"],
    scale: Float[Tensor, "out 1"],
    zero: Float[Tensor, "out 1"] | None,
    grid: IntegerScheme,
) -> Float[Tensor, "out 1"]:
    codes = integer_codes(column, scale, zero, grid)
    return scale * (codes if zero is None else codes - zero)


def rounded_to_nearest(weight: Float[Tensor, "out in"], scheme: GptqScheme) -> Float[Tensor, "out in"]:
    """The same grid without passing errors on."""
    return quantize_integers(weight, scheme.grid).dequantized
