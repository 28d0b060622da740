"""Groups of answers as a table: rewards, lengths and ratios, from a file and into one."""

from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.errors import InputError
from models.policy.group_advantages import check_lengths
from models.policy.losses import Rollout
from models.tables import Grid, cell_of, grid_of, number_of, numbers, read_records

COLUMNS = ("group", "answer", "reward", "length", "ratio")
REQUIRED = ("group", "reward")
MOST_GROUPS = MOST_ANSWERS = 64
MOST_LENGTH = 100_000.0


@dataclass(frozen=True, eq=False)
class Groups:
    """Numbers of a batch of groups, [groups, answers] each; groups may differ in size.

    Where ``mask`` is False there is no answer, and the numbers there mean nothing.
    """

    rewards: Float[Tensor, "groups answers"]
    lengths: Float[Tensor, "groups answers"]  # tokens
    ratios: Float[Tensor, "groups answers"]  # π/π_old of every token of the answer
    mask: Bool[Tensor, "groups answers"]

    @property
    def sizes(self) -> list[int]:
        """Answers in each group."""
        return self.mask.sum(1).tolist()

    @property
    def is_ragged(self) -> bool:
        return len(set(self.sizes)) > 1

    def with_rewards(self, rewards: Float[Tensor, "groups answers"]) -> "Groups":
        return replace(self, rewards=rewards)


def trimmed(grid: Grid) -> Grid:
    """The grid without the empty cells at the ends of its rows: those groups have fewer answers."""
    rows = []
    for row in grid:
        filled = [number for number, cell in enumerate(row, 1) if cell.strip()]
        rows.append(row[: max(filled, default=1)])
    return tuple(rows)


def shaped_like(grid: Grid, other: Grid, filling: float) -> Grid:
    """The grid with as many cells in each row as the other has, cut or filled up."""
    filled = cell_of(filling)
    rows = [grid[number] if number < len(grid) else () for number in range(len(other))]
    return tuple(
        (*row[: len(like)], *[filled] * (len(like) - len(row)))
        for row, like in zip(rows, other, strict=True)
    )


def read_groups(rewards: Grid, lengths: Grid, ratios: Grid) -> Groups:
    """Three grids as numbers; a row whose last cells are missing or empty is a smaller group.

    Raises InputError on the first cell that cannot be, by row and column.
    """
    rewards = trimmed(rewards)
    read = [_filled(rewards)]
    for number, (row, cells) in enumerate(zip_longest(rewards, lengths, fillvalue=()), 1):
        if len(row) != len(cells):
            raise InputError(
                "Row {row} has {count} rewards and {other} lengths.",
                row=number,
                count=len(row),
                other=len(cells),
            )
    for number, (row, cells) in enumerate(zip_longest(rewards, ratios, fillvalue=()), 1):
        if len(row) != len(cells):
            raise InputError(
                "Row {row} has {count} rewards and {other} ratios.",
                row=number,
                count=len(row),
                other=len(cells),
            )
    read += [_filled(lengths), _filled(ratios)]
    _check_cells(read[1], read[2])
    sizes = torch.tensor([len(row) for row in rewards])
    rewards_read, lengths_read, ratios_read = read
    is_there = torch.arange(rewards_read.shape[1]) < sizes[:, None]
    return Groups(rewards_read, lengths_read, ratios_read, is_there)


def _filled(grid: Grid) -> Float[Tensor, "groups answers"]:
    """The grid as numbers, with 1 where a group has no answer."""
    width = max(map(len, grid), default=0)
    return numbers(tuple((*row, *["1"] * (width - len(row))) for row in grid), MOST_GROUPS, MOST_ANSWERS)


def _check_cells(lengths: Float[Tensor, "groups answers"], ratios: Float[Tensor, "groups answers"]) -> None:
    check_lengths(lengths)
    if (lengths > MOST_LENGTH).any():
        raise InputError("An answer here has at most {most} tokens.", most=f"{MOST_LENGTH:.0f}")
    if (ratios <= 0).any():
        row, column = (ratios <= 0).nonzero()[0].tolist()
        raise InputError(
            "Row {row}, column {column}: a ratio of two probabilities is above 0.",
            row=row + 1,
            column=column + 1,
        )


