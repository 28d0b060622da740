"""A matrix of one's own, against NumPy's own reading and writing."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.quantization.own_matrix import MOST_BYTES, MOST_NUMBERS, read_file, read_text

SIZES = st.integers(1, 9)


def npy(values: object, **options: object) -> bytes:
    out = io.BytesIO()
    np.save(out, values, **options)
    return out.getvalue()


@given(
    rows=SIZES, columns=SIZES, seed=st.integers(0, 99), between=st.sampled_from([",", ";", "\t", " ", ", "])
)
def test_text_is_what_numpy_wrote(rows, columns, seed, between):
    values = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    text = io.StringIO()
    np.savetxt(text, values, delimiter=between, fmt="%.9g")
    assert torch.equal(read_text(text.getvalue()), torch.from_numpy(values))
    named = between.join(f"c{number}" for number in range(columns)) + "\n" + text.getvalue()
    assert torch.equal(read_file("own.csv", b"\xef\xbb\xbf" + named.encode()), torch.from_numpy(values))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", "bool", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files_of_every_kind_of_number(dtype, order):
    values = np.asarray(np.random.default_rng(0).standard_normal((3, 5)) * 2).astype(dtype)
    read = read_file("w.NPY", npy(np.asarray(values, order=order)))
    assert read.dtype == torch.float32
    np.testing.assert_array_equal(read.numpy(), values.astype(np.float32))


def test_a_pasted_list_of_lists_is_read():
    for text in ("[[1, -2.5e-1],\n [3, 4]]\n\n", "[[1, -2.5e-1], [3, 4]]"):
        assert read_text(text).tolist() == [[1.0, -0.25], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no numbers yet"),
        ("a, b", "column 1: 'a'"),
        ("1, 2\n3", "Row 2 has 1 numbers"),
        ("1, 2\n3, x", "Row 2, column 2: 'x'"),
        ("1,,2", "Row 1, column 2: the cell is empty"),
        ("1, nan", "Row 1, column 2"),
        ("1, inf", "Row 1, column 2"),
        ("1, 1e39", "1e.39 is not a finite number in float32"),
        ("1," * 600_000, "larger than 1 MB"),
    ],
)
def test_what_text_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        read_text(text)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("w.npy", b"hello", "no .npy file"),
        ("w.npy", b"", "no .npy file"),
        ("w.npy", npy(np.zeros((4, 4)))[:-8], "no .npy file"),
        ("w.npy", npy(np.zeros(4)), "the shape 4"),
        ("w.npy", npy(np.float64(3)), r"the shape \(\)"),
        ("w.npy", npy(np.zeros((2, 3, 4))), "2 × 3 × 4"),
        ("w.npy", npy(np.zeros((0, 4))), "is empty"),
        ("w.npy", npy(np.array([["a"]])), "no .npy file"),
        ("w.npy", npy(np.zeros((2, 2), complex)), "no .npy file"),
        ("w.npy", npy(np.array([[{}]], dtype=object), allow_pickle=True), "no .npy file"),
        ("w.npy", npy(np.array([[1.0, np.nan]])), "Row 1, column 2: nan"),
        ("w.npy", npy(np.zeros((1000, 501), np.int8)), "501,000 numbers; at most 500,000"),
        ("w.npy", b"0" * (MOST_BYTES + 1), "larger than 1 MB"),
        ("w.csv", b"\xff\xfe\x00", "neither a .npy file nor text"),
    ],
)
def test_what_file_is_refused(name, data, said):
    with pytest.raises(InputError, match=said):
        read_file(name, data)


def test_as_much_as_is_allowed_is_read():
    assert read_file("w.npy", npy(np.zeros((500, MOST_NUMBERS // 500), np.int8))).shape == (500, 1000)
