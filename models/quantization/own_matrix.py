"""A matrix of one's own: numbers as text, or a .npy or .csv file. Refusals say what is wrong, and where."""

import io
import re

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.tables import number_of, typed_number

MOST_BYTES = 1_000_000
MOST_NUMBERS = 500_000  # 1 MB of float16
_BETWEEN = re.compile(r"\s*[,;\t]\s*| +")


def read_text(text: str) -> Float[Tensor, "rows columns"]:
    """Rows as lines, numbers between commas, semicolons, tabs or spaces; float32.

    A first line without any number is taken for the names of the columns. Raises InputError on what is
    no finite number, by row and column, on rows of unequal length, and on too much.
    """
    if len(text.encode()) > MOST_BYTES:
        raise InputError("The matrix is larger than {most} MB.", most=MOST_BYTES // 1_000_000)
    lines = [
        _BETWEEN.split(line.strip().strip("[](),;").strip())
        for line in text.replace("],", "]\n").splitlines()
    ]
    rows = [cells for cells in lines if cells != [""]]
    if rows and not any(map(_is_number, rows[0])) and len(rows) > 1:
        rows = rows[1:]
    if not rows:
        raise InputError("There are no numbers yet: paste a matrix, a line for each row, or choose a file.")
    for number, cells in enumerate(rows, 1):
        if len(cells) != len(rows[0]):
            raise InputError(
                "Row {row} has {count} numbers and the first one {columns}; all rows need as many.",
                row=number,
                count=len(cells),
                columns=len(rows[0]),
            )
    values = [
        [number_of(cell, row, column) for column, cell in enumerate(cells, 1)]
        for row, cells in enumerate(rows, 1)
    ]
    return _checked(np.array(values))


def _is_number(cell: str) -> bool:
    try:
        typed_number(cell)
    except ValueError:
        return False
    return True


def read_file(name: str, data: bytes) -> Float[Tensor, "rows columns"]:
    """A .npy file with a matrix of numbers, or a .csv file; float32. Raises InputError on anything else."""
    if len(data) > MOST_BYTES:
        raise InputError("The matrix is larger than {most} MB.", most=MOST_BYTES // 1_000_000)
    if not name.lower().endswith(".npy"):
        try:
            return read_text(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise InputError("The file is neither a .npy file nor text with numbers.") from None
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError):  # objects, another format, or cut off
        raise InputError("The file is no .npy file with an array of numbers.") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise InputError("The file is no .npy file with an array of numbers.")
    if values.ndim != 2:
        raise InputError(
            "A matrix has two dimensions; the array in the file has the shape {shape}.",
            shape=" × ".join(map(str, values.shape)) or "()",
        )
    return _checked(values)


def _checked(values: np.ndarray) -> Float[Tensor, "rows columns"]:
    """As float32, where it is not empty, not too large, and finite in float32 as well."""
    if values.size == 0:
        raise InputError("The matrix is empty.")
    if values.size > MOST_NUMBERS:
        raise InputError(
            "The matrix has {count} numbers; at most {most} are accepted.",
            count=f"{values.size:,}",
            most=f"{MOST_NUMBERS:,}",
        )
    with np.errstate(over="ignore"):
        matrix = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    if not matrix.isfinite().all():
        row, column = (~matrix.isfinite()).nonzero()[0].tolist()
        raise InputError(
            "Row {row}, column {column}: {value} is not a finite number in float32.",
            row=row + 1,
            column=column + 1,
            value=f"{float(values[row, column]):.3g}",
        )
    return matrix