def parse_file(data: bytes) -> tuple[Grid, Grid, Grid]:
    """Rewards, lengths and ratios of a CSV or JSON file: one row an answer.

    Columns: group and reward, and where there are, length (else 1) and ratio (else 1); answers of a
    group stay in order, and groups may differ in size. Raises InputError as ``read_records`` does, and
    on more groups, or more answers in one, than are accepted.
    """
    records = read_records(data, REQUIRED, MOST_GROUPS * MOST_ANSWERS)
    groups: dict[str, list[dict[str, str]]] = {}
    for number, record in enumerate(records, 1):
        if not record["group"]:
            raise InputError("Row {row}, column {column}: the cell is empty.", row=number, column="group")
        number_of(record["reward"], number, "reward")
        groups.setdefault(record["group"], []).append(record)
    check_size(len(groups), max(map(len, groups.values())))

    def grid(column: str) -> Grid:
        return tuple(tuple(record.get(column, "1") for record in answers) for answers in groups.values())

    return grid("reward"), grid("length"), grid("ratio")


def check_size(groups: int, answers: int) -> None:
    """Raises InputError on more groups or answers than are accepted."""
    if groups > MOST_GROUPS or answers > MOST_ANSWERS:
        raise InputError(
            "The table has {groups} groups of {answers} answers; at most {most} of each are accepted.",
            groups=groups,
            answers=answers,
            most=MOST_GROUPS,
        )


def records_of(rewards: Grid, lengths: Grid, ratios: Grid) -> list[dict[str, str]]:
    """One row an answer, cells as they were typed: what ``parse_file`` reads back."""
    return [
        dict(zip(COLUMNS, (str(group), str(answer), *cells), strict=True))
        for group, rows in enumerate(zip(rewards, lengths, ratios, strict=True), 1)
        for answer, cells in enumerate(zip(*rows, strict=True), 1)
    ]


def resized(grid: Grid, groups: int, answers: int, filling: float) -> Grid:
    """The grid cut or filled up to another size."""
    filled = cell_of(filling)
    rows = [[*row[:answers], *[filled] * (answers - len(row))] for row in grid[:groups]]
    rows += [[filled] * answers for _ in range(groups - len(rows))]
    return tuple(tuple(row) for row in rows)


def example(groups: int, answers: int, seed: int) -> tuple[Grid, Grid, Grid]:
    """Random groups: right or wrong at a rate of the group's own, wrong answers longer, ratios near 1."""
    generator = torch.Generator().manual_seed(seed)
    rate = torch.rand(groups, 1, generator=generator)
    right = (torch.rand(groups, answers, generator=generator) < rate).double()
    length = 20 + 100 * torch.rand(groups, answers, generator=generator) * (1.8 - right)
    ratio = (0.15 * torch.randn(groups, answers, generator=generator)).exp()
    return grid_of(right), grid_of(length.round().double()), grid_of((100 * ratio.double()).round() / 100)


def rollout_of(groups: Groups, advantages: Float[Tensor, "groups answers"]) -> Rollout:
    """The batch with one column an answer, whose mask counts its tokens: they all have one ratio.

    Every average and every ratio of models.policy.losses is then what it would be token by token. Rows
    are the answers that there are, group by group; ``laid_out`` puts what is one a row back.
    """
    log_p = groups.ratios[groups.mask].log()[:, None]
    none = torch.zeros_like(log_p)
    return Rollout(log_p, none, none, advantages[groups.mask], groups.lengths[groups.mask][:, None])


def laid_out(groups: Groups, values: Float[Tensor, " present"]) -> Float[Tensor, "groups answers"]:
    """One value an answer that there is, as a table; NaN where there is none."""
    table = torch.full_like(groups.rewards, torch.nan)
    table[groups.mask] = values
    return table
