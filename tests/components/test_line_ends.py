"""Names at the ends of lines: beside their lines, on the axes, and not on one another."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.figures.line_ends import (
    EDGE,
    LEADER,
    NEAR,
    ROW,
    Scale,
    end_of,
    in_rows,
    margin_for,
    named_ends,
    spread,
    width,
)
from components.figures.optimizer_curves import Curve, NeededSteps, curves, needed_steps
from components.figures.optimizers import ORDER, look_of, place_of
from models.optimizers.trajectories import KINDS

SHARES = st.floats(0, 1)
LINE = {"color": "#123456", "dash": "dot", "width": 2.5}


@given(share=SHARES, low=st.floats(-5, 5), size=st.floats(0.1, 9), is_log=st.booleans())
def test_a_scale_gives_a_share_back(share, low, size, is_log):
    scale = Scale(low, low + size, is_log)
    assert scale.share(scale.value(share)) == pytest.approx(share, abs=1e-6)


def test_what_is_not_on_the_axis_stands_at_its_nearer_end():
    assert [Scale(0, 2).share(value) for value in (-9, 0, 1, 2, 9)] == [0, 0, 0.5, 1, 1]
    assert [Scale(-2, 2, True).share(value) for value in (0.0, 1e-9, 1, 100, 1e9)] == [0, 0, 0.5, 1, 1]
    held = Scale(-2, 2, True).holds(np.array([0, 1e-3, 1e-2, 1, 1e2, 1e3, np.nan, np.inf, -1]))
    assert held.tolist() == [False, False, True, True, True, False, False, False, False]


@given(low=st.floats(-5, 5), size=st.floats(0.1, 9))
def test_a_longer_axis_has_room_for_the_way_to_a_name(low, size):
    longer = Scale(low, low + size).with_room()
    assert longer.share(low + size) + LEADER == pytest.approx(EDGE)


@given(
    st.lists(
        st.tuples(st.just(1.0), st.floats(0, 300), st.sampled_from([ROW, 2 * ROW])), min_size=1, max_size=8
    )
)
@settings(deadline=None)
def test_names_at_one_edge_do_not_lie_on_one_another(labels):
    places = spread(labels, 300)
    boxes = sorted((place, own) for place, (_x, _wished, own) in zip(places, labels, strict=True))
    for (lower, its), (upper, own) in itertools.pairwise(boxes):
        assert upper - lower >= (its + own) / 2 - 1e-9
    assert max(places) <= 300
    order = [wished for _place, wished in sorted(zip(places, (label[1] for label in labels), strict=True))]
    assert order == sorted(order)


@given(st.floats(0, 300), st.floats(0, 300))
def test_names_of_lines_that_end_far_apart_stay_where_they_are(first, second):
    assert spread([(0.1, first, ROW), (0.1 + NEAR + 0.01, second, ROW)], 300) == [first, second]


def test_a_line_ends_at_its_last_point_that_is_on_the_axis():
    x, scale = np.arange(5.0), Scale(-3, 1, True)
    assert end_of("a", x, np.array([5, 1, 1e-2, 1e-9, np.nan]), LINE, scale).x == 2
    assert end_of("a", x, np.array([1e5, 1e6, 1e7, np.inf, np.nan]), LINE, scale).x == 2
    assert end_of("a", x, np.full(5, np.nan), LINE, scale) is None


def test_a_name_stands_beside_its_line_in_the_lines_colour():
    x, y = Scale(0, 10).with_room(), Scale(-2, 2, True)
    end = end_of("SGD", np.array([0.0, 10.0]), np.array([1.0, 1.0]), LINE, y)
    (trace,) = named_ends([end], x, y, yaxis="y2")
    assert (trace.x[0], trace.y[0], trace.y[1]) == (10, 1, pytest.approx(1))
    assert x.share(trace.x[1]) == pytest.approx(EDGE)
    assert (trace.text[1], trace.line.color, trace.yaxis) == ("SGD", LINE["color"], "y2")


@given(st.text(st.sampled_from("abc 学习率 "), max_size=40))
def test_rows_hold_all_words_in_their_order(name):
    assert " ".join(in_rows(name)).split() == name.split()
    assert margin_for([name]) >= max(map(width, in_rows(name)))


# The optimizers' curves


def test_no_two_of_the_optimizers_looks_are_alike_and_neighbours_differ_in_dash():
    looks = [(look["line"]["color"], look["line"]["dash"]) for look in map(look_of, range(36))]
    assert len(set(looks)) == 36
    assert all(one[1] != other[1] for one, other in itertools.pairwise(looks[:6]))
    assert {*KINDS, "muon"} == set(ORDER)
    assert [place_of(kind) for kind in ORDER] == [*range(len(ORDER))]


def test_curves_keep_their_ranges_whatever_they_hold():
    values = np.array([1.0, 1e-3, np.nan, 1e9])
    figure = curves(
        [Curve("a", 0, np.arange(4), values), Curve("b", 1, np.arange(4), values)],
        "x",
        "y",
        y_log=True,
        y_range=(-2, 2),
        x_range=(0, 3),
    )
    assert (figure.layout.yaxis.type, list(figure.layout.yaxis.range)) == ("log", [-2, 2])
    assert list(figure.layout.xaxis.range) == [0, Scale(0, 3).with_room().high]
    assert not figure.layout.showlegend


def test_a_line_of_reference_has_its_height_in_the_axis_own_numbers():
    figure = curves(
        [Curve("", 0, np.arange(3), np.ones(3))],
        "x",
        "y",
        y_log=True,
        y_range=(-2, 3),
        y_line=(100.0, "limit"),
    )
    (shape,), (label,) = figure.layout.shapes, figure.layout.annotations
    assert (shape.y0, shape.y1) == (100, 100)
    assert (label.y, label.text) == (pytest.approx(math.log10(100)), "limit")


def test_steps_that_were_not_enough_are_drawn_above_all_that_were():
    steps = np.array([20.0, np.nan, 500.0])
    figure = needed_steps(
        [NeededSteps("a", 0, steps), NeededSteps("b", 1, steps)],
        np.array([0.0, 45.0, 90.0]),
        1,
        500,
        "10⁻⁶",
    )
    first, second = (trace for trace in figure.data if trace.mode == "lines")
    band = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert first.y.tolist()[::2] == [20, 500]
    assert 500 < band.y0 < first.y[1] < second.y[1] < band.y1
