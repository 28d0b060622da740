"""Queries and keys that are rotated in the pairs of the other layout."""

from dataclasses import dataclass

from torch import Tensor

from models.rotary.rope import Rotation, rotate


@dataclass(frozen=True)
class OtherLayout:
    """Turns back what the network has rotated, and rotates it anew in the other layout's pairs.

    ``swapped``: "query", "key" or both.
    """

    own: Rotation
    swapped: frozenset[str]

    def __call__(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        if "query" in self.swapped:
            query = rotate(rotate(query, self.own.inverse), self.own.other)
        if "key" in self.swapped:
            key = rotate(rotate(key, self.own.inverse), self.own.other)
        return query, key
