"""Masks: which key each query may read, as an algebra of small values.

A mask is a function of the indices of batch, head, query and key, True where the query may read the
key: the signature of transformers' mask functions (transformers.masking_utils 5.23) and of
FlexAttention's mask_mod (torch.nn.attention.flex_attention 2.13), so that either library takes one as
it is. Masks are joined with & (and), | (or), ^ (either, not both) and ~ (not):

    Causal() & (FirstKeys(4) | SlidingWindow(8))

``expression`` is the same mask as Python over q_idx and kv_idx.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from models.errors import InputError, check_at_least

Indices = Int[Tensor, "..."]  # they broadcast against one another
Index = Indices | int


class Mask:
    """What all masks have in common. Batch and head are ignored: one mask serves all of them."""

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        raise NotImplementedError

    @property
    def expression(self) -> str:
        """Python over the tensors q_idx and kv_idx, and over what ``preparation`` defines."""
        raise NotImplementedError

    @property
    def preparation(self) -> tuple[str, ...]:
        """Lines of Python that ``expression`` needs before it; they may use n, the number of tokens."""
        return ()

    def to_tensor(self, queries: int, keys: int, offset: int = 0) -> Bool[Tensor, "query key"]:
        """The mask as a matrix. ``offset`` is the position of the first query, where keys are cached."""
        check_at_least(1, queries=queries, keys=keys)
        query = torch.arange(offset, offset + queries)[:, None]
        return self(0, 0, query, torch.arange(keys)[None, :]).expand(queries, keys)

    def __and__(self, other: "Mask") -> "Mask":
        return Joined("&", self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return Joined("|", self, other)

    def __xor__(self, other: "Mask") -> "Mask":
        return Joined("^", self, other)

    def __invert__(self) -> "Mask":
        return Not(self)


OPERATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "&": torch.logical_and,
    "|": torch.logical_or,
    "^": torch.logical_xor,
}


@dataclass(frozen=True)
class Joined(Mask):
    """Two masks joined by an operator."""

    operator: str
    left: Mask
    right: Mask

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        operands = self.left(batch, head, query, key), self.right(batch, head, query, key)
        return OPERATORS[self.operator](*operands)

    @property
    def expression(self) -> str:
        return f"{self._part(self.left)} {self.operator} {self._part(self.right)}"

    def _part(self, mask: Mask) -> str:
        """A part in brackets, except where the same operator makes them needless."""
        same = isinstance(mask, Joined) and mask.operator == self.operator
        return mask.expression if same else f"({mask.expression})"

    @property
    def preparation(self) -> tuple[str, ...]:
        """Raises InputError where two parts would give one name to different things."""
        lines = tuple(dict.fromkeys((*self.left.preparation, *self.right.preparation)))
        if len({line.partition(" = ")[0] for line in lines}) < len(lines):
            raise InputError("A mask with two kinds of documents, or of cells, is not written as Python.")
        return lines


@dataclass(frozen=True)
class Not(Mask):
    """Visible where the other mask hides."""

    mask: Mask

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        return ~self.mask(batch, head, query, key)

    @property
    def expression(self) -> str:
        return f"~({self.mask.expression})"

    @property
    def preparation(self) -> tuple[str, ...]:
        return self.mask.preparation


# What masks are made of ----------------------------------------------------------------------


@dataclass(frozen=True)
class Bidirectional(Mask):
    """Every query reads every key: an encoder."""

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        return (query >= 0) & (key >= 0)

    @property
    def expression(self) -> str:
        return "(q_idx >= 0) & (kv_idx >= 0)"


@dataclass(frozen=True)
class Causal(Mask):
    """A query reads itself and what stands before it: a decoder."""

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        return key <= query

    @property
    def expression(self) -> str:
        return "kv_idx <= q_idx"


@dataclass(frozen=True)
class SlidingWindow(Mask):
    """Keys near the query, on both sides; & Causal() leaves those before it.

    Conventions differ. ``counts_itself``: the width includes the query's own token, |i − j| < width, as
    transformers' sliding_window (Mistral) counts in causal networks. Otherwise it does not,
    |i − j| ≤ width, as FlashAttention's window_size and transformers' bidirectional windows count.
    """

    width: int
    counts_itself: bool = True

    def __post_init__(self) -> None:
        check_at_least(1 if self.counts_itself else 0, window=self.width)

    @property
    def reach(self) -> int:
        """The largest distance at which a key is visible."""
        return self.width - 1 if self.counts_itself else self.width

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        return (key >= query - self.reach) & (key <= query + self.reach)

    @property
    def expression(self) -> str:
        return f"(q_idx - kv_idx).abs() {'<' if self.counts_itself else '<='} {self.width}"


@dataclass(frozen=True)
class FirstKeys(Mask):
    """The first ``count`` keys, for every query: a prefix, attention sinks, or all real tokens where
    padding follows them; all keys where there are fewer.
    """

    count: int

    def __post_init__(self) -> None:
        check_at_least(0, keys=self.count)

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        return (key < self.count) & (query >= 0)

    @property
    def expression(self) -> str:
        return f"kv_idx < {self.count}"


@dataclass(frozen=True)
class FirstQueries(Mask):
    """All keys, for the first ``count`` queries alone."""

    count: int

    def __post_init__(self) -> None:
        check_at_least(0, queries=self.count)

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        return (query < self.count) & (key >= 0)

    @property
    def expression(self) -> str:
        return f"q_idx < {self.count}"


@dataclass(frozen=True)
class Dilated(Mask):
    """Every ``step``-th key, counted from the query (Beltagy et al. 2020, "Longformer", fig. 2c)."""

    step: int

    def __post_init__(self) -> None:
        check_at_least(1, step=self.step)

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        return (query - key) % self.step == 0

    @property
    def expression(self) -> str:
        return f"(q_idx - kv_idx) % {self.step} == 0"


@dataclass(frozen=True)
class Blocks(Mask):
    """Whole blocks of ``size`` tokens: the query's own and ``count`` − 1 to each side of it.

    One block with & Causal() is the chunked attention of Llama 4. Kernels skip whole blocks only, so
    that this mask saves time where a dilated one of as many pairs does not (Child et al. 2019,
    "Generating Long Sequences with Sparse Transformers").
    """

    size: int
    count: int = 1

    def __post_init__(self) -> None:
        check_at_least(1, block=self.size, blocks=self.count)

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        distance = query // self.size - key // self.size
        return (distance < self.count) & (distance > -self.count)

    @property
    def expression(self) -> str:
        if self.count == 1:
            return f"q_idx // {self.size} == kv_idx // {self.size}"
        return f"(q_idx // {self.size} - kv_idx // {self.size}).abs() < {self.count}"


@dataclass(frozen=True)
class Documents(Mask):
    """Tokens of the same document, in a row that holds several; ``starts`` are where a new one begins.

    Raises InputError where the starts do not rise: documents do not overlap.
    """

    starts: tuple[int, ...]

    def __post_init__(self) -> None:
        neighbours = zip((0, *self.starts), self.starts, strict=False)
        if any(later <= earlier for earlier, later in neighbours):
            raise InputError(
                "Documents begin at rising token numbers from 1 on; {starts} do not rise.",
                starts=", ".join(map(str, self.starts)),
            )

    def document(self, index: Indices) -> Indices:
        """The number of the document that a token stands in, counted from 0."""
        return sum(((index >= start).long() for start in self.starts), start=0 * index)

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        return self.document(query) == self.document(key)

    @property
    def expression(self) -> str:
        return "document[q_idx] == document[kv_idx]"

    @property
    def preparation(self) -> tuple[str, ...]:
        starts = f"torch.tensor({list(self.starts)})"
        return (f"document = torch.bucketize(torch.arange(n), {starts}, right=True)",)


@dataclass(frozen=True)
class Cells(Mask):
    """Single (query, key) pairs; ^ switches them in another mask."""

    cells: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.cells or any(min(cell) < 0 for cell in self.cells):
            raise InputError("Cells are pairs of token numbers from 0 on, and there is at least one.")

    def __call__(self, batch: Index, head: Index, query: Indices, key: Indices) -> Bool[Tensor, "..."]:
        found = (query < 0) & (key < 0)  # nowhere
        for row, column in self.cells:
            found = found | ((query == row) & (key == column))
        return found

    @property
    def expression(self) -> str:
        return "switched[q_idx, kv_idx]"

    @property
    def preparation(self) -> tuple[str, ...]:
        rows, columns = (f"torch.tensor({[cell[side] for cell in self.cells]})" for side in (0, 1))
        switch = f"index_put(({rows}, {columns}), torch.tensor(True))"
        return (f"switched = torch.zeros(n, n, dtype=torch.bool).{switch}",)


# Masks with a name ---------------------------------------------------------------------------


def left_padding(count: int) -> Mask:
    """Hides the first ``count`` keys, which are padding."""
    return ~FirstKeys(count)


def right_padding(real: int) -> Mask:
    """Hides the keys after the first ``real`` ones."""
    return FirstKeys(real)


def prefix_lm(length: int) -> Mask:
    """The first tokens read each other in both directions, the rest is causal (Raffel et al. 2020, "T5",
    fig. 4). A prefix beyond the end makes the mask bidirectional.
    """
    return Causal() | FirstKeys(length)


def cross_attention(source: int) -> Mask:
    """Of a source and a target written one after the other: targets read the source, and nothing else.

    The queries of the source read no key.
    """
    return FirstKeys(source) & ~FirstQueries(source)


def encoder_decoder(source: int) -> Mask:
    """All three attentions of an encoder–decoder in one matrix: the source reads itself, the target
    reads the source and, causally, itself. The pairs are those of ``prefix_lm``.
    """
    encoder = FirstQueries(source) & FirstKeys(source)
    decoder = Causal() & ~FirstQueries(source) & ~FirstKeys(source)
    return encoder | cross_attention(source) | decoder


def lambda_shaped(sinks: int, window: int, counts_itself: bool = True) -> Mask:
    """The first keys and the nearest ones (Xiao et al. 2023, "Efficient Streaming Language Models with
    Attention Sinks"; Han et al. 2023, "LM-Infinite", who name it after its shape).
    """
    return Causal() & (FirstKeys(sinks) | SlidingWindow(window, counts_itself))
