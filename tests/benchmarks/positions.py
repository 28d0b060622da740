"""The positions page: redraws while base and position are dragged, the numbers behind them, the sum."""

import time
from statistics import median

import torch
from playwright.sync_api import Browser, Page
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from models.networks.catalogue import DEFAULT
from models.networks.loading import load
from models.networks.rotary import rotary_of
from models.networks.texts import passages
from models.networks.tracing import trace
from models.positions.absolute import sinusoidal
from models.rotary.rope import scores_by_pair
from tests.benchmarks.attention import in_turns
from tests.benchmarks.browsing import browser, events, start_stopwatch
from tests.benchmarks.figures import Figure, Goal
from tests.browser.driving import figure, held, ready, redraws, slider, track
from tests.browser.server import Server, serving

WINDOW = {"width": 1280, "height": 1600}
EVENTS_A_SECOND, DRAG_SECONDS = 30, 5
WIDTH, LENGTH = 64, 256  # dimensions and positions of the matrix that is dragged
SIZE = f"{WIDTH} dimensions × {LENGTH} positions"  # the page's defaults
DRAGS = (  # what is dragged, in which view, and the figure that follows
    (f"base, {SIZE}", "encode", "positions_base", "positions_matrix"),
    (f"position, {SIZE}", "encode", "positions_position", "positions_matrix"),
    ("query's position in the microscope", "rotate", "positions_moved", "positions_circles"),
)


def measure() -> list[Figure]:
    torch.set_num_threads(1)  # as in the process
    figures = [matrix(), largest_difference_of_sums()]
    with serving() as loupe, browser() as opened:
        return [dragging(opened, loupe, *drag) for drag in DRAGS] + figures


def dragging(opened: Browser, loupe: Server, what: str, view: str, key: str, drawn: str) -> Figure:
    """Drag to and fro, and count the figure's redraws beside the slider's events."""
    page = opened.new_page(viewport=WINDOW, locale="en-US")
    page.goto(f"{loupe.address}/positions?positions_view={view}")
    ready(page)
    figure(page, drawn).scroll_into_view_if_needed()
    slider(page, key).scroll_into_view_if_needed()
    start_stopwatch(page, "input", f".st-key-{drawn} .figure[data-drawn]")
    with held(page, key, 0.5):
        before = redraws(page, drawn), events(page)
        seconds = drag(page, key)
        after = redraws(page, drawn), events(page)
    page.close()
    shown, sent = ((now - then) / seconds for now, then in zip(after, before, strict=True))
    name = f"redraws a second while dragging: {what}"
    return Figure("positions", name, shown, "1/s", Goal("value", ">=", 25), sent)


def drag(page: Page, key: str) -> float:
    """Move the pressed mouse to and fro, EVENTS_A_SECOND times a second; the seconds it took."""
    left, middle, width = track(page, key)
    moves = EVENTS_A_SECOND * DRAG_SECONDS
    begun = time.perf_counter()
    for step in range(1, moves + 1):
        phase = 2 * step / moves % 1
        page.mouse.move(left + width * (0.1 + 1.6 * min(phase, 1 - phase)), middle)
        time.sleep(max(0.0, begun + step / EVENTS_A_SECOND - time.perf_counter()))
    return time.perf_counter() - begun


def matrix() -> Figure:
    """The sinusoidal matrix beside cos and sin of transformers' rotary module, in turns."""
    config = LlamaConfig(hidden_size=WIDTH, num_attention_heads=1, head_dim=WIDTH)
    x, at = torch.zeros(LENGTH, WIDTH), torch.arange(LENGTH)[None]
    module = LlamaRotaryEmbedding(config)
    value, reference = in_turns(lambda: sinusoidal(LENGTH, WIDTH), lambda: module(x, at))
    name = f"sinusoidal matrix, {WIDTH} × {LENGTH}, beside transformers' cos and sin"
    return Figure("positions", name, value, "ms", Goal("ratio", "<=", 3), reference)


def largest_difference_of_sums() -> Figure:
    """Sums over the pairs against the network's raw scores, on every layer and head of a passage."""
    network = load(DEFAULT)
    traced = trace(network, passages()[0].text)
    at, differences = torch.arange(traced.tokens_shown), []
    for layer, record in enumerate(traced.layers):
        rotary = rotary_of(network, traced, layer)
        for head, key_head in enumerate(record.key_of_head):
            query, key = record.unrotated_query[head], record.unrotated_key[key_head]
            scores = scores_by_pair(query, key, at, at, rotary.frequency, rotary.layout, rotary.factor)
            differences.append(float((scores.total - record.raw[head]).abs().max()))
    scale = median(float(record.raw.abs().max()) for record in traced.layers)
    name = f"largest difference of a sum over pairs from q·k, scores up to {scale:.0f}"
    return Figure("positions", name, max(differences), "q·k", Goal("value", "<=", 1e-3))
