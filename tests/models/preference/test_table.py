"""Tables of pairs: what is read, what is refused, and files that come back as they went."""

import json

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.preference.table import (
    COLUMNS,
    MOST_PAIRS,
    parse_file,
    parse_text,
    read_pairs,
    rows_of,
    write_csv,
    write_json,
    write_text,
)

GOOD = ("-10", "-14", "-11", "-13", "5", "10")
logps = st.floats(-500, 0, allow_subnormal=False)
lengths = st.integers(1, 4_000)
rows = st.lists(
    st.tuples(*[logps.map(repr)] * 4, *[lengths.map(str)] * 2).map(tuple), min_size=1, max_size=8
)


def changed(place: int, cell: str):
    return tuple(cell if index == place else old for index, old in enumerate(GOOD))


def test_numbers_are_read():
    pairs = read_pairs([GOOD])
    assert [float(column) for column in vars(pairs).values()] == [-10, -14, -11, -13, 5, 10]


def test_values_by_token_are_added_up_and_give_the_length():
    row = ("-1 -2 -3.5", "-4", "-1 -1 -1", "-5", "", "7")
    pairs = read_pairs([row])
    assert pairs.chosen.item() == -6.5
    assert pairs.chosen_length.item() == 3


def test_the_tail_of_the_longer_answer_counts_less():
    row = ("-1 -2 -3 -4", "-1 -1", "-1 -1 -1 -1", "-2 -2", "", "")
    pairs = read_pairs([row], tail=0.5)
    assert pairs.chosen.item() == -1 - 2 - 0.5 * 7
    assert pairs.rejected.item() == -2
    with pytest.raises(InputError, match="Row 1, column chosen: LD-DPO needs the values by token"):
        read_pairs([("-10", "-2", "-9", "-2", "5", "2")], tail=0.5)


@given(rows)
def test_files_come_back_to_the_same_numbers(table):
    expected = read_pairs(table)
    for written in (write_csv(table), write_json(table)):
        again = read_pairs(parse_file(written))
        for name in vars(expected):
            assert torch.equal(getattr(again, name), getattr(expected, name))
    assert read_pairs(parse_text(write_text(table))).chosen.tolist() == expected.chosen.tolist()
    assert read_pairs(rows_of(expected)).rejected.tolist() == expected.rejected.tolist()


@given(rows)
def test_what_pandas_writes_is_read(table):
    frame = pd.DataFrame(table, columns=list(COLUMNS)).astype(float)
    expected = read_pairs(table)
    for written in (
        frame.to_csv(index=False).encode(),
        frame.to_json(orient="records", double_precision=15).encode(),
        frame[list(reversed(COLUMNS))].to_csv(index=False).encode("utf-8-sig"),
    ):
        torch.testing.assert_close(read_pairs(parse_file(written)).chosen, expected.chosen)
    columns = json.dumps({name: list(frame[name]) for name in COLUMNS}).encode()
    assert torch.equal(read_pairs(parse_file(columns)).rejected, expected.rejected)


