"""Names at the ends of lines, so that colour is never all that tells them apart.

A thin line leads from a line's end to its name, which is moved up or down where names would lie on one
another. Names are points of scatter traces and not annotations: they follow a slider without
a new layout of the figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

LETTER, ROW = 6.4, 14.0  # pixels of a letter's width and of a row's height, at size 11
LONGEST_ROW = 13  # letters of a name before it goes on in a second row
LEADER = 0.05  # of the axis, from a line's end to its name
EDGE = 0.995  # of the axis: Plotly hides what stands at its very end
ASSUMED_HEIGHT = 280.0  # pixels of the axes, on a phone; the stage knows them only in the browser
NEAR = 0.35  # of the axis: names whose lines end closer make room for each other


@dataclass(frozen=True)
class Scale:
    """The ends of an axis, in its own numbers: logarithms to base 10 where ``is_log``."""

    low: float
    high: float
    is_log: bool = False

    def share(self, value: float) -> float:
        """Where a value stands, 0 to 1; at the nearer end where it stands outside."""
        number = np.log10(max(value, 1e-300)) if self.is_log else value
        return float(np.clip((number - self.low) / (self.high - self.low), 0.0, 1.0))

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Which values stand on the axis; none that is not finite."""
        with np.errstate(divide="ignore", invalid="ignore"):
            numbers = np.log10(values) if self.is_log else values
            return (self.low <= numbers) & (numbers <= self.high)

    def with_room(self) -> "Scale":
        """The axis longer by what the ways to the names take."""
        longer = (self.high - self.low) * (1 - EDGE + LEADER) / (EDGE - LEADER)
        return Scale(self.low, self.high + longer, self.is_log)

    def value(self, share: float) -> float:
        number = self.low + share * (self.high - self.low)
        return float(10.0**number) if self.is_log else float(number)


@dataclass(frozen=True)
class End:
    """Where a line ends in data, its name, and how it is drawn."""

    name: str
    x: float
    y: float
    line: dict[str, Any]


def end_of(name: str, x: np.ndarray, y: np.ndarray, line: dict[str, Any], axis: Scale) -> End | None:
    """The end of a line: its last point on the y axis, or its last finite one. None where there is none."""
    points = np.flatnonzero(axis.holds(y))
    if not len(points):
        points = np.flatnonzero(np.isfinite(y))
    if not len(points):
        return None
    return End(name, float(x[points[-1]]), float(y[points[-1]]), line)


def named_ends(
    ends: Sequence[End], x: Scale, y: Scale, height: float = ASSUMED_HEIGHT, **axes: Any
) -> list[go.Scatter]:
    """A trace for each end: the way to the name, and the name.

    ``x`` has room for the ways (``Scale.with_room``); ``axes`` are the traces' own, as xaxis="x2".
    """
    places = spread(
        [(x.share(end.x), y.share(end.y) * height, ROW * len(in_rows(end.name))) for end in ends], height
    )
    return [
        go.Scatter(
            x=[x.value(x.share(end.x)), x.value(min(EDGE, x.share(end.x) + LEADER))],
            y=[y.value(y.share(end.y)), y.value(place / height)],
            mode="lines+text",
            text=["", "<br>".join(in_rows(end.name))],
            textposition="middle right",
            textfont={"size": 11},
            line={"color": end.line["color"], "width": 1},
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
            **axes,
        )
        for end, place in zip(ends, places, strict=True)
    ]


def spread(labels: Sequence[tuple[float, float, float]], height: float) -> list[float]:
    """Heights of labels (share of x, wished height, own height, all from 0 up) that lie apart.

    From the lowest up each is lifted off those near it; what would leave at the top is let down again.
    """
    order = sorted(range(len(labels)), key=lambda index: labels[index][1])
    places = [max(wished, (own - ROW) / 2) for _x, wished, own in labels]

    def clear(index: int, others: Sequence[int], side: int) -> None:
        for other in others:
            if abs(labels[index][0] - labels[other][0]) < NEAR:
                gap = (labels[index][2] + labels[other][2]) / 2
                least = places[other] + side * gap
                places[index] = max(places[index], least) if side > 0 else min(places[index], least)

    for number, index in enumerate(order):
        clear(index, order[:number], 1)
    for number, index in reversed([*enumerate(order)]):
        places[index] = min(places[index], height)
        clear(index, order[number + 1 :], -1)
    return places


def in_rows(name: str) -> list[str]:
    """A name in rows of a few words."""
    rows = [""]
    for word in name.split(" "):
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and width(longer) > LONGEST_ROW:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows


def width(text: str) -> float:
    """In letters; a Chinese character is as wide as two."""
    return sum(2 if letter > "\u2e7f" else 1 for letter in text)


def margin_for(names: Sequence[str]) -> int:
    """Pixels that the longest row of the names needs to the right of the axes."""
    longest = max((width(row) for name in names for row in in_rows(name)), default=0)
    return round(26 + LETTER * longest)
