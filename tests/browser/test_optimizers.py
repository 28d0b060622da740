"""The optimizers page as a person meets it: a start is clicked, steps are scrubbed, a network trained."""

import re

from playwright.sync_api import Page, WebSocket, expect

from tests.browser.driving import button, click_cell, figure, held, move, ready, redraws, values

CONTOUR, LOSS = "optimizers_contour", "optimizers_loss"
# Twenty steps of the person's own run; the recorded one is drawn faintly.
OWN_STEPS = """() => {
    const figure = document.querySelector(".st-key-optimizers_training_loss .figure");
    return figure?._fullData?.[0].opacity === 1 && figure.calcdata[0].length > 20;
}"""
RAIL = f".st-key-{CONTOUR} .slider-rail-touch-rect"


def open_link(page: Page, query: str = "") -> None:
    page.goto(f"/optimizers?{query}")
    ready(page)


def frame(page: Page, key: str) -> int:
    return int(figure(page, key).get_attribute("data-frame") or -1)


def test_a_click_sets_the_start_of_all_paths(page: Page) -> None:
    open_link(page, "optimizers_surface=himmelblau")
    before = values(page, CONTOUR)
    drawn = redraws(page, CONTOUR)
    click_cell(page, CONTOUR, 2.0, -3.0)
    expect(page.get_by_label("Start x, y")).to_have_value(re.compile(r"^2, -3$"))
    expect(figure(page, CONTOUR)).not_to_have_attribute("data-drawn", str(drawn))
    assert values(page, CONTOUR) != before
    starts = figure(page, CONTOUR).evaluate(
        "figure => figure._fullData.filter(t => t.mode === 'lines').map(t => [t.x[0], t.y[0]])"
    )
    assert len(starts) == 4
    assert all(abs(x - 2) < 0.1 and abs(y + 3) < 0.1 for x, y in starts)
    expect(page).to_have_url(re.compile("optimizers_start=2"))


def test_scrubbing_needs_no_server_and_the_anatomy_follows_when_it_rests(page: Page) -> None:
    sent: list[str | bytes] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framesent", lambda data: sent.append(data))

    page.on("websocket", listen)
    open_link(page)
    drawn = redraws(page, CONTOUR)
    box = page.locator(RAIL)
    box.scroll_into_view_if_needed()
    rail = box.bounding_box()
    assert rail is not None
    middle = rail["y"] + rail["height"] / 2
    page.mouse.move(rail["x"] + 0.2 * rail["width"], middle)
    page.mouse.down()
    page.mouse.move(rail["x"] + 0.3 * rail["width"], middle)
    before = len(sent)
    frames = set()
    for percent in range(30, 81):
        page.mouse.move(rail["x"] + percent / 100 * rail["width"], middle)
        frames.add(frame(page, CONTOUR))
    assert frame(page, LOSS) == frame(page, CONTOUR)
    told = len(sent) - before
    assert redraws(page, CONTOUR) == drawn
    page.mouse.up()
    assert len(frames) > 25
    assert told == 0
    last = frame(page, CONTOUR)
    expect(page.locator(".st-key-optimizers_step_widget input")).to_have_value(str(last))
    expect(page).to_have_url(re.compile(f"optimizers_step={last}(&|$)"))
    marker, line = figure(page, CONTOUR).evaluate(
        "(f, step) => [f._fullData.at(-1).x[0], f._fullData.find(t => t.mode === 'lines').x[step]]", last
    )
    assert abs(marker - line) < 1e-3


def test_play_runs_through_the_steps(page: Page) -> None:
    open_link(page, "optimizers_steps=60&optimizers_chosen=sgd,adam")
    page.locator(f".st-key-{CONTOUR} .updatemenu-button").first.click()
    page.wait_for_function(
        f"() => Number(document.querySelector('.st-key-{CONTOUR} .figure').dataset.frame) === 60"
    )
    expect(page.locator(".st-key-optimizers_step_widget input")).to_have_value("60")


def test_paths_follow_a_slider_while_it_is_held(page: Page) -> None:
    open_link(page, "optimizers_chosen=sgd,adam&optimizers_steps=100")
    drawn = redraws(page, CONTOUR)
    with held(page, "optimizers_adam_rate", 0.7):
        for percent in range(70, 50, -1):
            move(page, "optimizers_adam_rate", percent / 100)
        expect(figure(page, CONTOUR)).not_to_have_attribute("data-drawn", str(drawn))
    expect(page).to_have_url(re.compile("optimizers_adam_rate="))


def test_a_wrong_formula_leaves_the_last_good_figure(page: Page) -> None:
    open_link(page, "optimizers_surface=typed&optimizers_formula=x%5E2%2By%5E2")
    before = values(page, CONTOUR)
    box = page.get_by_label("f(x, y) =")
    box.fill("x.__class__")
    box.press("Enter")
    expect(page.get_by_text("have a meaning here")).to_be_visible()
    ready(page)
    assert values(page, CONTOUR) == before
    expect(box).to_have_value("x.__class__")


def test_a_network_trains_before_ones_eyes_and_can_be_stopped(page: Page) -> None:
    open_link(page, "optimizers_view=training&optimizers_training_steps=1000")
    expect(page.get_by_text("Recorded; press Start for your own.")).to_be_visible()
    button(page, "Start").click()
    loss = figure(page, "optimizers_training_loss")
    page.wait_for_function(OWN_STEPS)
    button(page, "Stop").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    ready(page)
    y = loss.evaluate("figure => figure.calcdata[0].map(point => point.y)")
    assert 20 < len(y) < 1000
    assert y[-1] < y[0]


def test_back_undoes_one_number_after_the_other(page: Page) -> None:
    """Each Back sends two requests; what the second one needs must not have been thrown away."""
    open_link(page, "optimizers_steps=300")
    steps = page.get_by_label("Steps", exact=True).first
    for number in ("120", "60"):
        steps.fill(number)
        steps.press("Enter")
        expect(page).to_have_url(re.compile(f"optimizers_steps={number}$"))
        ready(page)
    for number in ("120", "300"):
        page.go_back()
        expect(page).to_have_url(re.compile(f"optimizers_steps={number}$"))
        ready(page)
        expect(steps).to_have_value(number)
        expect(page.get_by_role("dialog")).to_have_count(0)
