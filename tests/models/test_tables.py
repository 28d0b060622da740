"""Tables of text and files: what is written is read back, and refusals name row and column."""

import csv
import io
import json
from contextlib import suppress

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.policy.group_advantages import advantages
from models.policy.group_table import (
    COLUMNS,
    example,
    parse_file,
    read_groups,
    records_of,
    resized,
    rollout_of,
    shaped_like,
)
from models.policy.losses import AGGREGATIONS, PolicyLoss, Rollout, objective
from models.tables import (
    grid_of,
    no_formula,
    numbers,
    parse_grid,
    read_records,
    write_csv,
    write_grid,
    write_json,
)

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 6))
NUMBERS = st.floats(-1e6, 1e6)
GRIDS = SIZES.flatmap(
    lambda size: st.lists(
        st.lists(NUMBERS, min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0]
    )
)


@given(GRIDS)
def test_a_grid_of_numbers_goes_through_text_unchanged(rows):
    values = torch.tensor(rows, dtype=torch.float64)
    grid = grid_of(values)
    assert torch.equal(numbers(parse_grid(write_grid(grid)), 64, 64), values)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99), st.sampled_from([write_csv, write_json]))
def test_an_exported_file_imports_to_the_same_cells(groups, answers, seed, write):
    made = example(groups, answers, seed)
    assert parse_file(write(records_of(*made))) == made


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_pandas_reads_the_exported_csv(groups, answers, seed):
    made = example(groups, answers, seed)
    frame = pd.read_csv(io.BytesIO(write_csv(records_of(*made))))
    assert tuple(frame.columns) == COLUMNS
    rewards = torch.tensor(frame.reward.to_numpy(), dtype=torch.float64).view(groups, answers)
    assert torch.equal(rewards, read_groups(*made).rewards)


