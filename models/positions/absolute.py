"""Positions that are added to vectors: the sinusoidal encoding, and tables that a network learned.

    PE(m, 2p) = sin(m θ_p)     PE(m, 2p + 1) = cos(m θ_p)     θ_p = base^(−2p/d)

Vaswani et al. 2017, section 3.5: sine and cosine alternate over dimensions, not over tokens.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.errors import InputError
from models.rotary.rope import Layout, frequencies, from_pairs

LONGEST = 65_536
NEARLY_CONSTANT = 1 / 16  # of a turn: over it a cosine falls by less than 8 %


def sinusoidal(
    length: int, width: int, base: float = 10_000.0, layout: Layout = "interleaved"
) -> Float[Tensor, "position width"]:
    """The encoding of positions 0 to length − 1.

    "interleaved" is the paper's order; "half" has all sines first and then all cosines, as
    tensor2tensor and transformers' Marian do. Raises InputError for an odd or non-positive width, a
    base that is not positive, and a length outside 1 to 65,536.
    """
    if not 1 <= length <= LONGEST:
        raise InputError(
            "{length} positions are not accepted; 1 to {most} are.", length=length, most=LONGEST
        )
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequencies(width, base)
    return from_pairs(torch.complex(angle.sin(), angle.cos()), layout)


def nearly_constant(turned: Float[Tensor, " pairs"]) -> Bool[Tensor, " pairs"]:
    """Pairs that make less than a sixteenth of a turn: their sine stays near 0 and their cosine near 1."""
    return turned < NEARLY_CONSTANT


def cosines_with(table: Float[Tensor, "position width"], position: int) -> Float[Tensor, " position"]:
    """Cosine between the vector of one position and that of every position.

    Raises InputError where the table has no such position.
    """
    if not 0 <= position < len(table):
        raise InputError(
            "There is no position {position}; the table ends at {last}.",
            position=position,
            last=len(table) - 1,
        )
    norms = table.norm(dim=-1).clamp(min=torch.finfo(table.dtype).tiny)
    return table @ table[position] / (norms * norms[position])


def rows(table: Float[Tensor, "position width"], length: int) -> Float[Tensor, "length width"]:
    """The first positions of a learned table. Raises InputError beyond its end: it was never learned."""
    if not 1 <= length <= len(table):
        raise InputError(
            "{length} positions are not in a learned table of {most}; it holds nothing beyond its end.",
            length=length,
            most=len(table),
        )
    return table[:length]


def principal_components(
    table: Float[Tensor, "position width"], width: int
) -> Float[Tensor, "position components"]:
    """The table's rows less their mean, in the ``width`` directions in which they vary most.

    No table of fewer dimensions keeps the rows' inner products better (Eckart and Young 1936).
    Raises InputError where there are not that many directions.
    """
    most = min(table.shape)
    if not 1 <= width <= most:
        raise InputError("{width} components are not accepted; 1 to {most} are.", width=width, most=most)
    u, s, _ = torch.linalg.svd(table - table.mean(dim=0), full_matrices=False)
    return u[:, :width] * s[:width]


@dataclass(frozen=True, eq=False)
class AddedScores:
    """(q + p_i)·(k + p_j), taken apart as in Dai et al. 2019, "Transformer-XL", eq. 3."""

    content: Float[Tensor, "query key"]  # q_i·k_j
    content_position: Float[Tensor, "query key"]  # q_i·p_j
    position_content: Float[Tensor, "query key"]  # p_i·k_j
    position: Float[Tensor, "query key"]  # p_i·p_j

    @property
    def total(self) -> Float[Tensor, "query key"]:
        return self.content + self.content_position + self.position_content + self.position


def added_scores(
    query: Float[Tensor, "query d_k"], key: Float[Tensor, "key d_k"], table: Float[Tensor, "position d_k"]
) -> AddedScores:
    """Raw scores where each position's vector is added to its query and its key.

    Raises InputError where the table has fewer positions than there are queries or keys.
    """
    at_query, at_key = rows(table, len(query)), rows(table, len(key))
    return AddedScores(query @ key.T, query @ at_key.T, at_query @ key.T, at_query @ at_key.T)


def scaled_like(
    table: Float[Tensor, "position width"], vectors: Float[Tensor, "token width"], strength: float
) -> Float[Tensor, "position width"]:
    """The table with ``strength`` times the root mean square length of the vectors.

    Raises InputError for a negative strength.
    """
    if strength < 0:
        raise InputError("A strength of {strength} is not accepted; 0 or more is.", strength=strength)
    own = table.square().sum(dim=-1).mean().sqrt().clamp(min=torch.finfo(table.dtype).tiny)
    return table * (strength * vectors.square().sum(dim=-1).mean().sqrt() / own)
