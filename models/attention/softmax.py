"""Softmax, and why attention divides its scores by √d_k.

    p_i = exp(z_i) / Σ_j exp(z_j)

Adding a number to all z changes nothing; multiplying them by one (dividing by a temperature)
sharpens or flattens p. Where one p_i is near 1, the Jacobian diag(p) − ppᵀ is near 0: nothing flows
back. Dot products of vectors with d_k components of unit variance have variance d_k, so that without
a scale their softmax is in that state (Vaswani et al. 2017, section 3.2.1, footnote 4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.errors import InputError

# Softmax itself ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SoftmaxSteps:
    """Softmax step by step, each result in the chosen precision."""

    logits: Float[Tensor, " n"]  # as that precision holds them
    shifted: Float[Tensor, " n"]  # less their maximum, if stable
    exponentials: Float[Tensor, " n"]
    denominator: Float[Tensor, ""]
    probabilities: Float[Tensor, " n"]


def softmax_steps(logits: Float[Tensor, " n"], dtype: torch.dtype, stable: bool) -> SoftmaxSteps:
    """Softmax as ``dtype`` computes it, naively or after subtracting the maximum.

    Every step is rounded to ``dtype`` (torch adds up in float32 inside the sum, as GPU kernels do, and
    rounds once). Naively, exp overflows to infinity above ``largest_safe_logit(dtype)`` and ∞/∞ is
    NaN; if all logits are very negative, every exponential is 0 and 0/0 is NaN. Less the maximum,
    the largest exponential is exactly 1, and neither can happen.

    Raises InputError without logits, with NaN among them, or where the largest is not finite.
    """
    _check_logits(logits)
    logits = logits.to(dtype)
    shifted = logits - logits.max() if stable else logits
    exponentials = shifted.exp()
    denominator = exponentials.sum()
    return SoftmaxSteps(logits, shifted, exponentials, denominator, exponentials / denominator)


def largest_safe_logit(dtype: torch.dtype) -> float:
    """Ln of the largest finite number: 11.09 in float16, 88.72 in bfloat16 and float32."""
    return math.log(torch.finfo(dtype).max)


def log_sum_exp(logits: Float[Tensor, "*rows n"]) -> Float[Tensor, "*rows"]:
    """Ln Σ_j exp(z_j) = m + ln Σ_j exp(z_j − m) with m the maximum, which never overflows.

    −∞ of no logits.
    """
    if logits.shape[-1] == 0:
        return logits.new_full(logits.shape[:-1], -torch.inf)
    maximum = logits.amax(dim=-1, keepdim=True)
    maximum = maximum.masked_fill(maximum.isinf(), 0.0)  # ∞ − ∞ would be NaN
    return maximum.squeeze(-1) + (logits - maximum).exp().sum(dim=-1).log()


@dataclass(frozen=True)
class SoftmaxEdit:
    """What is done to logits z before softmax: (factor · z + shift) / temperature; and how often.

    Raises InputError for a temperature that is not positive, for numbers that are not finite, and
    for softmax less than once or more than 100 times.
    """

    shift: float = 0.0
    factor: float = 1.0
    temperature: float = 1.0
    times: int = 1

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.shift, self.factor, self.temperature))):
            raise InputError("Shift, factor and temperature must be finite numbers.")
        if self.temperature <= 0:
            raise InputError(
                "A temperature of {temperature} is not accepted; it must be above 0.",
                temperature=self.temperature,
            )
        if not 1 <= self.times <= 100:
            raise InputError(
                "Softmax {times} times is not accepted; once to 100 times is.", times=self.times
            )


def edited_softmax(logits: Float[Tensor, " n"], edit: SoftmaxEdit) -> Float[Tensor, " n"]:
    """Softmax of edited logits; a second softmax takes the first one's probabilities as its logits.

    Those lie in [0, 1], so after it no probability exceeds e times another: softmax of a softmax
    flattens, and repeated it goes to 1/n.

    Raises InputError without logits, with NaN among them, or where the largest is not finite.
    """
    _check_logits(logits)
    p = (edit.factor * logits + edit.shift) / edit.temperature
    for _ in range(edit.times):
        p = p.softmax(dim=-1)
    return p


# Its gradient --------------------------------------------------------------------------------


def softmax_jacobian(p: Float[Tensor, "*rows n"]) -> Float[Tensor, "*rows n n"]:
    """∂p_i/∂z_j = p_i (δ_ij − p_j): diag(p) − ppᵀ, for p = softmax(z)."""
    return torch.diag_embed(p) - p[..., :, None] * p[..., None, :]


def jacobian_frobenius_norm(p: Float[Tensor, "*rows n"]) -> Float[Tensor, "*rows"]:
    """‖diag(p) − ppᵀ‖_F = √(Σp² − 2Σp³ + (Σp²)²), without building the matrix.

    In float64, as near saturation the terms cancel: results below about 1e-8 are rounding.
    """
    p = p.double()
    squares = (p**2).sum(dim=-1)
    return (squares - 2 * (p**3).sum(dim=-1) + squares**2).clamp(min=0.0).sqrt()


def jacobian_spectral_norm(p: Float[Tensor, "*rows n"]) -> Float[Tensor, "*rows"]:
    """The largest eigenvalue of diag(p) − ppᵀ: how much a change of z can change p, at most 1/2.

    The matrix is symmetric and positive semidefinite; its rows' absolute sums are 2p_i(1 − p_i) ≤ 1/2
    (Gershgorin). NaN where a probability is.
    """
    unknown = ~torch.isfinite(p).all(dim=-1)
    jacobian = softmax_jacobian(p.double().masked_fill(unknown[..., None], 0.0))
    return torch.linalg.eigvalsh(jacobian)[..., -1].masked_fill(unknown, torch.nan)


# Why √d_k ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class DotProductStatistics:
    """Scores of random queries and keys, and what softmax over the keys makes of them."""

    products: Float[Tensor, "samples keys"]  # scaled: what softmax is taken of
    mean: float
    variance: float  # sample variance; expected: d_k^(1 − 2·exponent)
    largest_weight: float  # mean over queries of the largest weight
    gradient_norm: float  # mean over queries of ‖diag(p) − ppᵀ‖_F: with respect to the scaled scores
    median_gradient_norm: float  # of the typical query: a few with a close second key lift the mean
    saturated: float  # share of queries whose largest weight exceeds 0.99
    entropy: float  # mean over queries, nats


@dataclass(frozen=True, eq=False)
class DotProductSweep:
    """The same for several widths d_k (columns) and exponents (rows)."""

    widths: Int[Tensor, " widths"]
    exponents: Float[Tensor, " exponents"]
    variance: Float[Tensor, "exponents widths"]
    largest_weight: Float[Tensor, "exponents widths"]
    gradient_norm: Float[Tensor, "exponents widths"]
    median_gradient_norm: Float[Tensor, "exponents widths"]
    saturated: Float[Tensor, "exponents widths"]
    entropy: Float[Tensor, "exponents widths"]


def random_queries_and_keys(
    head_width: int, samples: int, keys: int, seed: int
) -> tuple[Float[Tensor, "samples d_k"], Float[Tensor, "keys d_k"]]:
    """Queries and keys with independent standard normal components.

    For one seed, a wider head has the components of a narrower one and more, so that a figure moves
    smoothly as the width changes.

    Raises InputError unless there are 1 to 8,192 dimensions, and 1 to 4,096 samples and keys.
    """
    if not (1 <= head_width <= 8_192 and 1 <= samples <= 4_096 and 1 <= keys <= 4_096):
        raise InputError(
            "{width} dimensions, {samples} samples and {keys} keys are not accepted; "
            "1 to 8192 dimensions, and 1 to 4096 samples and keys are.",
            width=head_width,
            samples=samples,
            keys=keys,
        )
    # NumPy draws in order, one dimension (row) after another
    normal = np.random.default_rng(seed).standard_normal((head_width, samples + keys), dtype=np.float32)
    vectors = torch.from_numpy(normal).T
    return vectors[:samples], vectors[samples:]


def logit_statistics(logits: Float[Tensor, "samples keys"]) -> DotProductStatistics:
    """What softmax over the keys makes of the logits; a variance of one number is NaN.

    Raises InputError without logits.
    """
    if logits.numel() == 0:
        raise InputError("At least one logit is needed, and each must be a number.")
    p = logits.double().softmax(dim=-1)
    largest_weight = p.amax(dim=-1)
    gradient_norm = jacobian_frobenius_norm(p)
    return DotProductStatistics(
        products=logits,
        mean=logits.mean().item(),
        variance=logits.var().item() if logits.numel() > 1 else math.nan,
        largest_weight=largest_weight.mean().item(),
        gradient_norm=gradient_norm.mean().item(),
        median_gradient_norm=gradient_norm.quantile(0.5).item(),
        saturated=(largest_weight > 0.99).double().mean().item(),
        entropy=torch.special.entr(p).sum(dim=-1).mean().item(),
    )


def dot_product_statistics(
    head_width: int, samples: int, keys: int, exponent: float, seed: int
) -> DotProductStatistics:
    """Statistics of q·k · d_k^−exponent: 0.5 divides by √d_k, 1 by d_k, and 0 does not divide.

    Each of ``samples`` queries attends to the same ``keys`` keys. Unscaled, the typical query's
    gradient vanishes as d_k grows; the mean falls much more slowly, as now and then two keys tie.
    With respect to q·k itself, gradients are d_k^−exponent times those given.

    Raises InputError as ``random_queries_and_keys`` does.
    """
    query, key = random_queries_and_keys(head_width, samples, keys, seed)
    return logit_statistics(query @ key.T * head_width**-exponent)


def dot_product_sweep(
    widths: Sequence[int],
    exponents: Sequence[float] = (0.0, 0.5),
    samples: int = 256,
    keys: int = 64,
    seed: int = 0,
) -> DotProductSweep:
    """The statistics against d_k, without and with scaling: curves that start together and part."""
    rows = [[dot_product_statistics(d, samples, keys, p, seed) for d in widths] for p in exponents]

    def curves(name: str) -> Float[Tensor, "exponents widths"]:
        return torch.tensor([[getattr(statistics, name) for statistics in row] for row in rows])

    return DotProductSweep(
        widths=torch.tensor(widths),
        exponents=torch.tensor(exponents),
        variance=curves("variance"),
        largest_weight=curves("largest_weight"),
        gradient_norm=curves("gradient_norm"),
        median_gradient_norm=curves("median_gradient_norm"),
        saturated=curves("saturated"),
        entropy=curves("entropy"),
    )


# Dividing by the norms instead ---------------------------------------------------------------


def cosine_attention_logits(
    query: Float[Tensor, "query d_k"], key: Float[Tensor, "key d_k"]
) -> Float[Tensor, "query key"]:
    """q·k / (‖q‖ ‖k‖), between −1 and 1; 0 for a vector of zeros.

    A vector's length no longer counts: no query can be sure of itself, and no key can be important to
    all. Networks that normalise so multiply by a learned scale (Henry et al. 2020, "Query-Key
    Normalization for Transformers"; Liu et al. 2022, "Swin Transformer V2").
    """
    return (_unit(query) @ _unit(key).T).clamp(-1.0, 1.0)  # beyond ±1 by rounding only


def cosine_statistics(head_width: int, samples: int, keys: int, seed: int) -> DotProductStatistics:
    """The statistics of the same queries and keys, divided by their norms; the variance is about 1/d_k."""
    query, key = random_queries_and_keys(head_width, samples, keys, seed)
    return logit_statistics(cosine_attention_logits(query, key))


def largest_cosine_weight(keys: int, scale: float = 1.0) -> float:
    """The largest weight that logits in [−scale, scale] allow over n keys: e^s / (e^s + (n−1) e^−s).

    Reached when one key points with the query and all others against it. With a scale of 1 and 64
    keys it is 0.105: without a learned scale, cosine attention cannot attend. The sign of the scale
    does not matter, as the interval is the same.

    Raises InputError without a key.
    """
    scale = abs(scale)
    if keys < 1:
        raise InputError("{keys} keys are not accepted; at least one is needed.", keys=keys)
    return 1 / (1 + (keys - 1) * math.exp(-2 * scale))


def _check_logits(logits: Float[Tensor, " n"]) -> None:
    if len(logits) == 0 or logits.isnan().any():
        raise InputError("At least one logit is needed, and each must be a number.")
    if logits.isposinf().any() or logits.isneginf().all():
        raise InputError("Infinity minus infinity is no number: the largest logit must be finite.")


def _unit(vectors: Float[Tensor, "rows d_k"]) -> Float[Tensor, "rows d_k"]:
    """Each row divided by its norm, by way of its largest number, so that no square overflows."""
    tiny = torch.finfo(vectors.dtype).tiny
    scaled = vectors / vectors.abs().amax(dim=-1, keepdim=True).clamp(min=tiny)
    return scaled / scaled.norm(dim=-1, keepdim=True).clamp(min=tiny)
