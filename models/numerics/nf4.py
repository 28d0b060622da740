"""NormalFloat 4: sixteen levels at quantiles of the normal distribution, in blocks with one scale each.

Dettmers et al. 2023, "QLoRA", section 3 and appendix E. Here weights are rounded to what 4 bits can
hold and stay in float32 ("fake quantization"): the numbers are those of a 4-bit base, its memory is not.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 64
_OFFSET = 0.9677083  # of bitsandbytes: the outermost quantile, between 1 − 1/30 and 1 − 1/32


def nf4_levels() -> Float[Tensor, " levels"]:
    """−1 to 1 in sixteen levels: eight quantiles above 0, seven below, and 0 itself."""
    quantile = torch.distributions.Normal(0.0, 1.0).icdf
    above = quantile(torch.linspace(_OFFSET, 0.5, 9, dtype=torch.float64)[:-1])
    below = -quantile(torch.linspace(_OFFSET, 0.5, 8, dtype=torch.float64)[:-1])
    levels = torch.cat([below, torch.zeros(1, dtype=torch.float64), above]).sort().values
    return (levels / levels.max()).float()


def nf4_rounded(weight: Float[Tensor, "*shape"], block: int = BLOCK) -> Float[Tensor, "*shape"]:
    """Each block of ``block`` consecutive numbers divided by its largest |w|, rounded to a level, and back.

    A last, shorter block has its own scale. Scales stay in float32 (no double quantization).
    """
    flat = weight.flatten().float()
    padded = torch.cat([flat, flat.new_zeros(-len(flat) % block)]).reshape(-1, block)
    scales = padded.abs().amax(dim=1, keepdim=True)
    levels = nf4_levels()
    between = (levels[1:] + levels[:-1]) / 2
    codes = torch.bucketize(
        (padded / scales.clamp_min(torch.finfo(torch.float32).tiny)).contiguous(), between
    )
    return (levels[codes] * scales).flatten()[: len(flat)].reshape(weight.shape).to(weight.dtype)
