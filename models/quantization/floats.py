"""Quantization to small floats and codebooks: NF4, FP4, FP8, and the microscaling formats.

Every one of them divides a block by a scale and takes the nearest entry of a fixed list:

    x̂ = scale · C[argmin_i |x / scale − C_i|]

NF4 and double quantization: Dettmers et al. 2023, "QLoRA"; bitsandbytes 0.50. MXFP4, MXFP8: OCP
Microscaling Formats 1.0. NVFP4: NVIDIA's format as in torchao 0.18.
"""

from functools import cache
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.quantization.integers import Granularity, Quantized, check_finite, grouped, ungrouped
from models.quantization.number_formats import E2M1, E4M3, E5M2, FloatFormat, decode, facts

ScaleRule = Literal["floor", "ceil", "even", "rceil"]
SCALE_RULES: tuple[ScaleRule, ...] = get_args(ScaleRule)
MX_BLOCK, NVFP4_BLOCK, DOUBLE_BLOCK = 32, 16, 256
NVFP4_SMALLEST_SCALE = 2.0**-6  # E4M3's smallest normal number, as torchao
FLOAT8 = {"E4M3": torch.float8_e4m3fn, "E5M2": torch.float8_e5m2}


@cache
def nf4_levels() -> Float[Tensor, "16"]:
    """NormalFloat: quantiles of the standard normal, seven below zero, zero, eight above, over the largest.

    The tails end at the quantile 0.9677083 = 1 − ½ (1/30 + 1/32), midway between those of 15 and of
    16 equal parts, as both the negative and the positive side get a zero of which one is dropped.
    """
    end = 0.9677083
    above = torch.special.ndtri(torch.linspace(end, 0.5, 9, dtype=torch.float64)[:-1])
    below = -torch.special.ndtri(torch.linspace(end, 0.5, 8, dtype=torch.float64)[:-1])
    levels = torch.cat([above, below, torch.zeros(1, dtype=torch.float64)]).sort().values
    return (levels / levels.max()).float()


@cache
def fp4_levels() -> Float[Tensor, "15"]:
    """The 4-bit float of bitsandbytes, over its largest: its only subnormal number is 1/192, not 1/12."""
    positive = torch.tensor([0.0625, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]) / 12.0
    return torch.cat([-positive.flip(0), torch.zeros(1), positive])


@cache
def e2m1_levels() -> Float[Tensor, "15"]:
    """±{0, ½, 1, 1½, 2, 3, 4, 6}."""
    positive = decode(torch.arange(1, 8), E2M1).float()
    return torch.cat([-positive.flip(0), torch.zeros(1), positive])


def nearest_level(x: Float[Tensor, "*shape"], levels: Float[Tensor, " levels"]) -> Float[Tensor, "*shape"]:
    """The nearest entry of a sorted list; of two equally near ones the lower."""
    return levels[torch.bucketize(x, (levels[1:] + levels[:-1]) / 2, out_int32=True)]


