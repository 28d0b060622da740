"""Groups of answers as a table: rewards, lengths and ratios, from a file and into one."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
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
    """Numbers of a batch of groups, [groups, answers] each."""

    rewards: Float[Tensor, "groups answers"]
    lengths: Float[Tensor, "groups answers"]  # tokens
    ratios: Float[Tensor, "groups answers"]  # π/π_old of every token of the answer


def read_groups(rewards: Grid, lengths: Grid, ratios: Grid) -> Groups:
    """Three grids as numbers. Raises InputError on the first cell that cannot be, by row and column."""
    read = [numbers(grid, MOST_GROUPS, MOST_ANSWERS) for grid in (rewards, lengths, ratios)]
    for name, values in (("lengths", read[1]), ("ratios", read[2])):
        if values.shape != read[0].shape:
            raise InputError(
                "There are {rows} × {columns} rewards and {other_rows} × {other_columns} {name}.",
                rows=read[0].shape[0],
                columns=read[0].shape[1],
                other_rows=values.shape[0],
                other_columns=values.shape[1],
                name=name,
            )
    check_lengths(read[1])
    if (read[1] > MOST_LENGTH).any():
        raise InputError("An answer here has at most {most} tokens.", most=f"{MOST_LENGTH:.0f}")
    if (read[2] <= 0).any():
        row, column = (read[2] <= 0).nonzero()[0].tolist()
        raise InputError(
            "Row {row}, column {column}: a ratio of two probabilities is above 0.",
            row=row + 1,
            column=column + 1,
        )
    return Groups(*read)


def parse_file(data: bytes) -> tuple[Grid, Grid, Grid]:
    """Rewards, lengths and ratios of a CSV or JSON file: one row an answer.

    Columns: group and reward, and where there are, length (else 1) and ratio (else 1); answers of a
    group stay in order. Raises InputError on groups of different sizes, and as ``read_records`` does.
    """
    records = read_records(data, REQUIRED, MOST_GROUPS * MOST_ANSWERS)
    groups: dict[str, list[dict[str, str]]] = {}
    for number, record in enumerate(records, 1):
        number_of(record["reward"], number, "reward")
        groups.setdefault(record["group"], []).append(record)
    sizes = {name: len(answers) for name, answers in groups.items()}
    first = next(iter(sizes))
    for name, size in sizes.items():
        if size != sizes[first]:
            raise InputError(
                "Group {group} has {count} answers and group {other} has {more}; all must have as many.",
                group=name[:40],
                count=size,
                other=first[:40],
                more=sizes[first],
            )

    def grid(column: str) -> Grid:
        return tuple(tuple(record.get(column, "1") for record in answers) for answers in groups.values())

    return grid("reward"), grid("length"), grid("ratio")


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

    Every average and every ratio of models.policy.losses is then what it would be token by token.
    """
    log_p = groups.ratios.flatten().log()[:, None]
    none = torch.zeros_like(log_p)
    return Rollout(log_p, none, none, advantages.flatten(), groups.lengths.flatten()[:, None])
