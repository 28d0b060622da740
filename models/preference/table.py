"""Tables of pairs as people have them: typed cells, CSV, JSON. Every refusal names row and column.

A table keeps its cells as text, so that nothing typed is lost; ``read_pairs`` makes numbers of it. A
cell of log-probabilities holds one sum, or the values by token with spaces between them, in which
case the length may be left empty.
"""

import json
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.preference.losses import Pairs
from models.tables import Row, cell_of, number_of, read_records, typed_number
from models.tables import write_csv as write_records

COLUMNS = ("chosen", "rejected", "ref_chosen", "ref_rejected", "chosen_length", "rejected_length")
LENGTH_OF = {
    "chosen": "chosen_length",
    "ref_chosen": "chosen_length",
    "rejected": "rejected_length",
    "ref_rejected": "rejected_length",
}
MOST_PAIRS = 10_000
LONGEST_ANSWER = 1_000_000  # tokens
LOWEST = -1e6  # of a log-probability: what float32 still tells apart from its neighbours


def read_pairs(rows: Sequence[Row], tail: float = 1.0, lengths: bool = True) -> Pairs:
    """The table as numbers. Raises InputError on the first cell that cannot be one, by row and column.

    ``tail`` is LD-DPO's α: in the longer answer of a pair, tokens beyond the shorter one's length count
    so much. Below 1 it needs the values by token. Where ``lengths`` are not needed, an empty one that no
    list of values gives stands as 1 token.
    """
    if not rows:
        raise InputError("The table is empty; enter at least one pair.")
    if len(rows) > MOST_PAIRS:
        raise InputError(
            "The table has {count} rows; at most {most} are accepted.", count=len(rows), most=MOST_PAIRS
        )
    read = [_read_row(row, number, tail, lengths) for number, row in enumerate(rows, 1)]
    return Pairs(*torch.tensor(read, dtype=torch.float64).unbind(1))


def _read_row(row: Row, number: int, tail: float, needs_lengths: bool) -> list[float]:
    cells = dict(zip(COLUMNS, row, strict=True))
    listed: dict[str, list[float]] = {}
    tokens: dict[str, tuple[int, str]] = {}  # a length, and the column whose list says so
    for name, length in LENGTH_OF.items():
        found = listed[name] = [_log_probability(word, number, name) for word in cells[name].split()]
        if not found:
            raise InputError("Row {row}, column {column}: the cell is empty.", row=number, column=name)
        if len(found) > 1:
            known = tokens.setdefault(length, (len(found), name))
            if known[0] != len(found):
                raise InputError(
                    "Row {row}, column {column}: {count} tokens here, {other} in {column2}; "
                    "policy and reference read the same answer.",
                    row=number,
                    column=name,
                    count=len(found),
                    other=known[0],
                    column2=known[1],
                )
    lengths = {
        name: 1.0
        if not needs_lengths and not cells[name].strip() and name not in tokens
        else _length(cells[name], number, name, tokens.get(name))
        for name in COLUMNS[4:]
    }
    shared = int(min(lengths.values()))
    sums = [
        _summed(listed[name], shared, tail, (number, name, int(lengths[length])))
        for name, length in LENGTH_OF.items()
    ]
    by_name = dict(zip(LENGTH_OF, sums, strict=True)) | lengths
    return [by_name[name] for name in COLUMNS]


def _summed(values: list[float], shared: int, tail: float, place: tuple[int, str, int]) -> float:
    """The sum over an answer's tokens, what lies beyond the shorter answer's length times ``tail``."""
    number, name, length = place
    if tail == 1 or length <= shared:
        return math.fsum(values)
    if len(values) != length:
        raise InputError(
            "Row {row}, column {column}: LD-DPO needs the values by token, with spaces between them.",
            row=number,
            column=name,
        )
    return math.fsum(values[:shared]) + tail * math.fsum(values[shared:])


def _log_probability(word: str, row: int, column: str) -> float:
    value = number_of(word, row, column)
    if value > 0:
        raise InputError(
            "Row {row}, column {column}: {value} is positive; the logarithm of a probability is at most 0.",
            row=row,
            column=column,
            value=word[:40],
        )
    if value < LOWEST:
        raise InputError(
            "Row {row}, column {column}: {value} is too low; {least} is the least that is accepted.",
            row=row,
            column=column,
            value=word[:40],
            least=f"{LOWEST:.0f}",
        )
    return value