def round_to_e2m1(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The nearest of E2M1's numbers, ties to the even code, as ``number_formats`` rounds."""
    levels = e2m1_levels()[7:]
    middle = (levels[1:] + levels[:-1]) / 2
    goes_up = torch.tensor([False, True, False, True, False, True, False])  # a tie ends at an even code
    middle = torch.where(goes_up, torch.nextafter(middle, torch.tensor(0.0)), middle)
    return torch.copysign(levels[torch.bucketize(x.abs(), middle, out_int32=True)], x)


def quantize_codebook(
    x: Float[Tensor, "rows columns"],
    levels: Float[Tensor, " levels"],
    block: int,
    double_quantization: bool = False,
) -> Quantized:
    """Blocks along the rows, over their largest magnitude, to the nearest of up to 16 levels.

    The scales are float32, or quantized themselves. Raises InputError for values that are not finite.
    """
    check_finite(x)
    block = min(block, x.shape[1])
    groups = grouped(x, block)
    largest = groups.abs().amax(dim=1, keepdim=True)
    unit = groups * (1.0 / torch.where(largest > 0, largest, 1.0))
    bits_of_scales = 32.0 * len(largest)
    if double_quantization:
        largest, bits_of_scales = quantize_scales(largest)
    back = ungrouped(nearest_level(unit, levels).mul_(largest), (x.shape[0], x.shape[1]))
    bits = 4 + bits_of_scales / x.numel()
    return Quantized(back, largest.flatten(), None, bits, levels * largest[0], (1, block))


def quantize_scales(scales: Float[Tensor, "groups 1"]) -> tuple[Float[Tensor, "groups 1"], float]:
    """Double quantization: the scales less their mean, in 8 bits, in blocks of 256; and the bits taken.

    The 8-bit type is the dynamic one of Dettmers 2016, "8-Bit Approximations for Parallelism in Deep
    Learning". Besides the codes, one float32 for each 256 scales and one for the mean are kept.
    """
    mean = scales.mean()
    groups = grouped((scales - mean).reshape(1, -1), min(DOUBLE_BLOCK, len(scales)))
    largest = groups.abs().amax(dim=1, keepdim=True)
    unit = groups * (1.0 / torch.where(largest > 0, largest, 1.0))
    back = nearest_level(unit, dynamic_levels()) * largest
    bits = 8.0 * len(scales) + 32.0 * len(largest) + 32.0
    return back.reshape(-1)[: len(scales), None] + mean, bits


@cache
def dynamic_levels() -> Float[Tensor, "256"]:
    """The signed dynamic 8-bit type: 0, 1, and for each decade 10^−6 … 1 twice as many as before."""
    levels = [torch.tensor([0.0, 1.0])]
    for power in range(7):
        ends = torch.linspace(0.1, 1, 2**power + 1)
        middle = (ends[1:] + ends[:-1]) / 2 * 10.0 ** (power - 6)
        levels += [middle, -middle]
    return torch.cat(levels).sort().values


def quantize_fp8(
    x: Float[Tensor, "rows columns"], form: FloatFormat, granularity: Granularity, group_size: int
) -> Quantized:
    """E4M3 or E5M2 with float32 scales: the largest magnitude becomes the format's largest number."""
    check_finite(x)
    rows, columns = x.shape
    width = {"tensor": x.numel(), "channel": columns, "group": min(group_size, columns)}[granularity]
    groups = x.reshape(1, -1) if granularity == "tensor" else grouped(x, width)
    largest = groups.abs().amax(dim=1, keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0) / facts(form).largest
    back = (groups / scale).clamp_(-facts(form).largest, facts(form).largest)
    back = back.to(FLOAT8[form.name]).float() * scale
    back = back.reshape(x.shape) if granularity == "tensor" else ungrouped(back, (rows, columns))
    bits = 8 + 32.0 * len(groups) / x.numel()
    shape = (rows, columns) if granularity == "tensor" else (1, width)
    return Quantized(back, scale.flatten(), None, bits, _finite_levels(form) * scale[0], shape)


def _finite_levels(form: FloatFormat) -> Float[Tensor, " levels"]:
    positive = decode(torch.arange(1, form.largest_code + 1), form).float()
    return torch.cat([-positive.flip(0), torch.zeros(1), positive])


def quantize_mx(
    x: Float[Tensor, "rows columns"], form: FloatFormat, rule: ScaleRule = "floor"
) -> Quantized:
    """Microscaling: blocks of 32 share a power of two; elements are E2M1, E4M3 or E5M2.

    Raises InputError for another element format, and for values that are not finite.
    """
    if form not in (E2M1, E4M3, E5M2):
        raise InputError("Microscaling is offered with E2M1, E4M3 and E5M2 elements.")
    check_finite(x)
    groups = grouped(x, MX_BLOCK)
    scale = mx_scale(groups.abs().amax(dim=1, keepdim=True), form, rule)
    unit = groups / scale
    if form is E2M1:
        back = round_to_e2m1(unit)
    else:
        back = unit.clamp(-facts(form).largest, facts(form).largest).to(FLOAT8[form.name]).float()
    back = ungrouped(back * scale, (x.shape[0], x.shape[1]))
    bits = form.bits + 8 * len(groups) / x.numel()
    return Quantized(back, scale.flatten(), None, bits, _finite_levels(form) * scale[0], (1, MX_BLOCK))


def mx_scale(
    largest: Float[Tensor, "groups 1"], form: FloatFormat, rule: ScaleRule
) -> Float[Tensor, "groups 1"]:
    """The power of two that a block is divided by, from its largest magnitude.

    floor (the OCP specification): 2^(⌊log2 max⌋ − e), e the exponent of the format's largest number;
    blocks whose largest lies above that number are clipped. ceil: of the exponent, rounded up. even:
    floor of the largest rounded to the format's mantissa. rceil: largest / largest number, rounded up.
    """
    limit = facts(form).largest
    top = int(torch.frexp(torch.tensor(limit)).exponent) - 1
    if rule == "rceil":
        power = _ceil_log2(largest / limit)
    elif rule == "ceil":
        power = _ceil_log2(largest) - top
    else:
        if rule == "even":
            half = 1 << (22 - form.mantissa_bits)  # a half of the last mantissa bit, in float32's bits
            largest = (largest.contiguous().view(torch.int32) + half & 0x7F80_0000).view(torch.float32)
        power = torch.frexp(largest).exponent - 1 - top
    power = torch.where(largest > 0, power, 0).clamp(-126, 127)
    return torch.ldexp(torch.ones_like(largest), power)


def _ceil_log2(x: Float[Tensor, "groups 1"]) -> Tensor:
    mantissa, exponent = torch.frexp(x)
    return torch.where(mantissa == 0.5, exponent - 1, exponent)


def quantize_nvfp4(x: Float[Tensor, "rows columns"]) -> Quantized:
    """E2M1 in blocks of 16 with E4M3 scales, which one float32 scale brings into E4M3's range."""
    check_finite(x)
    groups = grouped(x, NVFP4_BLOCK)
    largest = groups.abs().amax(dim=1, keepdim=True)
    limit, scale_limit = facts(E2M1).largest, facts(E4M3).largest
    whole = x.abs().max() / (limit * scale_limit)
    whole = torch.where(whole > 0, whole, 1.0)
    scale = (largest / limit / whole).clamp(NVFP4_SMALLEST_SCALE, scale_limit)
    scale = scale.to(torch.float8_e4m3fn).float()
    unit = (groups * ((1.0 / whole) / scale)).clamp(-limit, limit)
    back = ungrouped(round_to_e2m1(unit) * (scale * whole), (x.shape[0], x.shape[1]))
    bits = 4 + (8 * len(groups) + 32) / x.numel()
    block_scale = (scale * whole).flatten()
    return Quantized(back, block_scale, None, bits, e2m1_levels() * block_scale[0], (1, NVFP4_BLOCK))
