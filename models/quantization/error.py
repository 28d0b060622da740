"""How far a quantized matrix is from the original, and how near to it any quantizer could come."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from models.quantization.integers import check_finite

DECIBELS_A_BIT = 20 * math.log10(2)  # 6.02: halving the step quarters the squared error
LLOYD_STEPS = 400


@dataclass(frozen=True)
class MatrixError:
    """Mean squared error, signal to quantization noise in dB, cosine, and the largest difference."""

    mse: float
    sqnr: float  # 10 log10(Σx² / Σ(x − x̂)²); infinite without an error
    cosine: float
    largest: float


def matrix_error(x: Float[Tensor, "*shape"], quantized: Float[Tensor, "*shape"]) -> MatrixError:
    """All four at once; sums in float64, so that a million small errors are not lost."""
    difference = x - quantized
    noise = _energy(difference)
    return MatrixError(
        noise / max(1, x.numel()),
        decibels(_energy(x), noise),
        float(torch.cosine_similarity(x.flatten(), quantized.flatten(), dim=0)) if x.any() else math.nan,
        float(difference.abs().max()),
    )


def sqnr(x: Float[Tensor, "*shape"], quantized: Float[Tensor, "*shape"]) -> float:
    """Signal to quantization noise in dB."""
    return decibels(_energy(x), _energy(x - quantized))


def _energy(x: Float[Tensor, "*shape"]) -> float:
    return float(torch.linalg.vector_norm(x, dtype=torch.float64)) ** 2


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise); infinite without noise, NaN without both or with both infinite."""
    if math.isinf(noise):
        return math.nan if math.isinf(signal) else -math.inf
    if noise == 0:
        return math.inf if signal > 0 else math.nan
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def relative_error(weight: Float[Tensor, "*shape"], quantized: Float[Tensor, "*shape"]) -> float:
    """‖W − Ŵ‖ / ‖W‖; NaN where all weights are 0."""
    size = float(torch.linalg.vector_norm(weight))
    return float(torch.linalg.vector_norm(weight - quantized)) / size if size > 0 else math.nan


def output_error(
    inputs: Float[Tensor, "tokens in"],
    weight: Float[Tensor, "out in"],
    quantized: Float[Tensor, "out in"],
) -> float:
    """‖X(W − Ŵ)ᵀ‖ / ‖XWᵀ‖: what the error does to what the layer writes, for these inputs."""
    written = torch.linalg.norm(inputs @ weight.T)
    return float(torch.linalg.norm(inputs @ (weight - quantized).T) / written) if written > 0 else math.nan


def kurtosis(x: Float[Tensor, "*shape"]) -> float:
    """E[(x − μ)⁴] / σ⁴: 3 for a normal distribution, large where a few values stand far out."""
    centred = x.double() - x.double().mean()
    variance = (centred**2).mean()
    return float((centred**4).mean() / variance**2) if variance > 0 else math.nan


@dataclass(frozen=True, eq=False)
class LloydMax:
    """The best levels that a scalar quantizer of so many levels can have."""

    levels: Float[Tensor, " levels"]
    mse: float
    sqnr: float


@cache
def lloyd_max_normal(bits: int) -> LloydMax:
    """The best 2^bits levels for N(0, 1) (Max 1960, "Quantizing for Minimum Distortion"; Lloyd 1982).

    Borders lie midway between levels, levels at the mean of what lies between borders; repeated
    until both hold.
    """
    count = 2**bits
    levels = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    for _ in range(20_000):
        share, centre = _normal_cells(levels)
        moved = float((centre - levels).abs().max())
        levels = centre
        if moved < 1e-10:
            break
    share, centre = _normal_cells(levels)
    mse = 1 - float((share * centre**2).sum())
    return LloydMax(levels.float(), mse, decibels(1.0, mse))


def _normal_cells(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Probability and mean of the normal distribution between the midpoints of levels."""
    infinite = torch.tensor([torch.inf], dtype=levels.dtype)
    borders = torch.cat([-infinite, (levels[1:] + levels[:-1]) / 2, infinite])
    density = torch.exp(-(borders**2) / 2) / math.sqrt(2 * math.pi)
    share = torch.special.ndtr(borders).diff()
    return share, (density[:-1] - density[1:]) / share


def lloyd_max(x: Float[Tensor, "*shape"], bits: int) -> LloydMax:
    """The best 2^bits levels for these very values, all with one scale; from quantiles on.

    It is a local optimum, as Lloyd's steps are. Raises InputError for values that are not finite.
    """
    check_finite(x.reshape(1, -1))
    values = x.flatten().sort().values.double()
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), values.cumsum(0)])
    squares = float((values**2).sum())
    places = ((torch.arange(2**bits) + 0.5) / 2**bits * len(values)).long()
    levels = values[places]
    for _ in range(LLOYD_STEPS):
        ends = torch.searchsorted(values, (levels[1:] + levels[:-1]) / 2, right=True)
        ends = torch.cat([torch.zeros(1, dtype=ends.dtype), ends, torch.tensor([len(values)])])
        counts, totals = ends.diff(), sums[ends].diff()
        moved = torch.where(counts > 0, totals / counts.clamp(min=1), levels)
        if torch.equal(moved, levels):
            break
        levels = moved
    levels = levels.sort().values
    cells = torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)
    noise = float(((values - levels[cells]) ** 2).sum())
    return LloydMax(levels.float(), noise / len(values), decibels(squares, noise))