def _length(cell: str, row: int, column: str, tokens: tuple[int, str] | None) -> float:
    """A length in tokens, as written or as the lists of tokens have it."""
    if not cell.strip():
        if tokens is None:
            raise InputError("Row {row}, column {column}: the cell is empty.", row=row, column=column)
        return float(tokens[0])
    value = number_of(cell.strip(), row, column)
    if value != int(value) or not 1 <= value <= LONGEST_ANSWER:
        raise InputError(
            "Row {row}, column {column}: {value} is no length; whole numbers from 1 to {most} are.",
            row=row,
            column=column,
            value=cell.strip()[:40],
            most=LONGEST_ANSWER,
        )
    if tokens is not None and value != tokens[0]:
        raise InputError(
            "Row {row}, column {column}: {value} does not fit the {count} tokens listed in {column2}.",
            row=row,
            column=column,
            value=cell.strip()[:40],
            count=tokens[0],
            column2=tokens[1],
        )
    return value


def parse_file(data: bytes) -> tuple[Row, ...]:
    """The rows of a CSV or JSON file, as text. Raises InputError on anything else.

    CSV has a first line with the names of COLUMNS, in any order. JSON is a list of objects with these
    names, or one object with a list for each; a cell may be a list of numbers, one a token.
    """
    records = read_records(data, COLUMNS[:4], MOST_PAIRS)
    return tuple(_row_of(record) for record in records)


def _row_of(record: dict[str, str]) -> Row:
    """A record as a row; a list of a single token says the length as longer lists do."""
    cells = {name: _by_token(record.get(name, "")) for name in COLUMNS}
    for name, length in LENGTH_OF.items():
        if record[name].startswith("[") and len(cells[name].split()) == 1 and not cells[length]:
            cells[length] = "1"
    return tuple(cells.values())


def _by_token(cell: str) -> str:
    """A cell as the table keeps it: lists of tokens with spaces between them."""
    if cell.startswith("[") and cell.endswith("]"):
        return " ".join(cell[1:-1].replace(",", " ").split())
    return cell


def write_csv(rows: Sequence[Row]) -> bytes:
    """What ``parse_file`` reads back into the same cells."""
    return write_records([dict(zip(COLUMNS, row, strict=True)) for row in rows])


def write_json(rows: Sequence[Row]) -> bytes:
    """A list of objects: numbers, lists of numbers by token, and as text whatever is neither."""
    return json.dumps(
        [dict(zip(COLUMNS, map(_value, row), strict=True)) for row in rows], indent=1
    ).encode()


def _value(cell: str) -> float | list[float] | str:
    try:
        numbers = [typed_number(word) for word in cell.split()]
    except ValueError:
        return cell
    if not numbers or not all(map(math.isfinite, numbers)):
        return cell
    return numbers[0] if len(numbers) == 1 else numbers


def parse_text(text: str) -> tuple[Row, ...]:
    """A table as the address holds it: cells between commas, rows between semicolons.

    Cells that are missing are empty, and what is too much stands in the last one, for ``read_pairs`` to
    name.
    """
    last = len(COLUMNS) - 1
    rows = [[cell.strip() for cell in row.split(",")] for row in text.split(";") if row.strip()]
    return tuple((*row[:last], *[""] * (last - len(row)), " ".join(row[last:])) for row in rows)


def write_text(rows: Sequence[Row]) -> str:
    """What ``parse_text`` reads; commas and semicolons in a cell, which no number has, become spaces."""
    clean = str.maketrans(",;", "  ")
    return ";".join(",".join(cell.translate(clean) for cell in row) for row in rows)


def rows_of(pairs: Pairs) -> tuple[Row, ...]:
    """Numbers as a table's cells, every digit kept."""
    columns: list[Float[Tensor, " pair"]] = list(vars(pairs).values())
    return tuple(tuple(cell_of(float(value)) for value in row) for row in torch.stack(columns, 1).tolist())
