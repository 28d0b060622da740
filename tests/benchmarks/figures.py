"""A measured figure with its reference and goal, and all of them as a table and as JSON."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

BENCH = Path(__file__).parents[2] / "bench.json"
COLUMNS = ("page", "figure", "value", "unit", "reference", "ratio", "goal", "met")


@dataclass(frozen=True)
class Goal:
    """A limit on a figure's value, or on its ratio to the reference."""

    of: Literal["value", "ratio"]
    side: Literal["<=", ">="]
    limit: float

    def __str__(self) -> str:
        return f"{self.of} {self.side} {self.limit:g}"


@dataclass(frozen=True)
class Figure:
    """``value`` and ``reference`` in ``unit``; the reference was measured in the same run."""

    page: str
    figure: str
    value: float
    unit: str
    goal: Goal
    reference: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.reference if self.reference else None

    @property
    def met(self) -> bool:
        reached = self.value if self.goal.of == "value" else self.ratio
        if reached is None:
            return False
        return reached <= self.goal.limit if self.goal.side == "<=" else reached >= self.goal.limit

    def as_row(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in COLUMNS} | {"goal": str(self.goal)}


def table(figures: list[Figure]) -> str:
    """Rows of text in aligned columns."""
    rows = [list(COLUMNS)]
    rows += [[_shown(value) for value in figure.as_row().values()] for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def write(figures: list[Figure], path: Path = BENCH) -> None:
    path.write_text(json.dumps([figure.as_row() for figure in figures], indent=2) + "\n")
