"""Figures: what is drawn is what was handed in, and small enough to follow a finger."""

import base64
import json
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.figures.attention import (
    entropy_strip,
    head_at,
    head_grid,
    head_sharing,
    histogram,
    lines,
    next_token_bars,
    probability_bars,
    product_bars,
    shrink,
    tile_size,
)
from components.figures.style import MOST_TICKS, escaped, token_heatmap

SIZES = st.integers(1, 70)


def sent(figure: go.Figure) -> str:
    """The figure as the browser gets it."""
    return figure.to_json(engine="orjson")


def decoded(value: object) -> np.ndarray:
    """An array of a figure's JSON: typed arrays are sent as base64."""
    if not isinstance(value, dict):
        return np.array(value)
    array = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
    shape = tuple(map(int, str(value["shape"]).split(","))) if "shape" in value else (-1,)
    return array.reshape(shape)


def heatmap(values: np.ndarray, labels: list[str], **options: object) -> go.Figure:
    return token_heatmap(
        values,
        labels,
        labels,
        query_title="Query",
        key_title="Key",
        value_title="Softmax",
        limits=(0.0, 1.0),
        **options,
    )


@given(heads=st.integers(1, 3), tokens=SIZES, size=SIZES, seed=st.integers(0, 99))
@settings(deadline=None)
def test_shrink_keeps_the_largest_value_of_each_block(heads, tokens, size, seed):
    maps = np.random.default_rng(seed).random((heads, tokens, tokens), dtype=np.float32)
    small = shrink(maps, size)
    if tokens <= size:
        np.testing.assert_array_equal(small, maps)
        return
    assert small.shape == (heads, size, size)
    borders = [int(edge) for edge in np.linspace(0, tokens, size + 1)]
    sizes = {end - start for start, end in pairwise(borders)}
    assert sizes <= {tokens // size, tokens // size + 1}
    for row in range(size):
        for column in range(size):
            block = maps[:, borders[row] : borders[row + 1], borders[column] : borders[column + 1]]
            np.testing.assert_array_equal(small[:, row, column], block.max(axis=(1, 2)))


@given(size=st.integers(1, 20), factor=st.integers(2, 6), seed=st.integers(0, 99))
@settings(deadline=None)
def test_shrink_by_a_whole_factor_is_max_pooling(size, factor, seed):
    maps = np.random.default_rng(seed).random((2, size * factor, size * factor), dtype=np.float32)
    pooled = torch.nn.functional.max_pool2d(torch.from_numpy(maps), factor).numpy()
    np.testing.assert_array_equal(shrink(maps, size), pooled)


@pytest.mark.slow
@given(layers=st.integers(1, 13), heads=st.integers(1, 13), tokens=st.integers(2, 64))
@settings(deadline=None, max_examples=25)
def test_head_at_finds_every_head_of_the_grid(layers, heads, tokens):
    """Each head's map holds its own number everywhere but in the brightest cell."""
    numbers = np.arange(1, layers * heads + 1).reshape(layers, heads) / 1_000
    maps = np.tile(numbers[:, :, None, None], (1, 1, tokens, tokens)).astype(np.float32)
    maps[:, :, 0, 0] = 1.0
    (drawn,) = head_grid(list(maps), (0, 0)).data
    seen = set()
    for (y, x), value in np.ndenumerate(drawn.z):
        if not np.isnan(value) and value < 1:
            layer, head = head_at(x, y, layers, heads, tokens)
            assert value == np.float32(numbers[layer, head])
            seen.add((layer, head))
    assert len(seen) == layers * heads


def test_head_at_outside_of_the_grid_is_the_nearest_head():
    assert head_at(-3, -3, 4, 6, 32) == (0, 0)
    assert head_at(1e6, 1e6, 4, 6, 32) == (3, 5)


def test_ticks_of_the_grid_stand_at_the_middle_of_their_heads():
    figure = head_grid([np.ones((6, 20, 20), np.float32)] * 4, (0, 0))
    for head, x in zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True):
        for layer, y in zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True):
            assert head_at(x, y, 4, 6, 20) == (int(layer), int(head))


@pytest.mark.parametrize("tokens", [5, 33, 200])
def test_the_grid_leaves_masked_cells_empty_and_draws_both_directions_of_an_encoder(tokens):
    random = np.random.default_rng(0)
    both = random.random((3, tokens, tokens), dtype=np.float32) + 0.1
    size = tile_size(2, 3, tokens)
    upper = np.triu(np.ones((size, size), bool), 1)
    for maps, is_causal in ((np.tril(both), True), (both, False)):
        (drawn,) = head_grid([maps, maps], (1, 2)).data
        first = drawn.z[:size, :size]
        assert np.isnan(first[upper]).all() == is_causal
        assert not np.isnan(first[~upper]).any()
        assert first[~upper].max() <= 1


def test_the_grid_frames_the_open_head_and_crosses_out_silenced_ones():
    maps = [np.tril(np.ones((4, 8, 8), np.float32))] * 3
    assert len(head_grid(maps, (0, 0)).layout.shapes) == 1
    figure = head_grid(maps, (2, 1), frozenset({(0, 3), (1, 2)}))
    frame, *crosses = figure.layout.shapes
    assert head_at((frame.x0 + frame.x1) / 2, (frame.y0 + frame.y1) / 2, 3, 4, 8) == (2, 1)
    middles = {((cross.x0 + cross.x1) / 2, (cross.y0 + cross.y1) / 2) for cross in crosses}
    assert {head_at(x, y, 3, 4, 8) for x, y in middles} == {(0, 3), (1, 2)}


