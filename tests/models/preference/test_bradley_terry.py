"""Bradley–Terry against torch's LBFGS and logistic loss, hand values and its invariances."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from models.errors import InputError
from models.preference.bradley_terry import (
    centred,
    fit,
    loss,
    parse_comparisons,
    read_comparisons,
    win_probabilities,
    write_comparisons,
)

names = st.sampled_from("ABCDE")
tables = st.lists(
    st.tuples(names, names, st.integers(1, 9).map(str)).filter(lambda row: row[0] != row[1]),
    min_size=1,
    max_size=12,
)


def by_lbfgs(comparisons, ridge: float) -> torch.Tensor:
    """The same by torch's own optimizer and its own logistic loss."""
    rewards = torch.zeros(len(comparisons.names), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [rewards], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        margin = rewards[comparisons.winner] - rewards[comparisons.loser]
        value = binary_cross_entropy_with_logits(
            margin, torch.ones_like(margin), weight=comparisons.times.double(), reduction="sum"
        )
        value = value + ridge / 2 * (rewards**2).sum()
        value.backward()
        return value

    optimizer.step(closure)
    return rewards.detach()


@given(tables, st.floats(0.05, 2))
def test_the_fit_with_a_ridge_is_torchs(table, ridge):
    comparisons = read_comparisons(table)
    found = fit(comparisons, ridge)
    theirs = centred(by_lbfgs(comparisons, ridge), comparisons)
    torch.testing.assert_close(found.rewards, theirs, atol=1e-4, rtol=1e-4)


def test_the_fit_without_a_ridge():
    comparisons = read_comparisons(parse_comparisons("A>B:3;B>A:1;B>C:5;C>B:2;A>C:4;C>A:1"))
    found = fit(comparisons)
    torch.testing.assert_close(
        found.rewards, centred(by_lbfgs(comparisons, 0.0), comparisons), atol=1e-5, rtol=1e-5
    )


def test_two_answers_have_the_log_of_their_odds():
    rewards = fit(read_comparisons([("A", "B", "3"), ("B", "A", "1")])).rewards
    assert float(rewards[0] - rewards[1]) == pytest.approx(math.log(3))
    assert win_probabilities(rewards)[0].tolist() == pytest.approx([0.5, 0.75])


@given(tables, st.floats(-100, 100))
def test_a_constant_for_a_group_changes_nothing(table, constant):
    comparisons = read_comparisons(table)
    rewards = torch.randn(
        len(comparisons.names), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    shifted = torch.where(comparisons.groups == 0, rewards + constant, rewards)
    torch.testing.assert_close(loss(shifted, comparisons), loss(rewards, comparisons))


@given(tables)
def test_groups_and_finite_fits_by_walking(table):
    comparisons = read_comparisons(table)
    count = len(comparisons.names)
    beats = [set() for _ in range(count)]
    for winner, loser in zip(comparisons.winner.tolist(), comparisons.loser.tolist(), strict=True):
        beats[winner].add(loser)

    def reached(start: int, neighbours) -> set[int]:
        seen, waiting = {start}, [start]
        while waiting:
            for other in neighbours(waiting.pop()) - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    def either_way(a: int) -> set[int]:
        return beats[a] | {b for b in range(count) if a in beats[b]}

    groups = comparisons.groups.tolist()
    for a in range(count):
        assert reached(a, either_way) == {b for b in range(count) if groups[b] == groups[a]}
    finite = all(
        a in reached(b, beats.__getitem__) for a in range(count) for b in reached(a, beats.__getitem__)
    )
    assert comparisons.has_finite_fit == finite


def test_an_answer_that_never_lost_needs_a_ridge():
    comparisons = read_comparisons([("A", "B", "1")])
    with pytest.raises(InputError, match="ridge"):
        fit(comparisons)
    assert fit(comparisons, 0.1).rewards.isfinite().all()


@given(tables)
def test_the_address_holds_the_table(table):
    assert parse_comparisons(write_comparisons(table)) == tuple(table)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "There are 0 comparisons"),
        ([("A", "B", "1")] * 201, "There are 201 comparisons"),
        ([("A", "B", "1"), ("A", "", "1")], "Row 2, column loser: the cell is empty"),
        ([("A", "A", "1")], "Row 1: an answer cannot be compared with itself"),
        ([("A", "B", "0")], "Row 1, column times"),
        ([("A", "B", "-1")], "Row 1, column times"),
        ([("A", "B", "nan")], "Row 1, column times"),
        ([("A", "B", "99999")], "Row 1, column times"),
        ([("A" * 41, "B", "1")], "Row 1, column winner: a name has at most 40"),
        ([(f"a{n}", f"b{n}", "1") for n in range(13)], "There are 26 answers"),
    ],
)
def test_bad_comparisons_are_refused(rows, sentence):
    with pytest.raises(InputError, match=sentence):
        read_comparisons(rows)


@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf")])
def test_a_ridge_that_is_none(ridge):
    with pytest.raises(InputError):
        fit(read_comparisons([("A", "B", "1")]), ridge)


@pytest.mark.parametrize("text", ["A>B>C:2", "A>>B", "A>B>"])
def test_a_comparison_has_two_sides(text):
    with pytest.raises(InputError, match="no > in it"):
        read_comparisons(parse_comparisons(text))
