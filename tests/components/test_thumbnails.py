"""The gallery's pictures: one a page, drawn from numbers in the colours of the figures."""

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image, ImageColor

from components.catalogue import PAGES
from components.figures.style import SEQUENTIAL
from components.thumbnails import SIZE, coloured, drawing


@pytest.mark.slow
@pytest.mark.parametrize("entry", PAGES, ids=lambda entry: entry.name)
def test_every_page_has_its_drawing(entry):
    assert drawing(entry.name).size == SIZE


@pytest.mark.parametrize("entry", PAGES, ids=lambda entry: entry.name)
def test_every_page_has_its_picture(entry):
    with Image.open(entry.thumbnail) as picture:
        assert picture.size == SIZE
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    assert entry.thumbnail.stat().st_size < 100_000


def test_numbers_get_the_colours_that_figures_give_them():
    values = np.linspace(0, 1, 256).reshape(1, -1)
    scale = go.Figure(go.Heatmap(colorscale=SEQUENTIAL)).data[0].colorscale
    stops = np.array([ImageColor.getrgb(colour) for _position, colour in scale])
    positions = [position for position, _colour in scale]
    expected = np.stack([np.interp(values[0], positions, channel) for channel in stops.T], axis=-1)
    drawn = np.asarray(coloured(values).resize((256, 1), Image.Resampling.NEAREST))
    assert np.abs(drawn[0, :, :3].astype(float) - expected).max() <= 2  # of 255: rounding
    assert (drawn[..., 3] == 255).all()


def test_numbers_outside_are_clipped_and_missing_ones_transparent():
    drawn = np.asarray(coloured(np.array([[-1.0, 0.0], [1.0, 7.0], [np.nan, 0.5]])))
    third = SIZE[1] // 3
    np.testing.assert_array_equal(drawn[third // 2, 0], drawn[third // 2, -1])
    np.testing.assert_array_equal(drawn[third + third // 2, 0], drawn[third + third // 2, -1])
    assert drawn[-1, 0, 3] == 0
    assert drawn[-1, -1, 3] == 255
