"""The quantization page: redraws while a slider is dragged, quantizers beside libraries, the map."""

import time
from collections.abc import Callable
from statistics import median

import bitsandbytes.functional as bnb
import torch
from playwright.sync_api import Browser
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    dequantize_affine,
    quantize_affine,
)

from models.networks.catalogue import DEFAULT
from models.networks.loading import load
from models.networks.texts import passages
from models.numerics.nf4 import nf4_levels
from models.quantization.floats import quantize_codebook
from models.quantization.integers import IntegerScheme, quantize_integers
from models.quantization.quantized_network import sensitivities, token_ids
from models.quantization.weight_formats import Setting
from tests.benchmarks.browsing import browser, events, start_stopwatch
from tests.benchmarks.figures import Figure, Goal
from tests.browser.driving import held, ready, redraws, slider, track
from tests.browser.server import Server, serving

EVENTS_A_SECOND, DRAG_SECONDS = 30, 5
TURNS = 9
SIZE = 2_048  # squared: 4 M weights
MAIN = "quantization_error"  # the error map is the figure that follows every value
WINDOW = {"width": 1280, "height": 1900}


def measure() -> list[Figure]:
    figures = [*quantizers(), sensitivity()]
    with serving() as loupe, browser() as opened:
        for module, name, goal in (
            ("mlp.down_proj", "192 × 512", 15),
            ("random", "1,024 × 1,024", 10),
        ):
            figures += [dragging(opened, loupe, module, name, key, goal) for key in ("bits", "group")]
    return figures


def in_turns(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Median milliseconds of both, taken in turns; the first turns are not counted."""
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(TURNS + 2):
        for call, times in zip((ours, theirs), taken, strict=True):
            begun = time.perf_counter()
            call()
            if turn >= 2:
                times.append(1000 * (time.perf_counter() - begun))
    return median(taken[0]), median(taken[1])


def quantizers() -> list[Figure]:
    torch.set_num_threads(1)  # as in the process
    x = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))

    def their_nf4() -> None:
        packed, state = bnb.quantize_4bit(x, blocksize=64, quant_type="nf4")
        bnb.dequantize_4bit(packed, state)

    def their_int8() -> None:
        block = (1, SIZE)
        scale, zero = choose_qparams_affine(x, MappingType.SYMMETRIC, block, torch.int8, -127, 127)
        codes = quantize_affine(x, block, scale, zero, torch.int8, -127, 127)
        dequantize_affine(codes, block, scale, zero, torch.int8, -127, 127)

    nf4 = in_turns(lambda: quantize_codebook(x, nf4_levels(), 64), their_nf4)
    int8 = in_turns(lambda: quantize_integers(x, IntegerScheme(8, "symmetric", "channel")), their_int8)
    return [
        Figure(
            "quantization",
            "4 M weights to NF4 and back, bitsandbytes",
            nf4[0],
            "ms",
            Goal("ratio", "<=", 3),
            nf4[1],
        ),
        Figure(
            "quantization",
            "4 M weights to int8 per channel and back, torchao",
            int8[0],
            "ms",
            Goal("ratio", "<=", 2),
            int8[1],
        ),
    ]


def sensitivity() -> Figure:
    network = load(DEFAULT)
    begun = time.perf_counter()
    for _found in sensitivities(network, token_ids(network, passages()[0].excerpt), Setting(bits=3)):
        pass
    seconds = time.perf_counter() - begun
    return Figure("quantization", "sensitivity map of loupe-llama", seconds, "s", Goal("value", "<=", 20))


def dragging(opened: Browser, loupe: Server, module: str, name: str, key: str, goal: float) -> Figure:
    """Redraws a second of the error map while a slider is dragged, beside the slider's events."""
    page = opened.new_page(viewport=WINDOW, locale="en-US")
    page.goto(f"{loupe.address}/quantization?quantization_module={module}")
    ready(page)
    control = f"quantization_{key}"
    # bits have seven places: as fast a hand as it takes to reach another with every move
    sweeps = DRAG_SECONDS * EVENTS_A_SECOND / 14 if key == "bits" else 4
    slider(page, control).scroll_into_view_if_needed()
    start_stopwatch(page, "input", f".st-key-{MAIN} .figure[data-drawn]")
    with held(page, control, 0.5):
        before = redraws(page, MAIN), events(page)
        left, middle, width = track(page, control)
        moves = EVENTS_A_SECOND * DRAG_SECONDS
        begun = time.perf_counter()
        for step in range(1, moves + 1):
            phase = sweeps * step / moves % 1
            page.mouse.move(left + width * (0.05 + 1.8 * min(phase, 1 - phase)), middle)
            time.sleep(max(0.0, begun + step / EVENTS_A_SECOND - time.perf_counter()))
        seconds = time.perf_counter() - begun
        after = redraws(page, MAIN), events(page)
    page.close()
    drawn, sent = ((now - then) / seconds for now, then in zip(after, before, strict=True))
    what = f"redraws while {key} is dragged, {name}, beside the slider's events"
    return Figure("quantization", what, drawn, "1/s", Goal("value", ">=", goal), sent)
