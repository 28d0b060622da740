"""Integer quantization: scale, zero point, groups and clipping; what a code costs in bits.

    affine       s = (max − min) / (2^b − 1),  z = q_min − round(min / s),  x̂ = s (q − z)
    symmetric    s = max|x| / (2^(b−1) − 1),   z = 0; the lowest code stays unused
    full range   s = max|x| / (2^(b−1) − ½),   z = 0; torchao's convention: 7.5 for four bits

The range always contains 0, so that 0 has a code of its own: padding, ReLU's zeros and pruned
weights stay exactly 0, where else each would carry the same error and a sum would drift. A group
whose width does not divide the rows ends with a shorter group in each row.
Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", eq. 1; torchao 0.18, quant_primitives.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.errors import InputError

Mapping = Literal["affine", "symmetric", "full_range"]
Granularity = Literal["tensor", "channel", "group"]
Clipping = Literal["max", "percentile", "mse"]
MAPPINGS: tuple[Mapping, ...] = get_args(Mapping)
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
CLIPPINGS: tuple[Clipping, ...] = get_args(Clipping)
BITS = range(2, 9)
SHRINKS = tuple(1 - 0.03 * step for step in range(24))  # of the range, tried by clipping for MSE


@dataclass(frozen=True)
class IntegerScheme:
    """How a matrix becomes integers.

    percentile: the share of values within the range, where clipping is by percentile.
    scale_bits: what a scale takes in memory; a zero point takes ``bits``.
    Raises InputError for a number of bits or a group size that cannot be.
    """

    bits: int = 4
    mapping: Mapping = "symmetric"
    granularity: Granularity = "group"
    group_size: int = 64
    clipping: Clipping = "max"
    percentile: float = 99.5
    scale_bits: int = 16

    def __post_init__(self) -> None:
        check_bits(self.bits)
        check_group(self.group_size)
        if not 50 < self.percentile <= 100:
            raise InputError("A percentile above 50 and up to 100 is accepted.")

    @property
    def code_range(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        half = 2 ** (self.bits - 1)
        return (-half + 1, half - 1) if self.mapping == "symmetric" else (-half, half - 1)


def check_bits(bits: int) -> None:
    """Raise InputError for integers of a width that is not offered."""
    if bits not in BITS:
        raise InputError(
            "Integers of {bits} bits are not offered; {least} to {most} are.",
            bits=bits,
            least=BITS[0],
            most=BITS[-1],
        )


def check_group(size: int) -> None:
    """Raise InputError unless a group holds at least one weight."""
    if not 1 <= size <= 1_000_000:
        raise InputError("A group holds 1 to 1,000,000 weights.")


@dataclass(frozen=True, eq=False)
class Quantized:
    """A matrix after quantization. ``effective_bits`` counts codes and all scales, per weight."""

    dequantized: Float[Tensor, "rows columns"]
    scale: Float[Tensor, " groups"]  # one a group, row by row
    zero_point: Int[Tensor, " groups"] | None
    effective_bits: float
    levels: Float[Tensor, " levels"]  # the values that the codes of the first group stand for
    group: tuple[int, int]  # rows and columns that share a scale
    is_flat: bool = False  # whether groups run on from row to row, as bitsandbytes' blocks do

    def group_of(self, row: int, column: int) -> int:
        """The group that a weight lies in: an index into ``scale`` and ``zero_point``."""
        rows, width = self.group
        columns = self.dequantized.shape[1]
        if rows > 1:
            return 0
        return (
            (row * columns + column) // width
            if self.is_flat
            else row * -(-columns // width) + column // width
        )


def grouped(x: Float[Tensor, "rows columns"], size: int) -> Float[Tensor, "groups size"]:
    """Consecutive weights of a row as groups; a shorter last group is filled up with zeros."""
    rows, columns = x.shape
    short = -columns % size
    if short:
        x = torch.nn.functional.pad(x, (0, short))
    return x.reshape(rows * ((columns + short) // size), size)


def ungrouped(
    groups: Float[Tensor, "groups size"], shape: tuple[int, int]
) -> Float[Tensor, "rows columns"]:
    """The matrix again, without what ``grouped`` filled up."""
    return groups.reshape(shape[0], -1)[:, : shape[1]]


def check_finite(x: Float[Tensor, "rows columns"]) -> None:
    """Raise InputError where a value is NaN or infinite, or there is none at all."""
    if x.numel() == 0 or not torch.isfinite(x).all():
        raise InputError("Only finite numbers can be quantized; this matrix holds NaN or infinity.")


def quantize_integers(x: Float[Tensor, "rows columns"], scheme: IntegerScheme) -> Quantized:
    """Round a matrix to the integers of a scheme and back.

    A group of zeros keeps them, with a scale of 1; a constant group is exact up to rounding, as the
    range reaches from 0 to it. Raises InputError for values that are not finite.
    """
    check_finite(x)
    rows, columns = x.shape
    size = {"tensor": x.numel(), "channel": columns, "group": min(scheme.group_size, columns)}
    width = size[scheme.granularity]
    groups = x.reshape(1, -1) if scheme.granularity == "tensor" else grouped(x, width)
    low, high = clipped_range(groups, scheme)
    scale, zero = scale_and_zero(low, high, scheme)
    back = dequantize(integer_codes(groups, scale, zero, scheme), scale, zero)
    back = back.reshape(x.shape) if scheme.granularity == "tensor" else ungrouped(back, (rows, columns))
    zero_bits = scheme.bits if scheme.mapping == "affine" else 0
    effective = scheme.bits + len(groups) * (scheme.scale_bits + zero_bits) / x.numel()
    codes = torch.arange(scheme.code_range[0], scheme.code_range[1] + 1)
    return Quantized(
        back,
        scale.flatten(),
        None if zero is None else zero.flatten().long(),
        effective,
        (scale[0] * (codes if zero is None else codes - zero[0])).flatten(),
        (rows, columns) if scheme.granularity == "tensor" else (1, width),
    )


def scale_and_zero(
    low: Float[Tensor, "groups 1"], high: Float[Tensor, "groups 1"], scheme: IntegerScheme
) -> tuple[Float[Tensor, "groups 1"], Float[Tensor, "groups 1"] | None]:
    """Scale and zero point of ranges that are made to contain 0; no zero point where it is 0."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    first, last = scheme.code_range
    if scheme.mapping == "affine":
        scale = (high - low) / (last - first)
        scale = torch.where(scale > 0, scale, 1.0)
        return scale, (first - torch.round(low / scale)).clamp(first, last)
    largest = torch.maximum(-low, high)
    scale = largest / ((last - first) / 2)  # 7 for four bits, 7.5 with the full range
    return torch.where(scale > 0, scale, 1.0), None


