"""The preference page: all losses with their gradients, redraws while β is dragged, a real step."""

import time
from collections.abc import Callable
from statistics import median
from urllib.parse import quote

import torch
from playwright.sync_api import Browser
from torch.nn.functional import logsigmoid

from models.networks.catalogue import DEFAULT
from models.preference.losses import LossSettings, Pairs, graded
from models.preference.real_run import Duel, train_on_pair
from models.preference.relatives import LOSSES
from models.preference.table import rows_of, write_text
from tests.benchmarks.browsing import EVENTS_A_SECOND, browser, drag, events, start_stopwatch
from tests.benchmarks.figures import Figure, Goal
from tests.browser.driving import held, ready, redraws, slider
from tests.browser.server import Server, serving

MANY, SHOWN, TURNS, DRAG_SECONDS = 10_000, 64, 41, 5
WINDOW = {"width": 1280, "height": 1400}


def measure() -> list[Figure]:
    torch.set_num_threads(1)  # as in the app
    figures = [losses(), real_step()]
    with serving() as loupe, browser() as opened:
        for view, main in (("calculator", "rewards"), ("plane", "plane")):
            figures.append(dragging(opened, loupe, view, f"preference_{main}"))
    return figures


def random_pairs(count: int) -> Pairs:
    """In float32, as a batch of a run would be."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 60, (2, count), generator=generator).float()
    reference = -15 - 40 * torch.rand(2, count, generator=generator)
    policy = reference + 16 * (torch.rand(2, count, generator=generator) - 0.5)
    return Pairs(*policy, *reference, *lengths)


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begun)


def losses() -> Figure:
    """Every loss forward and backward, each beside a bare logsigmoid, taken in turns.

    Medians by loss are added up: on a busy machine the whole list would be interrupted, and a single
    logsigmoid would not.
    """
    pairs, settings = random_pairs(MANY), LossSettings(smoothing=0.01)

    def bare() -> None:
        x = pairs.chosen.detach().requires_grad_()
        (-logsigmoid(x)).sum().backward()

    ours = theirs = 0.0
    for loss in LOSSES.values():
        turns = [
            (timed(lambda loss=loss: graded(loss, pairs, settings)), timed(bare)) for _ in range(TURNS)
        ]
        ours += median(turn[0] for turn in turns)
        theirs += median(turn[1] for turn in turns)
    what = f"{len(LOSSES)} losses and their gradients, 10,000 pairs, beside bare logsigmoids"
    return Figure("preference", what, ours, "ms", Goal("ratio", "<=", 3), theirs)


def real_step() -> Figure:
    """One DPO step on the network that ships, with scores and continuation, as the page takes it."""
    duel = Duel(DEFAULT, "The old keeper looked at the sea and said,", " 'Go.'", " 'Stay.'", steps=5)
    steps = train_on_pair(duel)
    next(steps)
    taken = [timed(lambda: next(steps)) for _ in range(duel.steps)]
    return Figure(
        "preference", "one real DPO step on loupe-llama", median(taken) / 1000, "s", Goal("value", "<=", 1)
    )


def dragging(opened: Browser, loupe: Server, view: str, main: str) -> Figure:
    """Redraws a second while β is dragged with 64 pairs, beside the slider's events."""
    page = opened.new_page(viewport=WINDOW, locale="en-US")
    pairs = quote(
        write_text([tuple(f"{float(cell):g}" for cell in row) for row in rows_of(random_pairs(SHOWN))])
    )
    page.goto(f"{loupe.address}/preference?preference_view={view}&preference_pairs={pairs}")
    ready(page)
    slider(page, "preference_beta").scroll_into_view_if_needed()
    start_stopwatch(page, "input", f".st-key-{main} .figure[data-drawn]")
    with held(page, "preference_beta", 0.5):
        before = redraws(page, main), events(page)
        seconds = drag(page, "preference_beta", DRAG_SECONDS)
        after = redraws(page, main), events(page)
    page.close()
    drawn, sent = ((now - then) / seconds for now, then in zip(after, before, strict=True))
    what = f"redraws of the {view} while β is dragged at {EVENTS_A_SECOND}/s, 64 pairs"
    return Figure("preference", what, drawn, "1/s", Goal("value", ">=", 25), sent)
