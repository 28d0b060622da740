"""Figures of the preference page: axes that stay, arrows that point where descent goes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.figures.preference import (
    MOST_DRAWN,
    arrow_traces,
    implicit_rewards,
    loss_and_gradient,
    octave,
    pair_points,
    pushes,
)
from components.figures.preference_labs import FARTHEST, training_curves, win_matrix


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_an_octave_holds_its_values_and_is_a_power_of_two(values):
    top = octave(np.array(values))
    assert max(map(abs, values)) <= top
    assert np.log2(top) == int(np.log2(top))
    assert octave(np.array(values) * 1.0001) in (top, 2 * top)


@pytest.mark.parametrize("turn", np.linspace(-np.pi, np.pi, 9)[:-1] + 0.1)
def test_arrows_point_where_they_should_and_those_to_the_left_stand_apart(turn):
    places = np.array([-1.0, 0.0, 1.0], np.float32)
    push = np.full((3, 3), np.cos(turn)), np.full((3, 3), np.sin(turn))
    up, down = arrow_traces(places, *push)
    shown, empty = (up, down) if np.cos(turn) > 0 else (down, up)
    assert np.isnan(empty.x).all()
    arrows = np.stack([np.reshape(shown.x, (9, 6)), np.reshape(shown.y, (9, 6))], -1)
    shaft = arrows[:, 1] - arrows[:, 0]
    np.testing.assert_allclose(np.arctan2(shaft[:, 1], shaft[:, 0]), turn, atol=1e-5)
    barbs = (
        np.linalg.norm(arrows[:, 2] - arrows[:, 1], axis=-1),
        np.linalg.norm(arrows[:, 4] - arrows[:, 1], axis=-1),
    )
    np.testing.assert_allclose(barbs[0], barbs[1], rtol=1e-4)
    assert np.isnan(arrows[:, 5]).all()


def test_no_arrow_where_nothing_pushes():
    nothing = np.zeros((3, 3))
    for trace in arrow_traces(np.arange(3, dtype=np.float32), nothing, nothing):
        assert np.isnan(trace.x).all()


def test_only_so_many_pairs_are_drawn():
    many = np.linspace(-1, 1, MOST_DRAWN + 50)
    assert len(implicit_rewards(many, -many).data[2].x) == MOST_DRAWN
    assert len(loss_and_gradient(many, many, many).data[0].x) == 3 * MOST_DRAWN
    assert len(pair_points(many, many, 3)[0].x) == MOST_DRAWN


def test_many_pairs_are_drawn_as_lines_with_the_same_heights():
    few, many = np.linspace(0.1, 1, 5), np.linspace(0.1, 1, 60)
    assert loss_and_gradient(few, few, few).data[0].type == "bar"
    shown = loss_and_gradient(many, many, -many).data
    np.testing.assert_allclose(shown[0].y[1::3], many, rtol=1e-6)
    np.testing.assert_allclose(shown[1].y[1::3], -many, rtol=1e-6)
    np.testing.assert_allclose(shown[2].y[1::3], many, rtol=1e-6)


def test_a_loss_without_a_push_is_drawn_as_nothing():
    (chosen, rejected) = pushes(["hinge"], np.zeros(1), np.zeros(1)).data
    assert chosen.x[0] == rejected.x[0] == 0


def test_a_run_that_diverges_stays_drawable():
    figure = training_curves({"ipo": np.array([1.0, 1e300, np.nan])}, "", (0, 1), 0.0, 1)
    assert figure.data[0].y[1] == np.float32(FARTHEST)


def test_what_was_never_compared_is_a_question_mark():
    figure = win_matrix(["A", "B"], np.full((2, 2), 0.5), np.eye(2, dtype=bool))
    assert figure.data[0].text[0][1] == "?"
    assert np.isnan(figure.data[0].z[0][1])
