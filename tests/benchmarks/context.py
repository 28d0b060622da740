"""The context page: redraws while a slider is dragged, all methods against plain passes, agreement."""

import time
from statistics import median

import torch
from playwright.sync_api import Browser
from transformers import AutoModelForCausalLM

from components.panels.context.settings import METHODS, settings_of, way_of
from models.context.long_context import PASSAGES, loss_by_position, passage_tokens
from models.networks.catalogue import DEFAULT, EMBEDDED
from models.rotary.library import library_rope
from models.rotary.scaling import scaled_rope
from tests.benchmarks.browsing import browser, events, start_stopwatch
from tests.benchmarks.figures import Figure, Goal
from tests.browser.driving import figure, held, ready, redraws, slider, track
from tests.browser.server import Server, serving

WAVELENGTHS = "context_wavelengths"
WINDOW = {"width": 1280, "height": 1600}
EVENTS_A_SECOND, DRAG_SECONDS = 30, 5
LENGTH, TURNS = 2_048, 5
# 64 dimensions, trained at 256
ADDRESS = "context?context_view=frequencies&context_width=64"


def measure() -> list[Figure]:
    torch.set_num_threads(1)  # as in the process
    figures = [agreement(), all_methods()]
    with serving() as loupe, browser() as opened:
        return figures + [dragging(opened, loupe, name) for name in ("base", "factor")]


def agreement() -> Figure:
    """Largest relative difference of any frequency from transformers' functions."""
    worst = 0.0
    for method in METHODS:
        for factor in (1.0, 2.0, 8.0, 64.0):
            for width, base, trained in ((32, 1e4, 256), (64, 1e4, 2_048), (128, 5e5, 8_192)):
                target = round(factor * trained)
                settings = settings_of(
                    method, factor, width=width, base=base, trained=trained, target=target
                )
                theirs = library_rope(settings, target).inverse_frequencies
                ours = scaled_rope(settings, target).inverse_frequencies[: len(theirs)]
                if len(theirs):
                    worst = max(worst, float(((ours - theirs).abs() / theirs.clamp(min=1e-30)).max()))
    name = "scaled frequencies against transformers, largest relative difference"
    return Figure("context", name, worst, "1", Goal("value", "<=", 1e-6))


def all_methods() -> Figure:
    """Loss by position under every method, against as many plain passes of transformers' network."""
    plain = AutoModelForCausalLM.from_pretrained(EMBEDDED / DEFAULT, attn_implementation="sdpa").eval()
    tokens = passage_tokens(DEFAULT, PASSAGES[0], LENGTH)
    ways = [way_of(method, 8.0, 128) for method in METHODS]
    ours, theirs = [], []
    for turn in range(TURNS + 1):
        begun = time.perf_counter()
        for way in ways:
            loss_by_position(DEFAULT, way, tokens)
        between = time.perf_counter()
        for _method in METHODS:
            with torch.no_grad():
                plain(tokens[None], use_cache=False)
        if turn:  # the first is not measured: networks are built in it
            ours.append(1000 * (between - begun))
            theirs.append(1000 * (time.perf_counter() - between))
    name = f"loss of {len(METHODS)} methods at {LENGTH} tokens, against as many plain passes"
    return Figure("context", name, median(ours), "ms", Goal("ratio", "<=", 1.3), median(theirs))


def dragging(opened: Browser, loupe: Server, name: str) -> Figure:
    """Drag to and fro, and count the redraws of the wavelengths beside the mouse's events."""
    key = f"context_{name}"
    page = opened.new_page(viewport=WINDOW, locale="en-US")
    page.goto(f"{loupe.address}/{ADDRESS}")
    ready(page)
    figure(page, WAVELENGTHS).scroll_into_view_if_needed()
    slider(page, key).scroll_into_view_if_needed()
    start_stopwatch(page, "input", f".st-key-{WAVELENGTHS} .figure[data-drawn]")
    with held(page, key, 0.5):
        before = redraws(page, WAVELENGTHS), events(page)
        left, middle, width = track(page, key)
        moves = EVENTS_A_SECOND * DRAG_SECONDS
        begun = time.perf_counter()
        for step in range(1, moves + 1):
            phase = 2 * step / moves % 1
            page.mouse.move(left + width * (0.1 + 1.6 * min(phase, 1 - phase)), middle)
            time.sleep(max(0.0, begun + step / EVENTS_A_SECOND - time.perf_counter()))
        seconds = time.perf_counter() - begun
        after = redraws(page, WAVELENGTHS), events(page)
    page.close()
    drawn, sent = ((now - then) / seconds for now, then in zip(after, before, strict=True))
    return Figure(
        "context",
        f"redraws while {name} is dragged (64 dimensions, both figures), beside the slider's events",
        drawn,
        "1/s",
        Goal("value", ">=", 25),
        sent,
    )