def test_lists_by_token_in_json_and_csv():
    item = dict(zip(COLUMNS, ([-1, -2.5], -4, [-1, -1], -5, None, 7), strict=True))
    assert parse_file(json.dumps([item]).encode()) == (("-1 -2.5", "-4", "-1 -1", "-5", "", "7"),)
    text = 'chosen,rejected,ref_chosen,ref_rejected,rejected_length\n"[-1, -2.5]",-4,-1 -1,-5,7\n'
    assert read_pairs(parse_file(text.encode())).chosen_length.item() == 2


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (changed(0, "0.5"), "Row 2, column chosen: 0.5 is positive"),
        (changed(3, "3"), "Row 2, column ref_rejected: 3 is positive"),
        (changed(1, ""), "Row 2, column rejected: the cell is empty"),
        (changed(2, "-x"), "Row 2, column ref_chosen: '-x' is not a finite number"),
        (changed(2, "nan"), "Row 2, column ref_chosen: 'nan' is not a finite number"),
        (changed(2, "-1e999"), "Row 2, column ref_chosen: '-1e999' is not a finite number"),
        (changed(0, "-1e12"), "Row 2, column chosen: -1e12 is too low"),
        (changed(0, "-1 -2 0.1"), "Row 2, column chosen: 0.1 is positive"),
        (changed(4, "0"), "Row 2, column chosen_length: 0 is no length"),
        (changed(4, "2.5"), "Row 2, column chosen_length: 2.5 is no length"),
        (changed(5, "-3"), "Row 2, column rejected_length: -3 is no length"),
        (changed(5, "1e308"), "Row 2, column rejected_length: 1e308 is no length"),
        (changed(5, ""), "Row 2, column rejected_length: the cell is empty"),
        (("-1 -2", "-1", "-1 -2 -3", "-1", "", "1"), "column ref_chosen: 3 tokens here, 2 in chosen"),
        (("-1 -2", "-1", "-3", "-1", "3", "1"), "column chosen_length: 3 does not fit the 2 tokens"),
    ],
)
def test_bad_cells_are_named(row, sentence):
    with pytest.raises(InputError, match=sentence):
        read_pairs([GOOD, row])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "neither CSV nor JSON"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "neither CSV nor JSON"),
        (b"Dear sir,\nno table here", "There is no column chosen; needed are chosen, rejected"),
        (b"[1, 2", "begins like JSON"),
        (b"[1, 2]", "JSON must be a list of objects"),
        (b"[" * 100_000, "begins like JSON"),
        (b"{}", "no rows"),
        (b'[{"chosen": -1}]', "There is no column rejected"),
        (
            b'{"chosen": [-1, -2], "rejected": [-1], "ref_chosen": [-1, -1], "ref_rejected": [-1, -1]}',
            "Column rejected has 1 rows and column chosen has 2",
        ),
        (
            b'{"chosen": -1, "rejected": [-1], "ref_chosen": [-1], "ref_rejected": [-1]}',
            "Column chosen is no list",
        ),
        (b"chosen,rejected,ref_chosen,ref_rejected\n-1,-2,-3\n", "Row 1 has 3 cells"),
        (b"chosen,rejected,ref_chosen,ref_rejected\n", "no rows"),
        (b"[]", "no rows"),
        (
            b"chosen,rejected,ref_chosen,ref_rejected\n" + b"-1,-2,-1,-2\n" * 100_000,
            "The table has 100000 rows",
        ),
        (b'chosen,rejected\n"-1,-2', "neither CSV nor JSON"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(data, sentence):
    with pytest.raises(InputError, match=sentence):
        parse_file(data)


@pytest.mark.slow
def test_too_many_and_too_few_rows():
    with pytest.raises(InputError, match="100000 rows"):
        read_pairs([GOOD] * 100_000)
    with pytest.raises(InputError, match="empty"):
        read_pairs([])
    assert len(read_pairs([GOOD] * MOST_PAIRS)) == MOST_PAIRS


def test_an_address_with_too_few_or_too_many_cells():
    assert parse_text("-1,-2") == (("-1", "-2", "", "", "", ""),)
    with pytest.raises(InputError, match="Row 1, column ref_chosen: the cell is empty"):
        read_pairs(parse_text("-1,-2"))
    with pytest.raises(InputError, match="Row 1, column rejected_length: '1 2' is not a finite"):
        read_pairs(parse_text("-1,-2,-1,-2,1,1,2"))
    assert parse_text(" ; ;") == ()


@pytest.mark.parametrize(
    "data",
    [
        b"chosen,rejected,ref_chosen,ref_rejected\n[-1.5],[-2],[-1],[-3]",
        b'[{"chosen": [-1.5], "rejected": [-2], "ref_chosen": [-1], "ref_rejected": [-3]}]',
    ],
)
def test_a_list_of_one_token_says_its_length_as_longer_ones_do(data):
    (row,) = parse_file(data)
    assert row == ("-1.5", "-2", "-1", "-3", "1", "1")
    assert read_pairs((row,)).chosen_length.tolist() == [1]


def test_a_sum_still_needs_its_length():
    rows = parse_file(b"chosen,rejected,ref_chosen,ref_rejected\n-1.5,-2,-1,-3")
    with pytest.raises(InputError, match="chosen_length"):
        read_pairs(rows)


def test_a_formula_in_the_table_leaves_as_text():
    assert b"'=HYPERLINK" in write_csv((("=HYPERLINK(1)", "-2", "-1", "-2", "1", "1"),))
