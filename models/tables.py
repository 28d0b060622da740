"""Tables as people have them: CSV, JSON, and grids of numbers as text. Refusals name row and column.

Cells stay text, so that nothing typed is lost; ``numbers`` makes numbers of a grid.
"""

import csv
import io
import json
import math
from collections.abc import Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError

MOST_BYTES = 20_000_000
FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
Row = tuple[str, ...]
Grid = tuple[Row, ...]


def parse_grid(text: str) -> Grid:
    """A grid as the address holds it: cells between commas, rows between semicolons."""
    return tuple(tuple(cell.strip() for cell in row.split(",")) for row in text.split(";") if row.strip())


def write_grid(grid: Grid) -> str:
    """What ``parse_grid`` reads; commas and semicolons inside a cell, which no number has, go."""
    clean = str.maketrans(",;", "  ")
    return ";".join(",".join(cell.translate(clean) for cell in row) for row in grid)


def numbers(grid: Grid, most_rows: int, most_columns: int) -> Float[Tensor, "rows columns"]:
    """A grid as numbers. Raises InputError on the first cell that is none, by row and column."""
    if not grid or not grid[0]:
        raise InputError("The table is empty; enter at least one row.")
    if len(grid) > most_rows:
        raise InputError(
            "The table has {count} rows; at most {most} are accepted.", count=len(grid), most=most_rows
        )
    if len(grid[0]) > most_columns:
        raise InputError(
            "The table has {count} columns; at most {most} are accepted.",
            count=len(grid[0]),
            most=most_columns,
        )
    for number, row in enumerate(grid, 1):
        if len(row) != len(grid[0]):
            raise InputError(
                "Row {row} has {count} cells and the first one {columns}; all rows must have as many.",
                row=number,
                count=len(row),
                columns=len(grid[0]),
            )
    values = [
        [number_of(cell, row, column) for column, cell in enumerate(cells, 1)]
        for row, cells in enumerate(grid, 1)
    ]
    return torch.tensor(values, dtype=torch.float64)


def number_of(cell: str, row: int, column: int | str) -> float:
    """One cell as a number. Raises InputError where it is empty or no finite number."""
    if not cell.strip():
        raise InputError("Row {row}, column {column}: the cell is empty.", row=row, column=column)
    try:
        value = typed_number(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            "Row {row}, column {column}: {value} is not a finite number.",
            row=row,
            column=column,
            value=repr(cell[:40]),
        )
    return value


def typed_number(text: str) -> float:
    """A number as people write it. Raises ValueError on anything else, also on Python's own 1_000."""
    if "_" in text:
        raise ValueError("A number has no underscore.")
    return float(text)


