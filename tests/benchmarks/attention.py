"""The attention page: redraws while a slider is dragged, tracing, many sessions, their memory."""

import asyncio
from contextlib import AbstractAsyncContextManager
from statistics import median, quantiles
from urllib.parse import quote

import torch
from playwright.sync_api import Browser, Page
from transformers import AutoModelForCausalLM

from models.networks.catalogue import DEFAULT, EMBEDDED
from models.networks.loading import Network, load
from models.networks.tracing import trace_ids
from tests.benchmarks.bare import CHART, bare
from tests.benchmarks.browsing import browser, drag, events, milliseconds_to_redraw, start_stopwatch
from tests.benchmarks.figures import Figure, Goal
from tests.benchmarks.forwards import in_turns, text_of
from tests.benchmarks.sessions import Session, keep_moving, sessions
from tests.browser.driving import figure, held, move, ranges, ready, redraws, slider, zoom_in
from tests.browser.server import Server, serving

HEATMAP, TEMPERATURE = "attention_heatmap", "attention_temperature"
LOW, HIGH = 0.2, 5.0  # temperatures that sessions ask for
WINDOW = {"width": 1280, "height": 1600}
DRAG_SECONDS = 5
SINGLE_MOVES = 20
SESSIONS, INTERVAL, LOAD_SECONDS, ALONE_SECONDS = 40, 2.0, 40.0, 20.0
FURTHER_SESSIONS, FIRST_SESSIONS = 20, 5


def measure() -> list[Figure]:
    network = load(DEFAULT)
    figures = traced_forward(network)
    text = text_of(network, 64)
    with serving() as loupe, bare(CHART) as chart:
        figures += asyncio.run(memory_of_sessions(loupe))
        with browser() as opened:
            figures += [*dragging(opened, loupe, text), single_move(opened, loupe, chart, text)]
        return figures + asyncio.run(many_sessions(loupe))


# Tracing


def traced_forward(network: Network) -> list[Figure]:
    """A trace against transformers' eager attention that returns its weights, in turns."""
    torch.set_num_threads(1)  # as in the process
    eager = AutoModelForCausalLM.from_pretrained(EMBEDDED / DEFAULT, attn_implementation="eager").eval()
    figures = []
    for tokens in (64, 256):
        ids = torch.randint(1, network.vocabulary, (tokens,), generator=torch.Generator().manual_seed(0))

        def theirs(ids: torch.Tensor = ids) -> None:
            with torch.no_grad():
                eager(ids[None], output_attentions=True, use_cache=False)

        def ours(ids: torch.Tensor = ids) -> None:
            trace_ids(network, ids)

        value, reference = in_turns(ours, theirs)
        name = f"traced forward against eager output_attentions, {tokens} tokens"
        figures.append(Figure("attention", name, value, "ms", Goal("ratio", "<=", 1.2), reference))
    return figures


# In the browser


def open_page(opened: Browser, loupe: Server, text: str) -> Page:
    """The page with the text, the figure and the slider on screen, and a stopwatch running."""
    page = opened.new_page(viewport=WINDOW, locale="en-US")
    page.goto(f"{loupe.address}/attention?attention_text={quote(text)}")
    ready(page)
    figure(page, HEATMAP).scroll_into_view_if_needed()
    slider(page, TEMPERATURE).scroll_into_view_if_needed()
    start_stopwatch(page, "input", f".st-key-{HEATMAP} .figure[data-drawn]")
    return page


def dragging(opened: Browser, loupe: Server, text: str) -> list[Figure]:
    """Drag to and fro, and count the redraws of the zoomed heatmap beside the mouse's events."""
    page = open_page(opened, loupe, text)
    zoom_in(page, HEATMAP)
    zoomed = ranges(page, HEATMAP)
    with held(page, TEMPERATURE, 0.5):
        before = redraws(page, HEATMAP), events(page)
        seconds = drag(page, TEMPERATURE, DRAG_SECONDS)
        after = redraws(page, HEATMAP), events(page)
    kept = float(ranges(page, HEATMAP) == zoomed)
    page.close()
    drawn, sent = ((now - then) / seconds for now, then in zip(after, before, strict=True))
    return [
        Figure(
            "attention",
            "redraws while a slider is dragged, beside the slider's events",
            drawn,
            "1/s",
            Goal("value", ">=", 25),
            sent,
        ),
        Figure("attention", "zoom kept while dragging", kept, "1 = yes", Goal("value", ">=", 1)),
    ]


def single_move(opened: Browser, loupe: Server, chart: Server, text: str) -> Figure:
    """Slider event to finished redraw, one move at a time; the bare application's event is release."""
    page = open_page(opened, loupe, text)
    ours = []
    with held(page, TEMPERATURE, 0.3):
        for step in range(SINGLE_MOVES):
            move(page, TEMPERATURE, 0.32 + 0.02 * step)
            ours.append(milliseconds_to_redraw(page, still=150))
    page.close()
    return Figure(
        "attention",
        "slider event to finished redraw, against st.slider and st.plotly_chart",
        median(ours),
        "ms",
        Goal("ratio", "<=", 0.7),
        median(bare_moves(opened, chart)),
    )


def bare_moves(opened: Browser, chart: Server) -> list[float]:
    page = opened.new_page(viewport=WINDOW)
    page.goto(chart.address)
    ready(page)
    page.locator(".heatmaplayer image").wait_for()
    start_stopwatch(page, "pointerup", ".heatmaplayer image")
    box = page.get_by_test_id("stSlider").locator("[role=slider], input[type=range]").bounding_box()
    track = page.get_by_test_id("stSlider").bounding_box()
    if box is None or track is None:
        raise RuntimeError("The bare application shows no slider.")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    taken = []
    for step in range(SINGLE_MOVES):
        page.mouse.move(x, y)
        page.mouse.down()
        x = track["x"] + track["width"] * (0.2 + 0.03 * step)
        page.mouse.move(x, y, steps=3)
        page.mouse.up()
        taken.append(milliseconds_to_redraw(page, still=300))
    page.close()
    return taken


# Many sessions


def opened_pages(loupe: Server, count: int) -> AbstractAsyncContextManager[list[Session]]:
    return sessions(loupe.address, count, "attention", "", TEMPERATURE)


async def many_sessions(loupe: Server) -> list[Figure]:
    """Server time of a rerun while forty people move a slider, beside one who is alone."""
    p95 = []
    for count, seconds in ((1, ALONE_SECONDS), (SESSIONS, LOAD_SECONDS)):
        async with opened_pages(loupe, count) as pages:
            taken = await keep_moving(pages, seconds, INTERVAL, LOW, HIGH, seed=count)
        p95.append(1000 * quantiles(taken, n=20)[-1])
    alone, together = p95
    name = f"rerun with {SESSIONS} sessions, p95, beside one session alone"
    return [Figure("attention", name, together, "ms", Goal("value", "<=", 150), alone)]


async def memory_of_sessions(loupe: Server) -> list[Figure]:
    """Growth of resident memory with further sessions, each of which has moved its slider."""
    async with opened_pages(loupe, FIRST_SESSIONS) as first:  # fill the caches that sessions share
        await keep_moving(first, 2 * INTERVAL, INTERVAL, LOW, HIGH, seed=0)
        before = loupe.resident_megabytes
        async with opened_pages(loupe, FURTHER_SESSIONS) as further:
            await keep_moving(further, INTERVAL, INTERVAL, LOW, HIGH, seed=1)
            growth = (loupe.resident_megabytes - before) / FURTHER_SESSIONS
    return [Figure("attention", "memory of a further session", growth, "MB", Goal("value", "<=", 3))]
