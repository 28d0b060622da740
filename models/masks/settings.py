"""What a person sets about a mask: a visibility, a pattern in it, documents, padding, single cells."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from models.errors import InputError
from models.masks.algebra import (
    Bidirectional,
    Blocks,
    Causal,
    Cells,
    Dilated,
    Documents,
    FirstKeys,
    Mask,
    SlidingWindow,
    cross_attention,
    left_padding,
    prefix_lm,
    right_padding,
)

Base = Literal["causal", "bidirectional", "prefix", "cross"]
Pattern = Literal["all", "window", "lambda", "dilated", "blocks"]
Side = Literal["none", "left", "right"]
BASES: tuple[Base, ...] = get_args(Base)
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
SIDES: tuple[Side, ...] = get_args(Side)
MOST_CELLS = 100
Cell = tuple[int, int]


@dataclass(frozen=True)
class MaskSettings:
    """Base ∧ pattern ∧ documents ∧ padding, with single cells switched afterwards.

    ``prefix`` is the length of the prefix, or of the source in cross-attention; ``padded`` the number
    of padding tokens. Where they are longer than the text, they are the whole text.
    """

    base: Base = "causal"
    pattern: Pattern = "all"
    prefix: int = 8
    window: int = 8
    counts_itself: bool = True
    sinks: int = 4
    step: int = 2
    block: int = 8
    side: Side = "none"
    padded: int = 4
    starts: tuple[int, ...] = ()
    cells: tuple[Cell, ...] = ()

    @property
    def has_window(self) -> bool:
        return self.pattern in ("window", "lambda", "dilated")

    def rule(self, tokens: int) -> Mask:
        """The mask without the switched cells. Raises InputError where a number makes no mask."""
        parts = [self._base()]
        if (pattern := self._pattern()) is not None:
            parts.append(pattern)
        if self.starts:
            parts.append(Documents(self.starts))
        if self.side != "none":
            padding = left_padding(self.padded) if self.side == "left" else self._after(tokens)
            parts.append(padding)
        mask = parts[0]
        for part in parts[1:]:
            mask = mask & part
        return mask

    def mask(self, tokens: int) -> Mask:
        """The mask of a text of so many tokens; cells that lie outside of it are left out."""
        inside = self.cells_inside(tokens)
        return self.rule(tokens) ^ Cells(inside) if inside else self.rule(tokens)

    def cells_inside(self, tokens: int) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if max(cell) < tokens)

    def _base(self) -> Mask:
        match self.base:
            case "causal":
                return Causal()
            case "bidirectional":
                return Bidirectional()
            case "prefix":
                return prefix_lm(self.prefix)
            case "cross":
                return cross_attention(self.prefix)

    def _pattern(self) -> Mask | None:
        if self.pattern == "all":
            return None
        if self.pattern == "blocks":
            return Blocks(self.block)
        window = SlidingWindow(self.window, self.counts_itself)
        if self.pattern == "lambda":
            return FirstKeys(self.sinks) | window
        return Dilated(self.step) & window if self.pattern == "dilated" else window

    def _after(self, tokens: int) -> Mask:
        return right_padding(max(0, tokens - self.padded))


def parse_starts(text: str) -> tuple[int, ...]:
    """Token numbers between commas or spaces, at which documents begin; the first begins at 0.

    Raises InputError on what is no number; that they rise is checked by the mask.
    """
    words = text.replace(",", " ").replace("，", " ").split()
    if len(words) > MOST_CELLS or not all(word.isascii() and word.isdigit() for word in words):
        raise InputError(
            "Documents begin at token numbers with commas between them, such as 12, 30; at most {most}.",
            most=MOST_CELLS,
        )
    starts = tuple(int(word[:9]) for word in words)
    Documents(starts)
    return starts


def parse_cells(text: str) -> tuple[Cell, ...]:
    """Switched cells as "query.key" with commas between them, as they stand in the address.

    Raises InputError on anything else, and on more than MOST_CELLS.
    """
    words = [word for word in text.split(",") if word]
    if len(words) > MOST_CELLS or not all(re.fullmatch(r"[0-9]{1,5}\.[0-9]{1,5}", word) for word in words):
        raise InputError(
            "Switched cells are written as query.key with commas between them, such as 3.5,7.2; "
            "at most {most}.",
            most=MOST_CELLS,
        )
    pairs = (word.split(".") for word in words)
    return tuple(dict.fromkeys((int(query), int(key)) for query, key in pairs))


def write_cells(cells: tuple[Cell, ...]) -> str:
    """The text that ``parse_cells`` reads."""
    return ",".join(f"{query}.{key}" for query, key in cells)


def switched(cells: tuple[Cell, ...], cell: Cell) -> tuple[Cell, ...]:
    """The cells with one more, or without it where it was among them.

    Raises InputError where there would be more than MOST_CELLS.
    """
    if cell in cells:
        return tuple(other for other in cells if other != cell)
    if len(cells) == MOST_CELLS:
        raise InputError("{most} cells are switched already; undo some of them first.", most=MOST_CELLS)
    return (*cells, cell)