def test_a_heatmap_sends_the_values_and_leaves_masked_cells_empty():
    values = np.random.default_rng(1).random((9, 9), dtype=np.float32)
    values[np.triu_indices(9, 1)] = np.nan
    received = json.loads(sent(heatmap(values, list("abcdefghi"))))["data"][0]["z"]
    np.testing.assert_array_equal(decoded(received).astype(np.float32), values)


@given(labels=st.lists(st.sampled_from(["a", "·a", "<b>", "&", "a"]), min_size=1, max_size=150))
@settings(deadline=None, max_examples=30)
def test_a_heatmap_has_one_category_a_token_even_where_labels_repeat(labels):
    figure = heatmap(np.zeros((len(labels), len(labels)), np.float32), labels)
    for places, axis in ((figure.data[0].x, figure.layout.xaxis), (figure.data[0].y, figure.layout.yaxis)):
        assert len(set(places)) == len(places) == len(labels)
        assert [int(place.split(" ")[0]) for place in places] == list(range(len(labels)))
        assert axis.type == "category"
        assert len(axis.ticktext) <= MOST_TICKS
        assert list(axis.ticktext) == [escaped(labels[index]) for index in axis.tickvals]


def test_labels_are_text_and_never_markup():
    for text in (
        sent(heatmap(np.zeros((2, 2), np.float32), ["<b>", "a&lt;"])),
        sent(next_token_bars(["<b>", "a&lt;"], np.ones(2), np.ones(2), True, 0.5)),
    ):
        assert "<b>" not in text
        assert "&lt;b&gt;" in text
        assert "a&amp;lt;" in text


def test_the_chosen_cell_is_framed():
    (frame,) = heatmap(np.zeros((5, 5), np.float32), list("abcde"), selected=(3, 1)).layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.5, 1.5, 2.5, 3.5)


def test_colour_limits_are_fixed_and_scores_are_centred_on_zero():
    figure = token_heatmap(
        np.ones((2, 2), np.float32),
        ["a", "b"],
        ["a", "b"],
        query_title="Query",
        key_title="Key",
        value_title="Raw",
        limits=(-3.0, 3.0),
        diverging=True,
    )
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-3.0, 3.0)
    assert figure.data[0].colorscale != heatmap(np.ones((2, 2)), ["a", "b"]).data[0].colorscale


def test_bars_of_the_next_token_show_both_distributions_only_after_a_change():
    before, after = np.array([0.5, 0.3]), np.array([0.1, 0.6])
    assert len(next_token_bars(["a", "a"], before, before, False, 0.0).data) == 1
    figure = next_token_bars(["a", "a"], before, after, True, 0.25)
    assert "KL 0.2500" in figure.layout.xaxis.title.text
    first, second = figure.data
    np.testing.assert_allclose(first.x, before, rtol=1e-6)
    np.testing.assert_allclose(second.x, after, rtol=1e-6)
    assert len(set(first.y)) == 2
    assert second.marker.pattern.shape  # told apart without colour


def test_product_bars_sum_to_the_dot_product_and_colour_the_sign():
    query, key = np.random.default_rng(2).normal(size=(2, 32)).astype(np.float32)
    (bars,) = product_bars(query * key).data
    assert float(np.sum(bars.y)) == pytest.approx(float(query @ key), rel=1e-5)
    colours = np.array(bars.marker.color)
    assert len(set(colours[bars.y >= 0])) == len(set(colours[bars.y < 0])) == 1
    assert len(set(colours)) == 2


def test_lines_differ_by_more_than_colour():
    x = np.arange(4)
    figure = lines({str(n): (x, x * n) for n in range(6)}, "x", "y", x_log=True, y_range=(0, 9))
    assert len({(curve.line.dash, curve.marker.symbol) for curve in figure.data}) == 6
    assert (figure.layout.xaxis.type, figure.layout.yaxis.range) == ("log", (0, 9))


def test_the_entropy_strip_holds_every_head_under_the_bound():
    rows = [np.array([0.1, 0.5]), np.array([0.9, 0.2])]
    heads, bound = entropy_strip(rows, 1.5).data
    np.testing.assert_allclose(heads.y, [0.1, 0.5, 0.9, 0.2], rtol=1e-6)
    assert list(heads.x) == [0, 0, 1, 1]
    assert list(heads.customdata) == [0, 1, 0, 1]
    assert set(bound.y) == {1.5}


def test_the_histogram_is_a_density_with_bins_that_stay():
    random = np.random.default_rng(3)
    samples = {"narrow": random.normal(size=900), "wide": 90 * random.normal(size=900)}
    narrow, wide = histogram(samples, "x", 8).data
    np.testing.assert_array_equal(narrow.x, wide.x)
    for curve in (narrow, wide):
        inside = np.mean(np.abs(samples[curve.name]) <= 8)  # what lies outside counts, undrawn
        assert float(np.sum(curve.y) * (curve.x[1] - curve.x[0])) == pytest.approx(inside, rel=1e-4)


def test_probability_bars_and_head_sharing_show_what_they_are_given():
    first, second = probability_bars({"a": np.array([0.4, 0.6]), "b": np.array([0.5, 0.5])}).data
    np.testing.assert_allclose([first.y, second.y], [[0.4, 0.6], [0.5, 0.5]], rtol=1e-6)
    *links, queries, keys = head_sharing(np.array([0, 0, 0, 1, 1, 1])).data
    assert (len(links), len(queries.x), len(keys.x)) == (6, 6, 2)
    for head, link in enumerate(links):
        assert (link.x[0], link.x[1]) == (queries.x[head], keys.x[head // 3])


def test_figures_are_small_enough_to_follow_a_finger():
    values = np.random.default_rng(4).random((64, 64), dtype=np.float32)
    assert len(sent(heatmap(values, [f"·token{n}" for n in range(64)], selected=(3, 2)))) < 40_000
