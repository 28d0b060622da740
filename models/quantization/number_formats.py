"""Number formats: which numbers they hold, how a real number is rounded to one, and its bits.

A float of E exponent and M mantissa bits stands for

    ±1.mantissa · 2^(exponent − bias)    and, where the exponent field is 0,  ±0.mantissa · 2^(1 − bias)

The second kind is called subnormal: evenly spaced numbers that lead down to zero. IEEE 754-2019 for
float32 and float16; Micikevicius et al. 2022, "FP8 Formats for Deep Learning", for E4M3 and E5M2;
OCP Microscaling Formats 1.0 for E2M1, E3M2, E2M3 and E8M0. Values are computed in float64, which
holds every number of every format here exactly.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError

Specials = Literal["ieee", "nan", "none"]
Overflow = Literal["format", "torch", "saturate"]
MOST_EXPONENT_BITS, MOST_MANTISSA_BITS = 8, 23


@dataclass(frozen=True)
class FloatFormat:
    """A floating-point format.

    specials: "ieee" keeps the largest exponent for infinity and NaN; "nan" keeps one code for NaN
        and has no infinity; "none" has neither.
    saturates: whether torch 2.13 rounds what is too large to the largest number.
    signed, subnormal: False for E8M0 alone, the powers of two that scale microscaling blocks.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    specials: Specials = "ieee"
    saturates: bool = False
    signed: bool = True
    subnormal: bool = True

    @property
    def bits(self) -> int:
        return int(self.signed) + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent_bits - 1) - 1

    @property
    def lowest_exponent(self) -> int:
        """The exponent of the smallest normal number."""
        return 1 - self.bias if self.subnormal else -self.bias

    @property
    def largest_code(self) -> int:
        """The code of the largest finite number, without its sign."""
        codes = 2 ** (self.exponent_bits + self.mantissa_bits)
        return {"ieee": codes - 2**self.mantissa_bits - 1, "nan": codes - 2, "none": codes - 1}[
            self.specials
        ]

    @property
    def infinity_code(self) -> int | None:
        return self.largest_code + 1 if self.specials == "ieee" else None

    @property
    def nan_code(self) -> int | None:
        if self.specials == "none":
            return None
        codes = 2 ** (self.exponent_bits + self.mantissa_bits)
        return codes - 1 if self.specials == "nan" else codes - 2 ** (self.mantissa_bits - 1)


FLOAT32 = FloatFormat("float32", 8, 23)
TF32 = FloatFormat("TF32", 8, 10)
BFLOAT16 = FloatFormat("bfloat16", 8, 7)
FLOAT16 = FloatFormat("float16", 5, 10)
E4M3 = FloatFormat("E4M3", 4, 3, "nan", saturates=True)
E5M2 = FloatFormat("E5M2", 5, 2)
E3M2 = FloatFormat("E3M2", 3, 2, "none", saturates=True)
E2M3 = FloatFormat("E2M3", 2, 3, "none", saturates=True)
E2M1 = FloatFormat("E2M1", 2, 1, "none", saturates=True)
E8M0 = FloatFormat("E8M0", 8, 0, "nan", signed=False, subnormal=False)
FORMATS = (FLOAT32, TF32, BFLOAT16, FLOAT16, E5M2, E4M3, E3M2, E2M3, E2M1, E8M0)
INTEGER_BITS = (8, 4, 3, 2)


def float_format(name: str) -> FloatFormat:
    """A format by its name, or any "ExMy" with its largest exponent kept for infinity and NaN.

    Raises InputError for any other name, and for fields that float64 could not follow.
    """
    for known in FORMATS:
        if name.strip().lower() == known.name.lower():
            return known
    found = re.fullmatch(r"e(\d{1,2})m(\d{1,2})", name.strip().lower())
    exponent, mantissa = (int(part) for part in found.groups()) if found else (0, 0)
    if not (2 <= exponent <= MOST_EXPONENT_BITS and 1 <= mantissa <= MOST_MANTISSA_BITS):
        raise InputError(
            "{name} is no number format; write ExMy with 2 to {exponent} exponent bits and "
            "1 to {mantissa} mantissa bits, such as E4M3.",
            name=repr(name[:40]),
            exponent=MOST_EXPONENT_BITS,
            mantissa=MOST_MANTISSA_BITS,
        )
    return FloatFormat(f"E{exponent}M{mantissa}", exponent, mantissa)


def encode(
    values: Float[Tensor, "*shape"], form: FloatFormat, overflow: Overflow = "torch"
) -> Int[Tensor, "*shape"]:
    """The code of each value after rounding to nearest, ties to the even code.

    overflow "format" gives infinity where the format has one, else NaN, else the largest number: the
    conversion without saturation of the OCP specifications (OFP8 1.0, section 5.2; MX 1.0). "torch" is
    what torch 2.13 does: the same, but the largest number for E4M3. "saturate" gives that always.
    An unsigned format drops the sign. Raises InputError for NaN where the format has none.
    """
    magnitude = values.double().abs()
    is_nan = magnitude.isnan()
    if is_nan.any() and form.nan_code is None:
        raise InputError("{format} has no code for NaN.", format=form.name)
    magnitude = magnitude.nan_to_num(nan=0.0, posinf=torch.finfo(torch.float64).max)
    exponent = torch.where(magnitude > 0, torch.frexp(magnitude).exponent - 1, form.lowest_exponent)
    exponent = exponent.clamp(min=form.lowest_exponent)
    steps = torch.round(torch.ldexp(magnitude, form.mantissa_bits - exponent))
    if not form.subnormal:
        steps = steps.clamp(min=1) - 1
    steps = steps.clamp(max=2.0 ** (form.mantissa_bits + 1)).long()
    code = (exponent.long() - form.lowest_exponent) * 2**form.mantissa_bits + steps
    code = torch.where(code > form.largest_code, _overflow_code(form, overflow), code)
    if form.nan_code is not None:
        code = torch.where(is_nan, form.nan_code, code)
    return code + (values.signbit().long() << (form.bits - 1)) if form.signed else code


