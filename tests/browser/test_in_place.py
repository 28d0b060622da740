"""What a drag puts in the place of an old picture is what Plotly paints of those numbers from the start."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driving import figure, held, move, ready, slider

PAINTED = """figure => {
    const attributes = ["d", "transform", "href", "style", "x", "y", "width", "height"];
    const said = node =>
        attributes.map(name => node.getAttribute(name)).join(" ").replace(/url\\(.*?\\)/g, "");
    return [...figure.querySelectorAll(".cartesianlayer .plot :is(path, image, text)")].map(
        node => said(node) + (node.tagName === "text" ? node.textContent : ""));
}"""
IN_PLACE = "figure => Number(figure.dataset.inPlace ?? 0)"


@pytest.mark.parametrize(
    ("page_of", "query", "control", "key"),
    [
        pytest.param("preference", "", "beta", "rewards", id="lines and markers"),
        pytest.param("preference", "", "beta", "gradient", id="bars on two axes"),
        pytest.param("preference", "preference_view=plane", "beta", "plane", id="contour"),
        pytest.param("context", "context_view=frequencies", "base", "wavelengths", id="logarithmic axis"),
        pytest.param("positions", "positions_view=encode", "base", "matrix", id="heatmap"),
        pytest.param("policy", "", "epsilon", "advantages", id="written cells"),
        pytest.param("attention", "attention_view=softmax", "factor", "softmax", id="bars by category"),
    ],
)
def test_a_dragged_figure_is_the_one_that_its_address_shows(
    page: Page, page_of: str, query: str, control: str, key: str
) -> None:
    control, key = f"{page_of}_{control}", f"{page_of}_{key}"
    page.goto(f"/{page_of}?{query}")
    ready(page)
    slider(page, control).scroll_into_view_if_needed()
    with held(page, control, 0.4):
        for at in (0.42, 0.45, 0.47, 0.5):
            drawn = figure(page, key).get_attribute("data-drawn") or ""
            move(page, control, at)
            expect(figure(page, key)).not_to_have_attribute("data-drawn", drawn)
    expect(page).to_have_url(re.compile(control))
    ready(page)
    assert figure(page, key).evaluate(IN_PLACE) > 0
    dragged = figure(page, key).evaluate(PAINTED)
    page.reload()
    ready(page)
    assert figure(page, key).evaluate(PAINTED) == dragged
