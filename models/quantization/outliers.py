"""Outliers in activations, and the ways around them: LLM.int8, SmoothQuant, AWQ, rotation.

A layer computes Y = X Wᵀ. One channel (column) of X that is far larger than the others stretches the
scale that its whole token shares, and little is left for the rest.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.errors import InputError
from models.quantization.error import output_error
from models.quantization.integers import IntegerScheme, check_finite, quantize_integers
from models.quantization.weight_formats import Setting, quantize

Method = Literal["tensor", "token", "llm_int8", "smoothquant", "hadamard"]
METHODS: tuple[Method, ...] = get_args(Method)
GRID = tuple(step / 20 for step in range(21))  # exponents that AWQ tries


@dataclass(frozen=True)
class Remedies:
    """The controls of the remedies: bits of X and W, LLM.int8's threshold, SmoothQuant's exponent."""

    bits: int = 8
    threshold: float = 6.0
    alpha: float = 0.5

    def __post_init__(self):
        if not (self.threshold > 0 and 0 <= self.alpha <= 1):
            raise InputError("The threshold is above 0 and the exponent α between 0 and 1.")


@dataclass(frozen=True, eq=False)
class Prepared:
    """Activations and weights as a method hands them to the quantizer; X Wᵀ is the same product."""

    inputs: Float[Tensor, "tokens in"]
    weight: Float[Tensor, "out in"]
    kept: Bool[Tensor, " in"]  # channels that stay in 16 bits


def scale_channel(x: Float[Tensor, "tokens in"], channel: int, factor: float) -> Float[Tensor, "tokens in"]:
    """Make one channel larger. Raises InputError for a channel that is not there."""
    if not 0 <= channel < x.shape[1]:
        raise InputError("There are {count} channels, counted from 0.", count=x.shape[1])
    scaled = x.clone()
    scaled[:, channel] *= factor
    return scaled


def prepare(
    x: Float[Tensor, "tokens in"], weight: Float[Tensor, "out in"], method: Method, remedies: Remedies
) -> Prepared:
    """What a method does before rounding. Raises InputError for values that are not finite."""
    check_finite(x)
    nothing = torch.zeros(x.shape[1], dtype=torch.bool)
    if method == "llm_int8":
        return Prepared(x, weight, outlier_columns(x, remedies.threshold))
    if method == "smoothquant":
        scale = smooth_scales(x, weight, remedies.alpha)
        return Prepared(x / scale, weight * scale, nothing)
    if method == "hadamard":
        rotation = hadamard(x.shape[1])
        return Prepared(x @ rotation, weight @ rotation, nothing)
    return Prepared(x, weight, nothing)


def quantized_product(prepared: Prepared, method: Method, bits: int) -> Float[Tensor, "tokens out"]:
    """X Wᵀ with both in integers: one scale for each tensor, or for each token and each output."""
    scheme = IntegerScheme(bits, "symmetric", "tensor" if method == "tensor" else "channel")
    kept = prepared.kept
    small, narrow = prepared.inputs[:, ~kept], prepared.weight[:, ~kept]
    product = torch.zeros(len(prepared.inputs), len(prepared.weight))
    if small.shape[1]:
        codes = quantize_integers(small, scheme).dequantized, quantize_integers(narrow, scheme).dequantized
        product = codes[0] @ codes[1].T
    if kept.any():  # float16, as LLM.int8 keeps them
        product = (
            product + prepared.inputs[:, kept].half().float() @ prepared.weight[:, kept].half().float().T
        )
    return product


def method_error(
    x: Float[Tensor, "tokens in"], weight: Float[Tensor, "out in"], method: Method, remedies: Remedies
) -> float:
    """‖Y − Ŷ‖ / ‖Y‖ under a method."""
    exact = x @ weight.T
    product = quantized_product(prepare(x, weight, method, remedies), method, remedies.bits)
    return float(torch.linalg.norm(product - exact) / torch.linalg.norm(exact))


def outlier_columns(x: Float[Tensor, "tokens in"], threshold: float) -> Bool[Tensor, " in"]:
    """Columns with any magnitude at or above the threshold (Dettmers et al. 2022, LLM.int8)."""
    return (x.abs() >= threshold).any(0)


def smooth_scales(
    x: Float[Tensor, "tokens in"], weight: Float[Tensor, "out in"], alpha: float
) -> Float[Tensor, " in"]:
    """s_j = max|X_j|^α / max|W_j|^(1−α): activations are divided by it, weights multiplied.

    Xiao et al. 2022, "SmoothQuant", eq. 4. Channels of zeros are left alone.
    """
    largest, heaviest = x.abs().amax(0), weight.abs().amax(0)
    scale = largest**alpha / heaviest ** (1 - alpha)
    return torch.where((largest > 0) & (heaviest > 0), scale, 1.0)


def awq_scales(x: Float[Tensor, "tokens in"], alpha: float) -> Float[Tensor, " in"]:
    """s_j = mean|X_j|^α, over the geometric mean of its extremes (Lin et al. 2023, "AWQ")."""
    scale = x.abs().mean(0).clamp(min=1e-4) ** alpha
    return scale / (scale.max() * scale.min()).sqrt()


def awq_error(
    x: Float[Tensor, "tokens in"], weight: Float[Tensor, "out in"], alpha: float, setting: Setting
) -> float:
    """The layer's output error with quantized weights whose salient columns were enlarged before."""
    scale = awq_scales(x, alpha)
    return output_error(x, weight, quantize(weight * scale, setting).dequantized / scale)


def awq_curve(
    x: Float[Tensor, "tokens in"], weight: Float[Tensor, "out in"], setting: Setting
) -> Float[Tensor, " grid"]:
    """Output error for each exponent of the grid; at 0 it is plain rounding."""
    return torch.tensor([awq_error(x, weight, alpha, setting) for alpha in GRID])


def hadamard(size: int) -> Float[Tensor, "size size"]:
    """An orthogonal matrix of entries ±1/√n: H Hᵀ = 1.

    Sylvester's doubling of a Paley matrix of order p + 1, p prime and 3 modulo 4 (Paley 1933).
    Raises InputError for a width that this reaches in no way.
    """
    doublings, core = 0, size
    while core > 0:
        if core == 1 or (core % 4 == 0 and _is_prime(core - 1)):
            matrix = torch.ones(1, 1) if core == 1 else _paley(core - 1)
            for _ in range(doublings):
                matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
            return matrix / size**0.5
        if core % 2:
            break
        doublings, core = doublings + 1, core // 2
    raise InputError("Loupe knows no Hadamard matrix of width {size}.", size=size)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _paley(prime: int) -> Float[Tensor, "order order"]:
    """I + S, S skew with the quadratic residues of a prime that is 3 modulo 4."""
    residues = {step * step % prime for step in range(1, prime)}
    symbol = torch.tensor([0.0, *(1.0 if step in residues else -1.0 for step in range(1, prime))])
    place = torch.arange(prime)
    matrix = torch.zeros(prime + 1, prime + 1)
    matrix[0, 1:], matrix[1:, 0] = 1.0, -1.0
    matrix[1:, 1:] = symbol[(place - place[:, None]) % prime]
    return matrix + torch.eye(prime + 1)
