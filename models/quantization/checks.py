"""What torch itself makes of the same scales: the other computation beside a quantized matrix."""

import torch
from jaxtyping import Float
from torch import Tensor

from models.quantization.integers import Quantized, grouped
from models.quantization.number_formats import BFLOAT16, FLOAT16, round_to
from models.quantization.weight_formats import Setting

EXACTLY = "donot_use_mm_for_euclid_dist"
CHECKED = 4_096  # weights that every level is tried for


def difference_from_torch(x: Float[Tensor, "rows columns"], found: Quantized, setting: Setting) -> float:
    """The largest difference from another computation, over the largest weight.

    Integers: torch.fake_quantize_per_channel_affine with the same scales and zero points. Codebooks
    and small floats: the distance to the nearest of all levels, by torch.cdist, on the first weights.
    16 bits: torch's cast against the bits of ``models.quantization.number_formats``.
    """
    largest = float(x.abs().max()) or 1.0
    if setting.format in ("bfloat16", "float16"):
        form = BFLOAT16 if setting.format == "bfloat16" else FLOAT16
        return float((round_to(x, form) - found.dequantized).abs().nan_to_num().max()) / largest
    if setting.format == "int":
        return _from_fake_quantize(x, found, setting) / largest
    return _from_all_levels(x, found, setting.format in ("nf4", "fp4")) / largest


def _groups(x: Tensor, found: Quantized) -> Tensor:
    rows, width = found.group
    return x.reshape(1, -1) if rows > 1 or len(found.scale) == 1 else grouped(x, width)


def _from_fake_quantize(x: Tensor, found: Quantized, setting: Setting) -> float:
    low, high = setting.scheme.code_range
    zero = torch.zeros_like(found.scale) if found.zero_point is None else found.zero_point
    groups = _groups(x, found)
    theirs = torch.fake_quantize_per_channel_affine(groups, found.scale, zero.int(), 0, low, high)
    return float((theirs - _groups(found.dequantized, found)).abs().max())


def _from_all_levels(x: Tensor, found: Quantized, by_largest: bool) -> float:
    """How much farther the chosen level is than the nearest: the same where two are equally near.

    Codebooks choose the level before their scale, the group's largest magnitude, is quantized itself.
    """
    groups, chosen = _groups(x, found), _groups(found.dequantized, found)
    count = max(1, CHECKED // groups.shape[1])
    units = found.levels / found.scale[0]
    worst = 0.0
    for group, taken, scale in zip(groups[:count], chosen[:count], found.scale[:count], strict=False):
        group, taken = group[:CHECKED], taken[:CHECKED]
        if by_largest and scale > 0:
            taken, scale = taken / scale * group.abs().max(), group.abs().max()
        levels = (units * scale).double()
        nearest = torch.cdist(group[:, None].double(), levels[:, None], compute_mode=EXACTLY).amin(1)
        worst = max(worst, float(((group - taken).abs() - nearest).abs().max()))
    return worst
