"""Figures of the mask lab: strokes over what is hidden, marks for switched cells and empty rows."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.figures.masks import (
    EMPTY,
    before_and_after,
    block_map,
    by_depth,
    by_token,
    frames,
    hatching,
    mask_matrix,
    steps,
)
from components.figures.style import INK, ORANGE, RED

NUMBER = r"(-?\d+(?:\.\d+)?)"
STROKE = re.compile(rf"M{NUMBER},{NUMBER}L{NUMBER},{NUMBER}")
LABELS = [f"·word{index}" for index in range(12)]


def crossed(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Which cells the strokes run through, walked cell by cell along each stroke."""
    found = np.zeros(shape, dtype=int)
    for x0, y0, x1, y1 in (map(float, stroke) for stroke in STROKE.findall(path)):
        assert x0 - x1 == y1 - y0 > 0  # down to the left, one cell for each step
        for step in range(int(y1 - y0)):
            found[int(y0 + 0.5) + step, int(x0 - 0.5) - step] += 1
    return found


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(0, 99))
def test_every_hidden_cell_is_hatched_once_and_no_other(rows, columns, share, seed):
    hidden = np.random.default_rng(seed).random((rows, columns)) < share
    np.testing.assert_array_equal(crossed(hatching(hidden, 1), hidden.shape), hidden)


@given(st.integers(1, 30), st.integers(2, 5), st.integers(0, 99))
def test_wider_hatching_takes_every_nth_diagonal(n, every, seed):
    hidden = np.random.default_rng(seed).random((n, n)) < 0.5
    diagonal = np.add.outer(np.arange(n), np.arange(n)) % every == 0
    np.testing.assert_array_equal(crossed(hatching(hidden, every), hidden.shape), hidden & diagonal)


def test_a_causal_mask_needs_a_stroke_for_each_diagonal_and_not_for_each_cell():
    hidden = ~np.tril(np.ones((64, 64), dtype=bool))
    assert len(STROKE.findall(hatching(hidden, 1))) == 2 * 64 - 3
    assert hatching(np.zeros((5, 5), dtype=bool), 1) == ""


def test_frames_are_squares_within_their_cells():
    found = re.findall(rf"M{NUMBER},{NUMBER}H{NUMBER}V{NUMBER}H", frames([(3, 7), (0, 0)]))
    corners = np.array(found, dtype=float)
    np.testing.assert_allclose(corners[:, [0, 2]].mean(1), [7, 0], atol=1e-9)
    np.testing.assert_allclose(corners[:, [1, 3]].mean(1), [3, 0], atol=1e-9)
    assert (corners[:, 2] - corners[:, 0] < 1).all()


def test_the_matrix_shows_what_was_handed_in_and_marks_it_in_more_than_colour():
    visible = np.tril(np.ones((12, 12), dtype=bool))
    visible[4] = False
    figure = mask_matrix(visible, LABELS, switched=[(2, 1)], empty=[4], title="some")
    np.testing.assert_array_equal(figure.data[0].z, visible)
    assert (figure.data[0].zmin, figure.data[0].zmax) == (0, 1)
    colours = {shape.line.color: shape.path for shape in figure.layout.shapes}
    assert set(colours) == {INK, RED, ORANGE}
    np.testing.assert_array_equal(crossed(colours[INK], visible.shape), ~visible)
    marked = [text for text in figure.layout.yaxis.ticktext if text.startswith(EMPTY)]
    assert marked == [EMPTY + LABELS[4]]
    assert not any(text.startswith(EMPTY) for text in figure.layout.xaxis.ticktext)
    assert figure.layout.title.text == "some"


def test_a_matrix_without_marks_has_no_shapes():
    assert not mask_matrix(np.ones((3, 3), dtype=bool), LABELS[:3]).layout.shapes


def test_before_and_after_share_their_scale_and_their_rows():
    before, after = np.random.default_rng(0).random((2, 12, 12), dtype=np.float32)
    after[3, 5] = np.nan
    figure = before_and_after(
        before, after, LABELS, value_title="Softmax", limits=(0.0, 0.5), diverging=False
    )
    first, second = figure.data
    np.testing.assert_array_equal(first.z, before)
    np.testing.assert_array_equal(second.z, after)
    assert (first.zmin, first.zmax) == (second.zmin, second.zmax) == (0.0, 0.5)
    assert second.xaxis == "x2"
    assert second.yaxis == first.yaxis
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert second.colorbar.ticktext == ("0", "0.25", "≥ 0.5")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_curves_are_told_apart_by_more_than_colour(count):
    curves = {f"curve {index}": np.arange(9) * index for index in range(count)}
    for figure in (
        by_token(curves, LABELS, y_title="Loss", y_range=(0, 1)),
        by_depth(curves, y_title="Change"),
    ):
        assert [trace.name for trace in figure.data] == list(curves)
        assert len({(trace.line.dash, trace.marker.symbol) for trace in figure.data}) == count
        for trace, values in zip(figure.data, curves.values(), strict=True):
            np.testing.assert_array_equal(trace.y, values)
    figure = steps(curves, x_title="Step", y_title="Keys", y_range=(0, 9))
    assert len({trace.line.dash for trace in figure.data}) == count
    np.testing.assert_array_equal(figure.data[0].x, np.arange(1, 10))


def test_the_block_map_hatches_what_is_skipped():
    blocks = np.eye(4, dtype=bool)
    figure = block_map(blocks, 16)
    np.testing.assert_array_equal(figure.data[0].z, blocks)
    np.testing.assert_array_equal(crossed(figure.layout.shapes[0].path, blocks.shape), ~blocks)
    assert "16" in figure.layout.xaxis.title.text