def test_json_may_be_columns_and_lengths_may_be_left_out():
    data = json.dumps({"group": ["a", "a", "b", "b"], "reward": [1, 0.5, 0, None]}).encode()
    with pytest.raises(InputError, match="Row 4, column reward: the cell is empty"):
        parse_file(data)
    data = data.replace(b"null", b"-1e-3")
    assert parse_file(data) == ((("1", "0.5"), ("0", "-0.001")), (("1", "1"),) * 2, (("1", "1"),) * 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither CSV nor JSON"),
        (b"\xff\xfe\x00\x01", "neither CSV nor JSON"),
        (b"\x89PNG\r\n\x1a\n\x00", "neither CSV nor JSON"),
        (b'{"group": [1', "begins like JSON"),
        (b"[1, 2]", "list of objects"),
        (b'{"group": 1}', "no list"),
        (b'{"group": [1, 2], "reward": [1]}', "Column reward has 1 rows and column group has 2"),
        (b"group,reward", "no rows"),
        (b"a,b\n1,2", "There is no column group"),
        (b'[{"group": 1, "reward": 1}, {"group": 1}]', "Row 2 has no column reward"),
        (b"group,reward\n1,1\n1", "Row 2 has 1 cells; the first line names 2"),
        (b"group,reward\n1,1\n1,x", "Row 2, column reward: 'x'"),
        (b"group,reward\n1,nan\n", "Row 1, column reward: 'nan'"),
        (b"group,reward\n" + b"1,1\n" * 65, "1 groups of 65 answers"),
        (b"group,reward\n" + b"1,1\n" * 100_000, "100000 rows"),
        (b"[" * 100_000, "begins like JSON"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_a_sentence(data, words):
    with pytest.raises(InputError, match=words):
        parse_file(data)


def test_a_file_that_is_too_large_is_not_even_read():
    with pytest.raises(InputError, match="20 MB"):
        read_records(b" " * 20_000_001, (), 10)


@pytest.mark.parametrize(
    ("rewards", "lengths", "ratios", "words"),
    [
        ("1,0;1", "1,1;1,1", "1,1;1", "Row 2 has 1 rewards and 2 lengths"),
        ("1,0;1", "1,1;1", "1,1", "Row 2 has 1 rewards and 0 ratios"),
        (",1;1,0", "1,1;1,1", "1,1;1,1", "Row 1, column 1: the cell is empty"),
        ("1,0;,", "1,1;1", "1,1;1", "Row 2, column 1: the cell is empty"),
        ("1,1;1,1e999", "1,1;1,1", "1,1;1,1", "Row 2, column 2"),
        ("1,1", "1,0", "1,1", "row 1, column 2 is 0"),
        ("1,1", "1,1000000", "1,1", "at most 100000 tokens"),
        ("1,1", "1,1", "1,-1", "above 0"),
        ("1,1", "1,1,1", "1,1", "Row 1 has 2 rewards and 3 lengths"),
        ("", "", "", "empty"),
        (";".join(["1"] * 65), "1", "1", "65 rows"),
        (",".join(["1"] * 65), "1", "1", "65 columns"),
    ],
)
def test_a_table_that_is_none_is_refused_by_row_and_column(rewards, lengths, ratios, words):
    with pytest.raises(InputError, match=words):
        read_groups(*map(parse_grid, (rewards, lengths, ratios)))


def test_groups_may_differ_in_size_in_the_table_and_in_a_file():
    table = read_groups(*map(parse_grid, ("1,0,2;1,,;0.5,1,", "9,8,7;6;5,4", "1,1,1;1;1,2")))
    assert table.sizes == [3, 1, 2]
    assert table.is_ragged
    assert table.rewards[table.mask].tolist() == [1, 0, 2, 1, 0.5, 1]
    assert table.lengths[table.mask].tolist() == [9, 8, 7, 6, 5, 4]
    made = parse_file(b"group,reward,length\na,1,9\na,0,8\nb,1,6\na,2,7\n")
    assert made[:2] == (parse_grid("1,0,2;1"), parse_grid("9,8,7;6"))
    assert parse_file(write_csv(records_of(*made))) == made
    assert shaped_like(parse_grid("9,8,7;6"), parse_grid("1;1,1;1"), 100.0) == parse_grid("9;6,100;100")


@given(SIZES, SIZES)
def test_another_size_keeps_what_it_can(old, new):
    grid = example(*old, seed=0)[0]
    found = resized(grid, *new, 0.0)
    assert len(found) == new[0]
    assert all(len(row) == new[1] for row in found)
    for row in range(min(old[0], new[0])):
        shared = min(old[1], new[1])
        assert found[row][:shared] == grid[row][:shared]


@given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 99), st.sampled_from(AGGREGATIONS))
def test_one_column_an_answer_gives_the_loss_of_all_its_tokens(groups, answers, seed, aggregation):
    """The short form against every token written out."""
    table = read_groups(*example(groups, answers, seed))
    made = advantages(table.rewards)
    lengths = table.lengths.flatten()
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).double()
    log_p = table.ratios.flatten().log()[:, None].expand_as(mask)
    none = torch.zeros_like(mask)
    for level in ("token", "sequence"):
        loss = PolicyLoss(level=level, aggregation=aggregation)
        long = objective(Rollout(log_p, none, none, made.flatten(), mask), loss).total
        short = objective(rollout_of(table, made), loss).total
        assert float(short) == pytest.approx(float(long), abs=1e-9)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b",", "no rows"),
        (b'"\n"', "no rows"),
        (b'"",""\n , \n', "no rows"),
        (b"group,reward,reward\na,1,0\na,0,1", "column reward is there twice"),
        (b"group,reward, group\na,1,b", "column group is there twice"),
        (b'[{"group": "a", "reward": 1, "reward": 0}]', "column reward is there twice"),
        (b'{"group": ["a"], "reward": [1], " reward": [0]}', "column reward is there twice"),
        (b'[{"group": "a", "reward": ' + b"[" * 900 + b"]" * 900 + b"}]", "Row 1, column reward: a cell"),
        (b'[{"group": "a", "reward": {"x": 1}}]', "Row 1, column reward: a cell"),
        (b'[{"group": {"a": {}}, "reward": 1}]', "Row 1, column group: a cell"),
        (b"group,reward\n,1", "Row 1, column group: the cell is empty"),
        (b'[{"group": null, "reward": 1}]', "Row 1, column group: the cell is empty"),
        (b"group,reward\na,1_0", "Row 1, column reward: '1_0'"),
        (b'[{"group": "a", "reward": "1_0"}]', "Row 1, column reward: '1_0'"),
    ],
)
def test_files_that_leave_open_what_is_meant_are_refused(data, words):
    with pytest.raises(InputError, match=words):
        parse_file(data)


def test_columns_without_a_name_may_be_many():
    assert parse_file(b"group,reward,,\na,1,,\na,0,,")[0] == (("1", "0"),)


@given(st.binary(max_size=60))
def test_any_file_is_read_or_refused(data):
    for start in (b"", b"group,reward\n", b'[{"group": 1, "reward": ', b'{"group": [1], "reward": '):
        with suppress(InputError):
            parse_file(start + data)


FORMULAS = ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(A1)", " =1", "＝1", "-x"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_leaves_as_text_and_comes_back_as_it_was(cell):
    records = [{"group": cell, "reward": "-1.5"}]
    file = write_csv(records)
    (line,) = list(csv.reader(io.StringIO(file.decode())))[1:]
    assert line == [f"'{cell}", "-1.5"]
    assert read_records(file, ("group",), 10) == [{"group": cell.strip(), "reward": "-1.5"}]


@pytest.mark.parametrize("cell", ["-1", "+2.5", "-1e-3 -2", "a", "", "1-2", "'a"])
def test_what_is_no_formula_leaves_as_it_is(cell):
    assert no_formula(cell) == cell
