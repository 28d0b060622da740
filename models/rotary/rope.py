"""Rotary position embedding: each pair of a query's and a key's dimensions turned by its position.

    θ_p = base^(−2p/r)              p = 0 … r/2 − 1, radians a position; r dimensions are rotated
    q_p → q_p e^{i m θ_p}           the pair as a complex number, at position m; keys alike, at n
    q·k = Σ_p Re(q_p k̄_p e^{i (m−n) θ_p}) + the dimensions that are not rotated

Only m − n is left. Su et al. 2021, "RoFormer", eq. 12 to 16 and 34. Which dimensions form a pair is
a convention: the neighbours (0, 1), (2, 3), … in the paper and GPT-J ("interleaved"), p and p + r/2
in GPT-NeoX, Llama and most networks of transformers ("half").
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from models.errors import InputError

Layout = Literal["half", "interleaved"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def other_layout(layout: Layout) -> Layout:
    return "interleaved" if layout == "half" else "half"


# Frequencies -------------------------------------------------------------------------------------


def check_width(width: int) -> None:
    """Raise InputError unless dimensions can be paired."""
    if width < 2 or width % 2:
        raise InputError(
            "{width} dimensions cannot be paired; an even number from 2 is accepted.", width=width
        )


def frequencies(width: int, base: float) -> Float[Tensor, " pairs"]:
    """θ_p = base^(−2p/width) in radians a position: 1 for the first pair, falling towards 1/base.

    Also those of the sinusoidal encoding (Vaswani et al. 2017, section 3.5). Computed in float32 as
    transformers does. Raises InputError for a width that is odd or not positive, and for a base that
    is not a positive finite number.
    """
    check_width(width)
    if not (math.isfinite(base) and base > 0):
        raise InputError("The base is {base}; a positive finite number is accepted.", base=base)
    return 1.0 / base ** (torch.arange(0, width, 2, dtype=torch.float32) / width)


def wavelengths(frequency: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Positions to a full turn, 2π/θ."""
    return 2 * math.pi / frequency


