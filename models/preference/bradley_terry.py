"""A reward for every answer from comparisons alone: P(a beats b) = σ(r_a − r_b) (Bradley & Terry 1952).

A reward model is trained with the same loss, −log σ(r_w − r_l), its rewards coming from a network.
Only differences enter: adding a constant to the rewards of all answers that were ever compared with one
another, directly or through others, changes nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from models.errors import InputError

MOST_COMPARISONS, MOST_ANSWERS, MOST_TIMES, LONGEST_NAME = 200, 24, 10_000, 40
NEWTON_STEPS = 100
Row = tuple[str, ...]  # winner, loser, times


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Who beat whom, and how often."""

    names: tuple[str, ...]
    winner: Int[Tensor, " comparison"]
    loser: Int[Tensor, " comparison"]
    times: Float[Tensor, " comparison"]

    @property
    def groups(self) -> Int[Tensor, " answer"]:
        """The number of the group that each answer belongs to: comparisons lead from any to any in it."""
        label = torch.arange(len(self.names))
        for _ in self.names:
            pairs = torch.minimum(label[self.winner], label[self.loser])
            label = label.scatter_reduce(0, self.winner, pairs, "amin")
            label = label.scatter_reduce(0, self.loser, pairs, "amin")
        return label.unique(return_inverse=True)[1]

    @property
    def has_finite_fit(self) -> bool:
        """Whether in every group wins lead from each answer to each (Ford 1957): else a reward runs off."""
        reach = torch.eye(len(self.names))
        reach[self.winner, self.loser] = 1.0
        for _ in self.names:
            reach = ((reach @ reach) > 0).float()
        return bool((reach == reach.T).all())


@dataclass(frozen=True, eq=False)
class Fit:
    """Rewards whose mean is 0 in every group, and the loss by comparison, in nats."""

    rewards: Float[Tensor, " answer"]
    loss: float


def read_comparisons(rows: Sequence[Row]) -> Comparisons:
    """Comparisons from a table's cells. Raises InputError, naming row and column."""
    if not 1 <= len(rows) <= MOST_COMPARISONS:
        raise InputError(
            "There are {count} comparisons; from 1 to {most} are accepted.",
            count=len(rows),
            most=MOST_COMPARISONS,
        )
    names: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        for column, cell in zip(("winner", "loser"), row, strict=False):
            if not cell.strip():
                raise InputError(
                    "Row {row}, column {column}: the cell is empty.", row=number, column=column
                )
            if ">" in cell:
                raise InputError(
                    "Row {row}, column {column}: a name has no {sign} in it.",
                    row=number,
                    column=column,
                    sign=">",
                )
            if len(cell) > LONGEST_NAME:
                raise InputError(
                    "Row {row}, column {column}: a name has at most {most} characters.",
                    row=number,
                    column=column,
                    most=LONGEST_NAME,
                )
            names.setdefault(cell.strip(), len(names))
        if row[0].strip() == row[1].strip():
            raise InputError("Row {row}: an answer cannot be compared with itself.", row=number)
        if not re.fullmatch(r"[0-9]{1,5}", row[2].strip()) or not 1 <= int(row[2]) <= MOST_TIMES:
            raise InputError(
                "Row {row}, column times: whole numbers from 1 to {most} are accepted.",
                row=number,
                most=MOST_TIMES,
            )
    if len(names) > MOST_ANSWERS:
        raise InputError(
            "There are {count} answers; at most {most} are accepted.", count=len(names), most=MOST_ANSWERS
        )
    winner, loser = (torch.tensor([names[row[side].strip()] for row in rows]) for side in (0, 1))
    return Comparisons(tuple(names), winner, loser, torch.tensor([float(row[2]) for row in rows]))


def loss(
    rewards: Float[Tensor, " answer"], comparisons: Comparisons, ridge: float = 0.0
) -> Float[Tensor, ""]:
    """Mean −log σ(r_w − r_l) by comparison, plus ridge/2 · Σ r² divided by their number."""
    margin = rewards[comparisons.winner] - rewards[comparisons.loser]
    times = comparisons.times.to(rewards.dtype)
    total = -(times * logsigmoid(margin)).sum() + ridge / 2 * (rewards**2).sum()
    return total / times.sum()


def fit(comparisons: Comparisons, ridge: float = 0.0) -> Fit:
    """The rewards of least loss, by Newton's method.

    Raises InputError without a ridge where no finite rewards are best: an answer, or several, never
    lost to the others.
    """
    if not (0 <= ridge < 1e6):
        raise InputError("The ridge is {value}; it must be at least 0 and finite.", value=ridge)
    if ridge == 0 and not comparisons.has_finite_fit:
        raise InputError(
            "Some answers never lost to the others they were compared with: without a ridge their rewards "
            "grow without end. Raise the ridge, or add a comparison that they lose."
        )
    rewards = torch.zeros(len(comparisons.names), dtype=torch.float64)
    for _ in range(NEWTON_STEPS):
        gradient, hessian = _derivatives(rewards, comparisons, ridge)
        change = torch.linalg.lstsq(hessian, gradient[:, None], driver="gelsd").solution[:, 0]
        change = change / max(1.0, float(change.abs().max()) / 2)  # far steps overshoot a logistic loss
        rewards = rewards - change
        if float(change.abs().max()) < 1e-10:
            break
    rewards = centred(rewards, comparisons)
    return Fit(rewards, float(loss(rewards, comparisons)))


def _derivatives(rewards: Tensor, comparisons: Comparisons, ridge: float) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian of the summed loss: −n σ(−m) and n σ(m) σ(−m) on each pair's difference."""
    count = len(rewards)
    ends = torch.zeros(len(comparisons.times), count, dtype=rewards.dtype)
    rows = torch.arange(len(ends))
    ends[rows, comparisons.winner], ends[rows, comparisons.loser] = 1.0, -1.0
    wrong = torch.sigmoid(-ends @ rewards)
    times = comparisons.times.to(rewards.dtype)
    gradient = -ends.T @ (times * wrong) + ridge * rewards
    hessian = ends.T @ ((times * wrong * (1 - wrong))[:, None] * ends)
    return gradient, hessian + ridge * torch.eye(count, dtype=rewards.dtype)


def centred(rewards: Float[Tensor, " answer"], comparisons: Comparisons) -> Float[Tensor, " answer"]:
    """The same rewards with mean 0 in every group: the one convention that fixes the free constants."""
    groups = comparisons.groups
    count = int(groups.max()) + 1
    means = torch.zeros(count, dtype=rewards.dtype).scatter_reduce(
        0, groups, rewards, "mean", include_self=False
    )
    return rewards - means[groups]


def win_probabilities(rewards: Float[Tensor, " answer"]) -> Float[Tensor, "answer answer"]:
    """σ(r_row − r_column)."""
    return torch.sigmoid(rewards[:, None] - rewards[None, :])


def parse_comparisons(text: str) -> tuple[Row, ...]:
    """Rows as the address holds them, such as ``A>B:3;B>C``."""
    rows = []
    for part in filter(str.strip, text.split(";")):
        ends, _, times = part.partition(":")
        winner, _, loser = ends.partition(">")
        rows.append((winner.strip(), loser.strip(), times.strip() or "1"))
    return tuple(rows)


def write_comparisons(rows: Sequence[Row]) -> str:
    """What ``parse_comparisons`` reads; the three signs that it reads become spaces in a name."""
    clean = str.maketrans(">:;", "   ")
    return ";".join(
        f"{winner.translate(clean)}>{loser.translate(clean)}:{times.translate(clean)}"
        for winner, loser, times in rows
    )