def _overflow_code(form: FloatFormat, overflow: Overflow) -> int:
    if overflow == "saturate" or (overflow == "torch" and form.saturates):
        return form.largest_code
    special = form.nan_code if form.infinity_code is None else form.infinity_code
    return form.largest_code if special is None else special


def decode(codes: Int[Tensor, "*shape"], form: FloatFormat) -> Float[Tensor, "*shape"]:
    """The number that each code stands for, in float64."""
    size = form.exponent_bits + form.mantissa_bits
    magnitude = codes & (2**size - 1)
    field, mantissa = magnitude >> form.mantissa_bits, magnitude & (2**form.mantissa_bits - 1)
    is_normal = (field > 0) | (not form.subnormal)
    significand = mantissa.double() + is_normal * 2.0**form.mantissa_bits
    exponent = field.clamp(min=1) - form.bias if form.subnormal else field - form.bias
    values = torch.ldexp(significand, exponent - form.mantissa_bits)
    values = torch.where(magnitude > form.largest_code, torch.nan, values)
    if form.infinity_code is not None:
        values = torch.where(magnitude == form.infinity_code, torch.inf, values)
    is_negative = (codes >> size) > 0
    return torch.where(is_negative & bool(form.signed), -values, values)


def round_to(
    values: Float[Tensor, "*shape"], form: FloatFormat, overflow: Overflow = "torch"
) -> Float[Tensor, "*shape"]:
    """The nearest number of the format, ties to even, in float64; see ``encode``."""
    return decode(encode(values, form, overflow), form)


def bits_of(codes: Int[Tensor, "*shape"], bits: int) -> Bool[Tensor, "*shape bits"]:
    """The bits of each code, the most significant first; negative integers in two's complement."""
    places = torch.arange(bits - 1, -1, -1)
    return (codes[..., None] >> places) & 1 > 0


def spacing(value: float, form: FloatFormat) -> float:
    """The distance between neighbouring numbers of the format where ``value`` lies (one ulp).

    Raises InputError for a value that is not finite.
    """
    if not math.isfinite(value):
        raise InputError("Only a finite number lies between two others.")
    largest = float(decode(torch.tensor(form.largest_code), form))
    exponent = math.frexp(min(abs(value), largest))[1] - 1 if value else form.lowest_exponent
    return 2.0 ** (max(exponent, form.lowest_exponent) - form.mantissa_bits)


def values_between(
    low: float, high: float, form: FloatFormat, most: int
) -> Float[Tensor, " values"] | None:
    """All finite numbers of the format from ``low`` to ``high``, in order; None if over ``most``."""
    if form.signed:
        first, last = _rank(low, form), _rank(high, form)
    else:
        first, last = (int(encode(torch.tensor(max(end, 0.0)), form, "saturate")) for end in (low, high))
    if last - first > most + 2:
        return None
    ranks = torch.arange(first, last + 1)
    sign_bit = 1 << (form.bits - 1)
    values = decode(torch.where(ranks < 0, -ranks + sign_bit, ranks), form)
    return values[(values >= low) & (values <= high)]


def _rank(value: float, form: FloatFormat) -> int:
    """The place of the nearest number among all of the format; zero has place 0."""
    code = int(encode(torch.tensor(abs(value), dtype=torch.float64), form, "saturate"))
    return -code if value < 0 else code


@dataclass(frozen=True)
class FormatFacts:
    """A format in numbers. ``smallest_subnormal`` is None where there are no subnormal numbers."""

    bits: int
    largest: float
    smallest_normal: float
    smallest_subnormal: float | None
    epsilon: float  # the spacing just above 1
    decimal_digits: float  # that survive: (mantissa bits + 1) · log10 2


def facts(form: FloatFormat) -> FormatFacts:
    """Range and precision of a format, as torch.finfo has them for torch's own."""
    subnormal = 2.0 ** (form.lowest_exponent - form.mantissa_bits) if form.mantissa_bits else None
    return FormatFacts(
        form.bits,
        float(decode(torch.tensor(form.largest_code), form)),
        2.0**form.lowest_exponent,
        subnormal,
        2.0**-form.mantissa_bits,
        (form.mantissa_bits + 1) * math.log10(2),
    )


def encode_integer(values: Float[Tensor, "*shape"], bits: int) -> Int[Tensor, "*shape"]:
    """Signed integers of so many bits: rounded, ties to even, and clipped to the range.

    Raises InputError for NaN, which no integer stands for.
    """
    if values.isnan().any():
        raise InputError("{format} has no code for NaN.", format=f"int{bits}")
    return torch.round(values.double()).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).long()
