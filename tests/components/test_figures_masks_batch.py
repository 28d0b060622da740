"""Figures of batches, packed rows and streams: what is drawn is what was handed in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.figures.attention import next_token_bars
from components.figures.masks_batch import (
    MOST_CELLS,
    PALE,
    SMALLEST,
    cache_shape,
    changes_by_token,
    decoded_losses,
    losses_by_place,
    losses_by_token,
    packed_mask,
    sampled,
    token_rows,
)
from components.figures.style import escaped

LABELS = ["<b>", "a", "a", "&"]


def colour_of(heatmap, value: float) -> str:
    """The colour that a discrete scale gives a value."""
    share = (value - heatmap.zmin) / (heatmap.zmax - heatmap.zmin)
    return next(colour for place, colour in reversed(heatmap.colorscale) if place <= share)


@given(groups=st.lists(st.integers(-1, 20), min_size=1, max_size=40))
def test_cells_hold_their_words_and_padding_is_pale(groups):
    labels = [f"t{index}" for index in range(len(groups))]
    rows = {"one": range(len(groups)), "two": ["·"] * len(groups)}
    (drawn,) = token_rows(labels, rows, np.array(groups)).data
    assert [list(row) for row in drawn.text] == [[str(n) for n in range(len(groups))], ["·"] * len(groups)]
    assert list(drawn.y) == ["one", "two"]
    assert len(set(drawn.x)) == len(groups)
    for column, group in enumerate(groups):
        colours = {colour_of(drawn, value) for value in drawn.z[:, column]}
        assert len(colours) == 1
        assert (colours == {PALE}) == (group == -1)
    neighbours = [(a, b) for a in set(groups) for b in set(groups) if abs(a - b) == 1]
    for first, second in neighbours:
        one, other = (drawn.z[0, groups.index(group)] for group in (first, second))
        assert colour_of(drawn, one) != colour_of(drawn, other)


def test_labels_are_text_and_never_markup():
    figures = (
        token_rows(LABELS, {"ids": [1, 2, 3, 4]}, np.zeros(4, int)),
        packed_mask(np.eye(4, dtype=bool), np.zeros(4, int), LABELS),
        losses_by_token(LABELS, np.ones(4), np.ones(4)),
    )
    for figure in figures:
        text = figure.to_json(engine="orjson")
        assert "<b>" not in text.replace("<br>", "")
        assert escaped("<b>") in text


def test_changes_stand_at_their_columns_and_exact_zeros_at_the_edge():
    figure = changes_by_token(
        {"one": (np.arange(2), np.array([0.0, 3.0])), "two": (np.array([5]), np.array([1e-6]))}, 1e-4
    )
    first, second = figure.data
    np.testing.assert_allclose(first.y, [SMALLEST, 3.0])
    assert list(second.x) == [5]
    (line,) = figure.layout.shapes
    assert line.y0 == line.y1 == 1e-4
    assert figure.layout.yaxis.type == "log"
    assert first.marker.symbol != second.marker.symbol  # told apart without colour
    assert first.line.dash != second.line.dash


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_every_conversation_is_framed_and_what_leaks_lies_outside(lengths):
    documents = np.repeat(np.arange(len(lengths)), lengths)
    causal = np.tril(np.ones((len(documents), len(documents)), bool))
    figure = packed_mask(causal, documents, [str(n) for n in documents])
    cells = figure.data[0].z
    inside = np.zeros_like(causal)
    for frame in figure.layout.shapes:
        assert (frame.x0, frame.x1) == (frame.y0, frame.y1)
        place = slice(int(frame.x0 + 0.5), int(frame.x1 + 0.5))
        inside[place, place] = True
    assert len(figure.layout.shapes) == len(lengths)
    np.testing.assert_array_equal(cells == 0, causal & inside)
    np.testing.assert_array_equal(cells == 1, causal & ~inside)
    np.testing.assert_array_equal(np.isnan(cells), ~causal)


def test_losses_are_drawn_for_learned_tokens_only():
    alone, together = np.array([np.nan, 1, 2, 3]), np.array([4, np.nan, 5, 6])
    separate, packed = losses_by_token(LABELS, alone, together).data
    np.testing.assert_allclose(separate.y, alone)
    np.testing.assert_allclose(packed.y, together)
    assert packed.marker.pattern.shape != separate.marker.pattern.shape


@pytest.mark.parametrize(("largest", "top"), [(0.3, 5), (4.9, 5), (5.1, 10), (12.0, 15)])
def test_the_axis_of_losses_ends_at_the_next_multiple_of_five(largest, top):
    for alone, together in ((largest, 0.1), (0.1, largest)):
        figure = losses_by_token(LABELS, np.array([np.nan, alone, 0.1, 0.2]), np.full(4, together))
        assert tuple(figure.layout.yaxis.range) == (0, top)


@given(tokens=st.integers(1, 400), window=st.integers(1, 60), sinks=st.integers(0, 5))
def test_the_shape_of_a_cache_marks_its_sinks(tokens, window, sinks):
    places = sampled(tokens)
    query, key = places[:, None], places[None, :]
    visible = (key <= query) & ((query - key < window) | (key < sinks))
    figure = cache_shape(visible, places, sinks, prefill=7, title="kept")
    (drawn,) = figure.data
    assert drawn.z.shape == (len(places), len(places))
    assert list(drawn.x) == list(drawn.y) == list(places)
    np.testing.assert_array_equal(~np.isnan(drawn.z), visible)
    np.testing.assert_array_equal(drawn.z == 1, visible & (key < sinks))
    (line,), top, bottom = figure.layout.shapes, *reversed(figure.layout.yaxis.range)
    assert (line.y0, line.y1) == (6.5, 6.5)  # between the seventh token and the eighth
    assert (top, bottom) == (-0.5, tokens - 0.5)  # the first token at the top


@given(tokens=st.integers(1, 2_000))
def test_sampled_places_begin_and_end_with_the_text(tokens):
    places = sampled(tokens)
    assert (places[0], places[-1]) == (0, tokens - 1)
    assert (np.diff(places) > 0).all()
    assert len(places) == min(tokens, MOST_CELLS)


def test_losses_by_place_carry_their_marks_and_keep_their_axis():
    x = np.arange(1, 50)
    curves = {name: (x, np.sqrt(x)) for name in ("a", "b", "c")}
    figure = losses_by_place(curves, {"full": 8, "trained": 30}, (0.5, 7.5), y_title="Loss")
    assert figure.layout.yaxis.range == (0.5, 7.5)
    assert [shape.x0 for shape in figure.layout.shapes] == [8, 30]
    assert [note.text for note in figure.layout.annotations] == ["full", "trained"]
    assert len({(curve.line.dash, curve.line.color) for curve in figure.data}) == 3
    np.testing.assert_allclose(figure.data[1].y, np.sqrt(x), rtol=1e-6)


def test_decoded_points_and_the_full_pass_share_their_places():
    line, points = decoded_losses(np.arange(1, 9), np.arange(8.0), np.arange(5, 9), np.arange(4.0)).data
    assert (line.mode, points.mode) == ("lines", "markers")
    assert set(points.x) <= set(line.x)
    np.testing.assert_allclose(points.y, np.arange(4.0))


def test_bars_of_the_next_token_carry_other_names_where_they_are_given():
    both = np.array([0.5, 0.3])
    figure = next_token_bars(["a", "b"], both, both, True, 0.0, names=("alone", "in the batch"))
    assert [bars.name for bars in figure.data] == ["alone", "in the batch"]


@pytest.mark.parametrize("tokens", [64, 1024])
def test_the_live_picture_is_small_enough_to_follow_a_finger(tokens):
    places = sampled(tokens)
    visible = places[None, :] <= places[:, None]
    assert len(cache_shape(visible, places, 4, prefill=1, title="").to_json(engine="orjson")) < 60_000
