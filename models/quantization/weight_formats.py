"""Every format that weights can be put into, behind one setting; and formats at equal effective bits."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from models.quantization.floats import (
    ScaleRule,
    fp4_levels,
    nf4_levels,
    quantize_codebook,
    quantize_fp8,
    quantize_mx,
    quantize_nvfp4,
)
from models.quantization.integers import (
    BITS,
    Clipping,
    Granularity,
    IntegerScheme,
    Mapping,
    Quantized,
    check_bits,
    check_finite,
    check_group,
    quantize_integers,
)
from models.quantization.number_formats import E2M1, E4M3, E5M2

Format = Literal["int", "nf4", "fp4", "mxfp4", "nvfp4", "e4m3", "e5m2", "mxfp8", "bfloat16", "float16"]
FORMATS: tuple[Format, ...] = get_args(Format)
SMALLEST_GROUP = 8


@dataclass(frozen=True)
class Setting:
    """A format with its options; those that a format does not have are ignored.

    Raises InputError for a number of bits or a group size that cannot be.
    """

    format: Format = "int"
    bits: int = 4
    mapping: Mapping = "symmetric"
    granularity: Granularity = "group"
    group_size: int = 64
    clipping: Clipping = "max"
    double_quantization: bool = False
    scale_rule: ScaleRule = "floor"

    def __post_init__(self):
        check_group(self.group_size)
        check_bits(self.bits)

    @property
    def scheme(self) -> IntegerScheme:
        return IntegerScheme(self.bits, self.mapping, self.granularity, self.group_size, self.clipping)

    @property
    def nominal_bits(self) -> int:
        """What the format's name promises."""
        eight = {"e4m3": 8, "e5m2": 8, "mxfp8": 8, "bfloat16": 16, "float16": 16}
        return self.bits if self.format == "int" else eight.get(self.format, 4)


def quantize(x: Float[Tensor, "rows columns"], setting: Setting) -> Quantized:
    """A matrix in the setting's format and back. Raises InputError for values that are not finite."""
    match setting.format:
        case "int":
            return quantize_integers(x, setting.scheme)
        case "nf4" | "fp4":
            levels = nf4_levels() if setting.format == "nf4" else fp4_levels()
            return quantize_codebook(x, levels, setting.group_size, setting.double_quantization)
        case "mxfp4":
            return quantize_mx(x, E2M1, setting.scale_rule)
        case "mxfp8":
            return quantize_mx(x, E4M3, setting.scale_rule)
        case "nvfp4":
            return quantize_nvfp4(x)
        case "e4m3" | "e5m2":
            form = E4M3 if setting.format == "e4m3" else E5M2
            return quantize_fp8(x, form, setting.granularity, setting.group_size)
        case _:
            return _sixteen_bits(x, torch.bfloat16 if setting.format == "bfloat16" else torch.float16)


def _sixteen_bits(x: Float[Tensor, "rows columns"], dtype: torch.dtype) -> Quantized:
    check_finite(x)
    rows, columns = x.shape
    return Quantized(x.to(dtype).float(), torch.ones(1), None, 16.0, torch.zeros(0), (rows, columns))


CONTENDERS = {
    **{f"int{bits} symmetric": Setting(bits=bits) for bits in BITS},
    **{f"int{bits} affine": Setting(bits=bits, mapping="affine") for bits in BITS},
    "NF4": Setting("nf4"),
    "NF4 + double": Setting("nf4", double_quantization=True),
    "FP4 (bitsandbytes)": Setting("fp4"),
    "MXFP4": Setting("mxfp4"),
    "NVFP4": Setting("nvfp4"),
    "E4M3": Setting("e4m3"),
    "MXFP8": Setting("mxfp8"),
}
FIXED = {"mxfp4": 4.25, "nvfp4": 4.5, "mxfp8": 8.25}  # effective bits of formats without an option


def at_budget(setting: Setting, budget: float, columns: int) -> Setting | None:
    """The setting with the smallest groups that cost at most ``budget`` bits a weight; None if none do.

    Rows of ``columns`` weights are cut into groups of 8 or more. What is kept once for a matrix, or for
    every 256 scales beyond their share, is not counted.
    """
    if setting.format in FIXED:
        return setting if FIXED[setting.format] <= budget else None
    groups = int((budget - setting.nominal_bits) * columns / bits_a_group(setting) + 1e-9)
    if groups < 1:
        return None
    size = max(SMALLEST_GROUP, -(-columns // groups))
    return replace(setting, granularity="group", group_size=size)


def bits_a_group(setting: Setting) -> float:
    """What one group's scale, and its zero point, take."""
    if setting.format == "int":
        return 16.0 + (setting.bits if setting.mapping == "affine" else 0)
    return 8 + 32 / 256 if setting.double_quantization else 32.0
