"""Figures of the positions page: what is drawn is what was handed in, where it was asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.figures.microscope import centres, pair_at, pair_bars, pair_circles
from components.figures.positions import (
    MOST_TILE_TOKENS,
    ROOT_SCALE,
    attention_tiles,
    change_by_layer,
    curves,
    heatmap,
    titled,
    wavelength_points,
)


def vectors(pairs: int, seed: int) -> np.ndarray:
    parts = np.random.default_rng(seed).normal(size=(2, pairs)).astype(np.float32)
    return parts[0] + 1j * parts[1]


@given(st.integers(1, 64), st.data())
def test_a_click_near_a_circle_finds_its_pair(pairs, data):
    pair = data.draw(st.integers(0, pairs - 1))
    offset = data.draw(st.complex_numbers(max_magnitude=1.2))
    middle = complex(centres(pairs)[pair]) + offset
    assert pair_at(middle.real, middle.imag, pairs) == pair


@given(st.integers(1, 40), st.integers(0, 99))
def test_arrows_start_at_the_centre_and_keep_angle_and_ratio(pairs, seed):
    query, key = ((vectors(pairs, seed + i), vectors(pairs, seed + i + 2)) for i in (0, 1))
    figure = pair_circles(query, key, 0)
    arrows = figure.data[1:5]
    radius = np.maximum(np.maximum(abs(query[0]), abs(key[0])), 1e-9)
    for trace, expected in zip(arrows, (*query, *key), strict=True):
        path = (np.array(trace.x) + 1j * np.array(trace.y)).reshape(pairs, 3)
        np.testing.assert_allclose(path[:, 0], centres(pairs), atol=1e-5)
        np.testing.assert_allclose(path[:, 1] - path[:, 0], expected / radius, rtol=1e-3, atol=1e-4)
        assert np.isnan(path[:, 2]).all()
    assert len({trace.name for trace in arrows}) == 4


def test_the_ring_stands_around_the_chosen_pair():
    both = (vectors(9, 0), vectors(9, 1))
    for pair in (0, 4, 8):
        (ring,) = pair_circles(both, both, pair).layout.shapes
        middle = centres(9)[pair]
        assert (ring.x0 + ring.x1) / 2 == pytest.approx(middle.real, abs=1e-5)
        assert (ring.y0 + ring.y1) / 2 == pytest.approx(middle.imag, abs=1e-5)


def test_the_bar_of_what_is_not_rotated_is_there_when_it_counts():
    here = np.array([1.0, -2.0], dtype=np.float32)
    above, below, *_ = pair_bars(here, here, 0.0, 3, -1.0).data
    assert list(above.y + below.y) == [1, -2]
    figure = pair_bars(here, here, 0.5, 3, -0.5)
    assert [list(trace.y) for trace in figure.data[:2]] == [[1, 0, 0.5], [0, -2, 0]]
    assert figure.layout.xaxis.ticktext[-1] == "rest"
    assert figure.layout.yaxis.range == (-3, 3)


@given(st.integers(1, 6), st.integers(1, 90), st.floats(0.1, 1), st.integers(0, 99))
def test_tiles_hold_their_weights_on_one_scale(count, tokens, top, seed):
    maps = np.random.default_rng(seed).random((count, tokens, tokens), dtype=np.float32)
    figure = attention_tiles({str(index): tile for index, tile in enumerate(maps)}, top)
    (trace,) = figure.data
    assert (trace.zmin, trace.zmax) == (0, top)
    shown = min(tokens, MOST_TILE_TOKENS)
    assert np.isfinite(trace.z).sum() == count * shown * shown
    assert np.nanmax(trace.z) == maps.max()
    assert [note.text for note in figure.layout.annotations] == [str(index) for index in range(count)]


def test_the_root_scale_goes_from_end_to_end_and_spends_its_colours_on_small_weights():
    places = [place for place, _colour in ROOT_SCALE]
    assert (places[0], places[-1]) == (0, 1)
    assert sum(place < 0.25 for place in places) >= len(places) // 2


def test_still_pairs_are_marked_by_another_sign_and_the_length_by_a_line():
    waves, still = np.array([6.0, 60.0, 6000.0]), np.array([False, False, True])
    figure = wavelength_points(waves, still, 100)
    assert [list(trace.y) for trace in figure.data] == [[6, 60], [6000]]
    assert len({trace.marker.symbol for trace in figure.data}) == 2
    assert figure.layout.shapes[0].y0 == 100


def test_curves_and_heatmaps_carry_what_they_were_given():
    figure = curves(
        {"one": np.arange(4.0), "two": np.ones(4)},
        "x",
        "y",
        x=np.arange(2, 6),
        x_now=3,
        now="here",
        y_range=(-1, 2),
    )
    assert [list(trace.y) for trace in figure.data] == [[0, 1, 2, 3], [1, 1, 1, 1], [-1, 2]]
    assert (figure.layout.xaxis.range, figure.layout.yaxis.range) == ((2, 5), (-1, 2))
    assert list(figure.data[0].x) == [2, 3, 4, 5]
    assert len({trace.line.dash for trace in figure.data[:2]}) == 2
    now = figure.data[2]  # a trace, so that it moves without a new layout
    assert (list(now.x), now.text[1], now.showlegend) == ([3, 3], "here", False)
    shown = heatmap(np.eye(3), "x", "y", "value", rows=np.array([0, 10, 20]))
    np.testing.assert_array_equal(shown.data[0].z, np.eye(3))
    assert list(shown.data[0].y) == [0, 10, 20]
    assert (shown.data[0].zmin, shown.data[0].zmax) == (-1, 1)
    assert shown.layout.yaxis.range == (25, -5)  # rows run down, each cell whole
    _cells, line = heatmap(np.eye(4), "x", "y", "value", row_now=2).data
    assert (list(line.x), list(line.y)) == ([-0.5, 3.5], [2, 2])


def test_a_heading_stands_above_the_labels_and_takes_its_own_room():
    plain = heatmap(np.eye(3), "x", "y", "value")
    figure = titled(plain, "one", "", "two")
    (heading,) = figure.layout.annotations
    assert (heading.text, heading.yshift) == ("one<br>two", plain.layout.margin.t)
    assert figure.layout.margin.t == plain.layout.margin.t + 36


def test_the_chosen_case_is_the_widest_line_and_nothing_falls_off_the_log_axis():
    figure = change_by_layer({"a": np.array([0.0, 0.5]), "b": np.array([0.0, 1e-6])}, "b")
    assert figure.data[1].line.width > figure.data[0].line.width
    assert min(np.min(trace.y) for trace in figure.data) > 0