def turns(length: int, frequency: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Full turns that each pair makes from the first to the last of ``length`` positions."""
    return (length - 1) * frequency / (2 * math.pi)


# Rotation ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Rotation:
    """By how much each pair is turned at each position; ``cos`` and ``sin`` hold a factor, if any.

    Without a factor cos² + sin² = 1; YaRN and LongRoPE multiply both by their attention factor.
    """

    cos: Float[Tensor, "position pairs"]
    sin: Float[Tensor, "position pairs"]
    layout: Layout

    @property
    def inverse(self) -> "Rotation":
        length = self.cos**2 + self.sin**2
        return Rotation(self.cos / length, -self.sin / length, self.layout)

    @property
    def other(self) -> "Rotation":
        """The same turns of the pairs that the other layout forms."""
        return Rotation(self.cos, self.sin, other_layout(self.layout))


def rotation(
    positions: Float[Tensor, " position"] | Int[Tensor, " position"],
    frequency: Float[Tensor, " pairs"],
    layout: Layout,
    factor: float = 1.0,
) -> Rotation:
    """The rotation at each position; positions may be negative or lie between whole numbers."""
    angle = positions[:, None].to(frequency.dtype) * frequency
    return Rotation(angle.cos() * factor, angle.sin() * factor, layout)


def to_pairs(x: Float[Tensor, "*shape rotary"], layout: Layout) -> Complex[Tensor, "*shape pairs"]:
    """Each pair of dimensions as one complex number. Raises InputError for an odd number of them."""
    check_width(x.shape[-1])
    if layout == "interleaved":
        return torch.complex(x[..., 0::2], x[..., 1::2])
    half = x.shape[-1] // 2
    return torch.complex(x[..., :half], x[..., half:])


def from_pairs(pairs: Complex[Tensor, "*shape pairs"], layout: Layout) -> Float[Tensor, "*shape rotary"]:
    """The inverse of ``to_pairs``."""
    if layout == "interleaved":
        return torch.view_as_real(pairs).flatten(-2)
    return torch.cat([pairs.real, pairs.imag], dim=-1)


def rotate(x: Float[Tensor, "*heads position d_k"], turn: Rotation) -> Float[Tensor, "*heads position d_k"]:
    """Turn the first dimensions of each vector by its position; what lies beyond them passes through.

    As many dimensions are turned as ``turn`` has pairs, times two: GPT-NeoX rotates a quarter of each
    head (partial rotary). Raises InputError where the vectors have fewer.
    """
    rotary = 2 * turn.cos.shape[-1]
    if rotary > x.shape[-1]:
        raise InputError(
            "{rotary} dimensions cannot be rotated in vectors of {width}.",
            rotary=rotary,
            width=x.shape[-1],
        )
    factor = torch.complex(turn.cos, turn.sin).to(_complex(x.dtype))
    turned = to_pairs(x[..., :rotary].to(factor.real.dtype), turn.layout) * factor
    return torch.cat([from_pairs(turned, turn.layout).to(x.dtype), x[..., rotary:]], dim=-1)


def _complex(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype == torch.float64 else torch.complex64


def rotation_matrix(
    position: int | float, frequency: Float[Tensor, " pairs"], layout: Layout
) -> Float[Tensor, "rotary rotary"]:
    """R_m with rotate(x) = R_m x: 2×2 blocks, so that R_mᵀ R_n = R_{n−m} and det R_m = 1 (eq. 15)."""
    rotary = 2 * len(frequency)
    turn = rotation(torch.full((rotary,), float(position)), frequency, layout)
    return rotate(torch.eye(rotary, dtype=frequency.dtype), turn).T


def relayout(width: int, rotary: int, to: Layout) -> Int[Tensor, " d_k"]:
    """Where each dimension of a vector in the ``to`` layout stood in the other one.

    Applied to the rows of W_Q and W_K it converts a network's weights, after which the other layout
    gives the same scores (transformers' convert_llama_weights_to_hf does this to Meta's weights).
    Raises InputError where ``rotary`` cannot be paired or exceeds ``width``.
    """
    check_width(rotary)
    if rotary > width:
        raise InputError(
            "{rotary} dimensions cannot be rotated in vectors of {width}.", rotary=rotary, width=width
        )
    order = torch.arange(rotary)
    half = order.reshape(2, -1).T.flatten()  # 0, r/2, 1, r/2 + 1, …: pairs become neighbours
    return torch.cat([half if to == "interleaved" else half.argsort(), torch.arange(rotary, width)])


def scores_after_conversion(
    query: Float[Tensor, "query d_k"], key: Float[Tensor, "key d_k"], turn: Rotation
) -> Float[Tensor, "query key"]:
    """Raw scores in the other layout, of unrotated vectors whose dimensions were put in its order first."""
    order = relayout(query.shape[-1], 2 * turn.cos.shape[-1], turn.other.layout)
    return rotate(query[:, order], turn.other) @ rotate(key[:, order], turn.other).T


# Scores ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PairScores:
    """Raw scores, taken apart: their sum is the dot product of the rotated vectors."""

    pairs: Float[Tensor, "*shape pairs"]
    unrotated: Float[Tensor, "*shape"]  # of the dimensions that pass through

    @property
    def total(self) -> Float[Tensor, "*shape"]:
        return self.pairs.sum(dim=-1) + self.unrotated


def pair_products(
    query: Float[Tensor, "*#shape d_k"], key: Float[Tensor, "*#shape d_k"], pairs: int, layout: Layout
) -> Complex[Tensor, "... pairs"]:
    """q_p k̄_p of vectors that are not rotated yet: its length is what a pair can add to a score."""
    rotary = 2 * pairs
    return to_pairs(query[..., :rotary], layout) * to_pairs(key[..., :rotary], layout).conj()


def scores_by_pair(
    query: Float[Tensor, "query d_k"],
    key: Float[Tensor, "key d_k"],
    query_positions: Float[Tensor, " query"] | Int[Tensor, " query"],
    key_positions: Float[Tensor, " key"] | Int[Tensor, " key"],
    frequency: Float[Tensor, " pairs"],
    layout: Layout,
    factor: float = 1.0,
) -> PairScores:
    """What each pair adds to q·k, |q_p| |k_p| cos(φ_p + (m−n) θ_p), for vectors before rotation.

    ``factor`` multiplied both cos and sin, so that it counts twice here.
    """
    rotary = 2 * len(frequency)
    products = pair_products(query[:, None], key[None], len(frequency), layout)
    distance = (query_positions[:, None] - key_positions[None]).to(frequency.dtype)
    angle = distance[..., None] * frequency
    turned = factor**2 * (products.real * angle.cos() - products.imag * angle.sin())
    return PairScores(turned, query[:, rotary:] @ key[:, rotary:].T)


def score_at_distances(
    query: Float[Tensor, " d_k"],
    key: Float[Tensor, " d_k"],
    distances: Float[Tensor, " distance"] | Int[Tensor, " distance"],
    frequency: Float[Tensor, " pairs"],
    layout: Layout,
    factor: float = 1.0,
) -> Float[Tensor, " distance"]:
    """The score that one query and one key would have at each distance m − n."""
    rotary = 2 * len(frequency)
    products = pair_products(query, key, len(frequency), layout)
    return factor**2 * curve(products, distances, frequency) + query[rotary:] @ key[rotary:]


def curve(
    products: Complex[Tensor, " pairs"],
    distances: Float[Tensor, " distance"] | Int[Tensor, " distance"],
    frequency: Float[Tensor, " pairs"],
) -> Float[Tensor, " distance"]:
    """Re Σ_p c_p e^{i Δ θ_p} at each distance Δ."""
    angle = distances[:, None].to(frequency.dtype) * frequency
    return angle.cos() @ products.real - angle.sin() @ products.imag