def integer_codes(
    groups: Float[Tensor, "groups size"],
    scale: Float[Tensor, "groups 1"],
    zero: Float[Tensor, "groups 1"] | None,
    scheme: IntegerScheme,
) -> Float[Tensor, "groups size"]:
    """The integer codes, still as floats, which hold them exactly."""
    codes = (groups * (1.0 / scale)).round_()  # torchao multiplies by the reciprocal as well
    if zero is not None:
        codes += zero
    return codes.clamp_(*scheme.code_range)


def dequantize(
    codes: Float[Tensor, "groups size"],
    scale: Float[Tensor, "groups 1"],
    zero: Float[Tensor, "groups 1"] | None,
) -> Float[Tensor, "groups size"]:
    """S (q − z); writes over ``codes``."""
    return (codes if zero is None else codes.sub_(zero)).mul_(scale)


def clipped_range(
    groups: Float[Tensor, "groups size"], scheme: IntegerScheme
) -> tuple[Float[Tensor, "groups 1"], Float[Tensor, "groups 1"]]:
    """Each group's range: all of it, percentiles of it, or the one with the least squared error.

    A symmetric range is found for the magnitudes, from 0 to the largest that is kept.
    """
    if scheme.mapping == "affine":
        low, high = groups.aminmax(dim=1, keepdim=True)
    else:
        high = groups.abs().amax(dim=1, keepdim=True)
        low = torch.zeros_like(high)
    if scheme.clipping == "percentile":
        return percentile_range(groups, scheme)
    if scheme.clipping == "mse":
        return least_error_range(groups, low, high, scheme)
    return low, high


def percentile_range(
    groups: Float[Tensor, "groups size"], scheme: IntegerScheme
) -> tuple[Float[Tensor, "groups 1"], Float[Tensor, "groups 1"]]:
    """The range that holds ``percentile`` per cent of a group, cut at both ends alike."""
    inside = scheme.percentile / 100
    if scheme.mapping == "affine":
        ordered = groups.sort(dim=1).values
        return _quantile(ordered, (1 - inside) / 2), _quantile(ordered, (1 + inside) / 2)
    high = _quantile(groups.abs().sort(dim=1).values, inside)
    return torch.zeros_like(high), high


def _quantile(ordered: Float[Tensor, "groups size"], share: float) -> Float[Tensor, "groups 1"]:
    """Linear interpolation between the neighbours, as torch.quantile, which stops at 16 M values."""
    place = share * (ordered.shape[1] - 1)
    below = min(int(place), ordered.shape[1] - 1)
    above = min(below + 1, ordered.shape[1] - 1)
    return torch.lerp(ordered[:, below : below + 1], ordered[:, above : above + 1], place - below)


def least_error_range(
    groups: Float[Tensor, "groups size"],
    low: Float[Tensor, "groups 1"],
    high: Float[Tensor, "groups 1"],
    scheme: IntegerScheme,
) -> tuple[Float[Tensor, "groups 1"], Float[Tensor, "groups 1"]]:
    """Of several shrunk ranges, for each group the one with the least squared error."""
    best = torch.full_like(high, torch.inf)
    best_low, best_high = low, high
    for shrink in SHRINKS:
        scale, zero = scale_and_zero(shrink * low, shrink * high, scheme)
        back = dequantize(integer_codes(groups, scale, zero, scheme), scale, zero)
        error = back.sub_(groups).square_().sum(dim=1, keepdim=True)
        is_better = error < best
        best = torch.where(is_better, error, best)
        best_low = torch.where(is_better, shrink * low, best_low)
        best_high = torch.where(is_better, shrink * high, best_high)
    return best_low, best_high
