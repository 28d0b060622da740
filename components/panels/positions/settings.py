"""Controls that several views of the positions page share."""

from dataclasses import dataclass

from components.panels.network.heads import OpensHead
from components.panels.positions.head import RealHead, real_head
from components.settings import View, number, slider
from components.words import mark


@dataclass(frozen=True)
class Seeded(View):
    """A view on something random."""

    seed: int = number(0, 9_999, 0, label=mark("Seed"))


@dataclass(frozen=True)
class Based(View):
    """A view on frequencies that a base spreads out."""

    base: float = slider(
        2.0,
        1_000_000.0,
        10_000.0,
        log=True,
        label=mark("Base"),
        help=mark("Of the rotary and the sinusoidal encoding."),
    )


@dataclass(frozen=True)
class ExplainsPair(View):
    """A view that works one pair of dimensions out, of as many as ``pairs`` says."""

    pair: int = number(
        0,
        lambda view: view.pairs - 1,
        lambda view: min(4, view.pairs - 1),
        label=mark("Pair p"),
        place="none",
    )

    @property
    def pairs(self) -> int:
        raise NotImplementedError


@dataclass(frozen=True)
class RotaryHead(OpensHead):
    """The open head of a network with rotary embedding."""

    @property
    def head(self) -> RealHead:
        """Its vectors before rotation, and what rotates them. Raises InputError without rotation."""
        return real_head(self.network_name, self.text, self.layer, self.open_head)