def cell_of(value: float) -> str:
    """A number as a cell, every digit kept."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def grid_of(values: Float[Tensor, "rows columns"]) -> Grid:
    return tuple(tuple(cell_of(value) for value in row) for row in values.tolist())


def read_records(data: bytes, required: Sequence[str], most_rows: int) -> list[dict[str, str]]:
    """The rows of a CSV or JSON file by the names of their columns, cells as text.

    CSV has a first line of names. JSON is a list of objects, or one object with a list for each
    column. Raises InputError on anything else, on missing columns, unequal ones, and too many rows.
    """
    if len(data) > MOST_BYTES:
        raise InputError("The file is larger than {most} MB.", most=MOST_BYTES // 1_000_000)
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or "\0" in text:
        raise InputError("The file is neither CSV nor JSON.")
    records = _from_json(text) if text[0] in "[{" else _from_csv(text, required)
    if not records:
        raise InputError("The file has no rows.")
    if len(records) > most_rows:
        raise InputError(
            "The table has {count} rows; at most {most} are accepted.", count=len(records), most=most_rows
        )
    _need(set().union(*records), required)
    for number, record in enumerate(records, 1):
        for name in required:
            if name not in record:
                raise InputError("Row {row} has no column {column}.", row=number, column=name)
    return records


def _need(names: Collection[str], required: Sequence[str]) -> None:
    for name in required:
        if name not in names:
            raise InputError(
                "There is no column {column}; needed are {columns}.",
                column=name,
                columns=", ".join(required),
            )


def _from_csv(text: str, required: Sequence[str]) -> list[dict[str, str]]:
    try:
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if any(map(str.strip, line))]
    except csv.Error as error:
        raise InputError("The file is neither CSV nor JSON.") from error
    if not lines:
        raise InputError("The file has no rows.")
    names = [name.strip() for name in lines[0]]
    _refuse_twice(names)
    _need(names, required)
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(names):
            raise InputError(
                "Row {row} has {count} cells; the first line names {columns} columns.",
                row=number,
                count=len(line),
                columns=len(names),
            )
    return [dict(zip(names, map(_as_typed, line), strict=True)) for line in lines[1:]]


def _refuse_twice(names: Sequence[str]) -> None:
    """Raises InputError on a name that occurs twice: which of the two counts, nobody said."""
    for number, name in enumerate(names):
        if name and name in names[:number]:
            raise InputError("The column {column} is there twice.", column=name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_twice([name.strip() for name, _value in pairs])
    return {name.strip(): value for name, value in pairs}


def _from_json(text: str) -> list[dict[str, str]]:
    try:
        data = json.loads(text, object_pairs_hook=_object)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError("The file begins like JSON and cannot be read as JSON.") from error
    if isinstance(data, dict):
        data = _transposed(data)
    if not all(isinstance(item, dict) for item in data):
        raise InputError("JSON must be a list of objects, or one object with a list for each column.")
    return [
        {name: _text(value, row, name) for name, value in item.items()} for row, item in enumerate(data, 1)
    ]


def _transposed(columns: dict[str, Any]) -> list[dict[str, Any]]:
    for name, column in columns.items():
        if not isinstance(column, list):
            raise InputError("Column {column} is no list.", column=name)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise InputError(
            "Column {column} has {count} rows and column {other} has {more}.",
            column=short,
            count=lengths[short],
            other=long,
            more=lengths[long],
        )
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _text(value: object, row: int, column: str) -> str:
    """A value of JSON as a cell: lists with spaces between what they hold, one of a single value in
    brackets. Raises InputError on lists in lists and on objects.
    """
    if isinstance(value, list):
        if any(isinstance(item, list | dict) for item in value):
            raise InputError(
                "Row {row}, column {column}: a cell is a number, a text, or a list of numbers.",
                row=row,
                column=column,
            )
        words = [_text(item, row, column) for item in value]
        return f"[{words[0]}]" if len(words) == 1 else " ".join(words)
    if isinstance(value, dict):
        raise InputError(
            "Row {row}, column {column}: a cell is a number, a text, or a list of numbers.",
            row=row,
            column=column,
        )
    if isinstance(value, float):
        return cell_of(value) if math.isfinite(value) else repr(value)
    return "" if value is None else str(value)


def write_csv(records: Sequence[dict[str, str]]) -> bytes:
    """What ``read_records`` reads back into the same cells; none is a formula to a spreadsheet."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]) if records else [])
    writer.writeheader()
    writer.writerows({name: no_formula(cell) for name, cell in record.items()} for record in records)
    return file.getvalue().encode()


def no_formula(cell: str) -> str:
    """The cell, with an apostrophe before = + - @ that begin no number: a spreadsheet would run it."""
    if not cell.lstrip().startswith(FORMULA_STARTS):
        return cell
    try:
        for word in cell.split():
            typed_number(word)
    except ValueError:
        return f"'{cell}"
    return cell


def _as_typed(cell: str) -> str:
    """A cell of a file without the apostrophe that ``no_formula`` put there."""
    cell = cell.strip()
    return cell[1:].strip() if cell[:1] == "'" and cell[1:].lstrip().startswith(FORMULA_STARTS) else cell


def write_json(records: Sequence[dict[str, str]]) -> bytes:
    """The same as a list of objects, cells as the text that was typed."""
    return json.dumps(list(records), ensure_ascii=False, indent=1).encode()
