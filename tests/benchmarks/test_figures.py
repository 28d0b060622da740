"""A figure meets its goal or does not, and says the same in the table and in the file."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.figures import COLUMNS, Figure, Goal, table, write


@pytest.mark.parametrize(
    ("goal", "value", "reference", "met"),
    [
        (Goal("value", ">=", 25), 25.0, None, True),
        (Goal("value", ">=", 25), 24.9, 10.0, False),
        (Goal("value", "<=", 150), 150.1, None, False),
        (Goal("ratio", "<=", 0.7), 7.0, 10.0, True),
        (Goal("ratio", "<=", 0.7), 7.1, 10.0, False),
        (Goal("ratio", "<=", 0.7), 7.0, None, False),  # no reference, no ratio: not met
        (Goal("value", "<=", 3), float("nan"), None, False),
    ],
)
def test_a_goal_is_met_or_not(goal: Goal, value: float, reference: float | None, met: bool) -> None:
    assert Figure("page", "figure", value, "ms", goal, reference).met is met


def test_file_and_table_hold_every_column(tmp_path: Path) -> None:
    figures = [
        Figure("home", "first paint", 120.0, "ms", Goal("ratio", "<=", 1.3), 100.0),
        Figure("attention", "zoom kept", 0.0, "1 = yes", Goal("value", ">=", 1)),
    ]
    write(figures, tmp_path / "bench.json")
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert [tuple(row) for row in rows] == [COLUMNS, COLUMNS]
    assert rows[0]["ratio"] == pytest.approx(1.2)
    assert (rows[0]["goal"], rows[0]["met"]) == ("ratio <= 1.3", True)
    assert (rows[1]["reference"], rows[1]["ratio"], rows[1]["met"]) == (None, None, False)
    header, first, second = table(figures).splitlines()
    assert header.split() == list(COLUMNS)
    assert first.endswith("yes")
    assert second.endswith("NO")
