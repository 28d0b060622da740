"""What a person changes about a network's attention: a value, handed in with each forward pass."""

import math
from dataclasses import dataclass

import numpy
import torch
from jaxtyping import Bool
from torch import Tensor

from models.errors import InputError

LARGEST_EXPONENT = 8.0
LARGEST_POSITION = 1_000_000  # float32 angles lose the first pairs' phase far beyond it
TEMPERATURES = (1e-3, 1e3)


@dataclass(frozen=True)
class Visible:
    """Which key each query may read, as a hashable value: ``packed`` holds one bit for each pair."""

    queries: int
    keys: int
    packed: bytes

    def __post_init__(self):
        if self.queries < 1 or self.keys < 1 or len(self.packed) != -(-self.queries * self.keys // 8):
            raise InputError(
                "A mask of {queries} × {keys} does not fit its {bytes} bytes.",
                queries=self.queries,
                keys=self.keys,
                bytes=len(self.packed),
            )

    @classmethod
    def from_tensor(cls, mask: Bool[Tensor, "query key"]) -> "Visible":
        """True where the query may read the key."""
        queries, keys = mask.shape
        return cls(queries, keys, numpy.packbits(mask.cpu().numpy()).tobytes())

    def to_tensor(self) -> Bool[Tensor, "query key"]:
        bits = numpy.frombuffer(self.packed, dtype=numpy.uint8)
        mask = numpy.unpackbits(bits, count=self.queries * self.keys).astype(bool)
        return torch.from_numpy(mask.reshape(self.queries, self.keys))


@dataclass(frozen=True)
class Intervention:
    """Changes to every layer's attention; the default changes nothing.

    scale_exponent: p of d_k^-p. A network's own scale is multiplied by d_k^(0.5 - p), so that 0.5
        leaves it as it is, also where the network's own convention is another one.
    temperature: divides the scores, after scaling.
    silenced: (layer, head) pairs whose output is set to zero before the output projection.
    hidden_cells: single (layer, head, query, key) pairs that the mask hides as well; the rest of
        the row shares their weight.
    visible: replaces the mask of every layer. A query that may read no key reads all of them
        equally, as in transformers' eager attention.
    visible_in: the layers whose mask ``visible`` replaces; None stands for all of them.
    residual: False removes the skip connections around attention and MLP.
    mlp: False lets no MLP write; what it would have been added to goes on unchanged.
    positions: each token's position in place of 0, 1, 2, …; the mask stays in the tokens' order. The
        same number for all tokens tells the network nothing about order.
    swapped_layout: "query", "key" or both: rotary embedding turns their dimensions in the pairs of
        the other layout (see models.rotary.rope), as when weights and code disagree.

    Raises InputError where a number is not finite or out of range.
    """

    scale_exponent: float = 0.5
    temperature: float = 1.0
    silenced: frozenset[tuple[int, int]] = frozenset()
    hidden_cells: frozenset[tuple[int, int, int, int]] = frozenset()
    visible: Visible | None = None
    visible_in: frozenset[int] | None = None
    residual: bool = True
    mlp: bool = True
    positions: tuple[int, ...] | None = None
    swapped_layout: frozenset[str] = frozenset()

    def __post_init__(self):
        exponent, temperature = self.scale_exponent, self.temperature
        if not (math.isfinite(exponent) and abs(exponent) <= LARGEST_EXPONENT):
            raise InputError(
                "The exponent is {exponent}; numbers from {least} to {most} are accepted.",
                exponent=exponent,
                least=-LARGEST_EXPONENT,
                most=LARGEST_EXPONENT,
            )
        least, most = TEMPERATURES
        if not (math.isfinite(temperature) and least <= temperature <= most):
            raise InputError(
                "The temperature is {temperature}; numbers from {least} to {most} are accepted.",
                temperature=temperature,
                least=least,
                most=most,
            )
        masked = [(layer,) for layer in self.visible_in or ()]
        if any(min(indices) < 0 for indices in (*self.silenced, *self.hidden_cells, *masked)):
            raise InputError("Layers, heads and tokens are counted from 0.")
        if (
            self.positions is not None
            and not 0 <= min(self.positions, default=-1) <= max(self.positions) <= LARGEST_POSITION
        ):
            raise InputError("Positions from 0 to {most} are accepted.", most=LARGEST_POSITION)
        if not self.swapped_layout <= {"query", "key"}:
            raise InputError("The layout of queries and of keys can be swapped, and of nothing else.")

    @property
    def rewires_blocks(self) -> bool:
        """Whether more than the attention itself is changed."""
        return not (self.residual and self.mlp)

    @property
    def fits_any_length(self) -> bool:
        """Whether no change belongs to single tokens, so that texts of any length may share it."""
        return self.visible is None and self.positions is None and not self.hidden_cells

    def mask_of(self, layer: int) -> Visible | None:
        """The mask that takes the place of a layer's own, if one does."""
        return self.visible if self.visible_in is None or layer in self.visible_in else None

    def scale(self, base_scale: float, key_width: int) -> float:
        """The factor on q·k, given the network's own factor and the width d_k of a key."""
        return base_scale * key_width ** (0.5 - self.scale_exponent) / self.temperature

    def check_fits(self, layers: int, heads: int, tokens: int) -> None:
        """Raise InputError unless every head exists and the mask has one row and column a token."""
        for layer, head in sorted(self.silenced | {cell[:2] for cell in self.hidden_cells}):
            if layer >= layers or head >= heads:
                raise InputError(
                    "There is no head {head} in layer {layer}; "
                    "the network has {layers} layers of {heads} heads.",
                    head=head,
                    layer=layer,
                    layers=layers,
                    heads=heads,
                )
        if any(layer >= layers for layer in self.visible_in or ()):
            raise InputError("The network has {layers} layers, counted from 0.", layers=layers)
        if self.positions is not None and len(self.positions) != tokens:
            raise InputError(
                "There are {positions} positions for {tokens} tokens; there must be one a token.",
                positions=len(self.positions),
                tokens=tokens,
            )
        if any(max(cell[2:]) >= tokens for cell in self.hidden_cells):
            raise InputError("A cell lies outside of the text, which has {tokens} tokens.", tokens=tokens)
        mask = self.visible
        if mask is not None and (mask.queries, mask.keys) != (tokens, tokens):
            raise InputError(
                "The mask is {queries} × {keys}, but the text has {tokens} tokens.",
                queries=mask.queries,
                keys=mask.keys,
                tokens=tokens,
            )
