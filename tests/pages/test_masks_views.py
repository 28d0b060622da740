"""The views of the masks page as values: each is made outside of any session, and every control acts."""

import numpy as np
import plotly.graph_objects as go
import pytest

from components.catalogue import lesson
from components.control_kinds import Slider, of
from components.panels.masks.effects import switch
from components.panels.masks.lab import MaskLab
from components.panels.masks.stream import StreamingALongText
from components.settings import page_controls, parse_link, query_texts
from components.words import LANGUAGES
from models.errors import InputError
from models.masks.settings import MOST_CELLS
from tests.pages.screen import views

VIEWS = {view.name: view for view in views("masks")}
# Where a slider is not there at first: settings under which it is.
SHOWN = {
    "prefix": {"base": "prefix", "pattern": "all"},
    "window": {"pattern": "window"},
    "sinks": {"pattern": "lambda", "window": 2},
    "step": {"pattern": "dilated", "window": 9},
    "block": {"pattern": "blocks"},
    "padded": {"pattern": "all", "side": "left"},
}
LIVE = [
    (view.name, name)
    for view in VIEWS.values()
    for name, control in view.controls().items()
    if isinstance(control, Slider) and control.live
]


def texts(view) -> dict[str, str]:
    """The figures that follow a slider, as they are sent."""
    return {plot.name: plot.drawn.text for plot in view.stage().plots if not plot.waits}


@pytest.mark.parametrize("name", VIEWS)
def test_a_stage_is_made_from_the_view_alone(name):
    stage = VIEWS[name].at().stage()
    assert stage.plots
    for plot in stage.plots:
        assert isinstance(plot.made, go.Figure)
        assert plot.alt


def test_every_key_is_declared_once():
    assert page_controls(tuple(VIEWS.values()))


@pytest.mark.parametrize(("view", "slider"), LIVE)
def test_every_live_slider_moves_a_figure(view, slider):
    held = VIEWS[view].at(**SHOWN.get(slider, {}))
    control = held.controls()[slider]
    assert control.shown is None or control.shown(held)
    low, high = of(control.low, held), of(control.high, held)
    middle = held.with_(**{slider: (low + high) / 2})
    drawn = [texts(held.with_(**{slider: low})), texts(middle), texts(held.with_(**{slider: high}))]
    assert all(set(figures) == set(drawn[0]) for figures in drawn)
    assert any(len({figures[name] for figures in drawn}) > 1 for name in drawn[0])


@pytest.mark.parametrize("name", ["prefix", "window", "sinks", "step", "block", "padded", "counts"])
def test_controls_that_cannot_act_are_not_there(name):
    view = MaskLab.at(base="causal", pattern="all", side="none")
    assert not view.controls()[name].shown(view)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_link_of_the_lesson_opens_a_stage(language):
    read = lesson("masks", language)
    known = page_controls(tuple(VIEWS.values()))
    links = [*read.scenes, *(link for item in (*read.questions, *read.claims) for link in item.links)]
    for link in links:
        asked = query_texts(link.query)
        view = VIEWS[asked.pop("masks_view", "lab")]
        parse_link("&".join(f"{key}={value}" for key, value in asked.items()), known)
        made = view.from_query(link.query)
        assert made.trouble is None
        assert made.stage().plots, link


def test_links_on_cells_reach_them_on_the_text_that_they_name():
    read = lesson("masks", "en")
    links = [link for item in (*read.questions, *read.claims) for link in item.links]
    reached = [MaskLab.from_query(link.query) for link in links if "cells=" in link.query]
    assert reached
    for view in reached:
        assert view.mask_settings.cells_inside(view.trace.tokens_shown) == view.mask_settings.cells


def test_the_window_is_the_text_s_length_at_most_and_another_in_each_view_until_it_is_moved():
    tokens = MaskLab.at().trace.tokens_shown
    assert MaskLab.at(window=500).window == tokens
    cost = VIEWS["cost"]
    assert (MaskLab.at().window, cost.at().window, cost.at(window=500).window) == (4, 64, 500)
    assert cost.at().parameters()["masks_window"] is None


def test_a_click_turns_a_pair_over_and_back_and_a_hundred_are_enough():
    view = MaskLab.at(pattern="all")
    click = {"x": "1 · key", "y": "3 · query"}
    once = switch(view, click)
    assert (once.cells, once.query, once.key) == ("3.1", 3, 1)
    assert (once.visible != view.visible).nonzero().tolist() == [[3, 1]]
    assert switch(once, click).cells == ""
    many = ",".join(f"{row}.{column}" for row in range(10) for column in range(10))
    assert len(many.split(",")) == MOST_CELLS
    with pytest.raises(InputError, match="100 cells are switched"):
        switch(MaskLab.at(cells=many), {"x": "11 · key", "y": "11 · query"})
    assert len(switch(MaskLab.at(cells=many), click).cells.split(",")) == MOST_CELLS - 1


def test_losses_of_a_stream_wait_for_the_release():
    stage = StreamingALongText.at(stream_tokens=64, stream_prefill=40).stage()
    assert {plot.name: plot.waits for plot in stage.plots} == {
        "stream_shape": False,
        "stream_losses": True,
    }


def test_the_shape_says_how_much_is_kept_and_where_decoding_begins():
    view = StreamingALongText.at(stream_tokens=64, stream_prefill=40, stream_window=10, stream_sinks=2)
    figure = view.stage().plots[0].made
    assert len(view.token_ids) == 64
    # 1 + … + 12 of the first tokens, 12 of each later one, of 64·65/2
    share = (78 + 52 * 12) / (64 * 65 / 2)
    assert figure.layout.title.text.startswith("12 keys kept, 19% of all")
    assert f"{share:.0%} of causal pairs" in figure.layout.title.text
    assert figure.layout.shapes[0].y0 == figure.layout.shapes[0].y1 == 39.5
    cells = np.asarray(figure.data[0].z)
    assert (~np.isnan(cells)).sum() == 78 + 52 * 12
