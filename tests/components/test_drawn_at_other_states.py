"""Parts of figures that no view draws as it opens: crossed-out heads, bands, divergence, many pairs."""

import numpy as np
import pytest

from components.figures.attention import head_grid, tile_size
from components.figures.context import losses
from components.figures.methods import LOOKS
from components.figures.optimizers import Path, progress_curves
from components.figures.preference import MOST_BARS, loss_and_gradient
from components.figures.style import BLUE, GREY, ORANGE, RED


def test_a_silenced_head_is_crossed_out_over_its_own_tile():
    maps = [np.tril(np.ones((3, 5, 5))) for _layer in range(2)]
    figure = head_grid(maps, (0, 0), frozenset({(1, 2)}))
    size = tile_size(2, 3, 5)
    frame, *cross = figure.layout.shapes
    assert frame.type == "rect"
    assert [line.type for line in cross] == ["line", "line"]
    assert {line.line.color for line in cross} == {RED}
    falling, rising = cross
    assert (falling.x0, falling.x1) == (rising.x0, rising.x1)
    assert (falling.y0, falling.y1) == (rising.y1, rising.y0)
    pitch = figure.layout.xaxis.tickvals[1] - figure.layout.xaxis.tickvals[0]
    column, row = figure.layout.xaxis.tickvals[2], figure.layout.yaxis.tickvals[1]
    assert falling.x0 < column < falling.x1
    assert falling.y0 < row < falling.y1
    assert size < falling.x1 - falling.x0 < pitch  # that tile alone


def test_the_chosen_method_has_a_band_from_least_to_largest():
    position = np.array([1.0, 2.0, 4.0])
    mean, least, largest = np.array([3.0, 2.0, 2.5]), np.array([2.0, 1.0, 1.5]), np.array([4.0, 3.0, 3.5])
    curve = (position, mean, least, largest)
    figure = losses({"yarn": curve, "ntk": curve}, "ntk", 2, 4, ("yarn", "ntk", "linear"))
    filled = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(figure.data) == 3
    (band,) = filled
    assert band.fillcolor == LOOKS["ntk"][0]
    assert band.showlegend is False
    assert band.x.tolist() == [1, 2, 4, 4, 2, 1]
    assert band.y.tolist() == [4, 3, 3.5, 1.5, 1, 2]


@pytest.mark.parametrize("diverged_at", [None, 3])
def test_where_a_path_diverged_stands_a_cross_at_its_last_number(diverged_at):
    values = np.array([1.0, 2.0, 50.0, np.inf, np.inf]) if diverged_at else np.linspace(1, 0.1, 5)
    path = Path("SGD", 0, np.zeros((5, 2)), values, None, diverged_at)
    figure = progress_curves([path], 2)
    crosses = [trace for trace in figure.data if trace.text and "∞" in trace.text]
    assert len(crosses) == (1 if diverged_at else 0)
    if crosses:
        (cross,) = crosses
        assert cross.marker.color == RED
        assert cross.marker.symbol == "x"
        assert cross.x[0] == diverged_at - 1
        assert cross.y[0] == pytest.approx(50)
        assert "3" in figure.data[0].name


@pytest.mark.parametrize("count", [MOST_BARS, MOST_BARS + 1])
def test_many_pairs_are_drawn_as_stems_and_few_as_bars_alike_in_colour_and_sign(count):
    loss = np.linspace(0.1, 1, count)
    by_chosen, by_rejected = -loss, 2 * loss  # descent pushes chosen up and rejected down
    figure = loss_and_gradient(loss, by_chosen, by_rejected)
    kind = "bar" if count <= MOST_BARS else "scatter"
    assert [trace.type for trace in figure.data] == [kind] * 3
    for trace, values, colour in zip(
        figure.data, (loss, loss, -2 * loss), (GREY, BLUE, ORANGE), strict=True
    ):
        y = np.asarray(trace.y, dtype=float)
        if kind == "bar":
            assert trace.marker.color == colour
            assert y == pytest.approx(values)
            continue
        assert trace.line.color == colour
        stems = y.reshape(-1, 3)
        assert (stems[:, 0] == 0).all()
        assert stems[:, 1] == pytest.approx(values)
        assert np.isnan(stems[:, 2]).all()
    if kind == "scatter":
        assert [trace.line.dash for trace in figure.data] == ["solid", "solid", "dot"]
        chosen, rejected = (np.asarray(trace.x)[0] for trace in figure.data[1:])
        assert chosen < 1 < rejected  # side by side
