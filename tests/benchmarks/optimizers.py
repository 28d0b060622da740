"""The optimizers page: paths beside bare loops, a batch beside single runs, scrubbing in the browser."""

import time
from collections.abc import Callable
from statistics import median

import torch
from playwright.sync_api import Page

from models.optimizers.learning_rates import basin, rates_between
from models.optimizers.surfaces import Surface, SurfaceChoice, surface
from models.optimizers.trajectories import Choice, Run, trajectory
from tests.benchmarks.browsing import browser
from tests.benchmarks.figures import Figure, Goal
from tests.browser.driving import figure, ready
from tests.browser.server import serving

EIGHT = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam")
BARE: dict[str, Callable] = {
    "sgd": lambda p, lr: torch.optim.SGD(p, lr=lr),
    "momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    "nesterov": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True),
    "adagrad": lambda p, lr: torch.optim.Adagrad(p, lr=lr),
    "rmsprop": lambda p, lr: torch.optim.RMSprop(p, lr=lr),
    "adam": lambda p, lr: torch.optim.Adam(p, lr=lr),
    "adamw": lambda p, lr: torch.optim.AdamW(p, lr=lr),
    "nadam": lambda p, lr: torch.optim.NAdam(p, lr=lr),
}
STEPS, SWEEP_STEPS, RATES = 500, 300, 40
TURNS, SWEEP_TURNS = 5, 2
SMALL = 1e-4  # a learning rate at which nothing diverges: all steps are taken


def measure() -> list[Figure]:
    torch.set_num_threads(1)  # as in the process
    made = surface(SurfaceChoice("rosenbrock"))
    return [paths(made), sweep(made), one_changed(made), *scrubbing()]


def bare_loop(made: Surface, kind: str, rate: float, steps: int) -> None:
    point = torch.tensor(made.start, dtype=torch.float64, requires_grad=True)
    optimizer = BARE[kind]([point], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        made.function(point[0], point[1]).backward()
        optimizer.step()


def in_turns(turns: int, *calls: Callable[[], object]) -> list[float]:
    """Median seconds of each call, in turns, so that a busy moment meets them all."""
    taken: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(turns):
        for call, times in zip(calls, taken, strict=True):
            begun = time.perf_counter()
            call()
            times.append(time.perf_counter() - begun)
    return [median(times) for times in taken]


def paths(made: Surface) -> Figure:
    def ours() -> None:
        for kind in EIGHT:
            trajectory(made, made.start, Choice(kind, SMALL), Run(STEPS))

    def theirs() -> None:
        for kind in EIGHT:
            bare_loop(made, kind, SMALL, STEPS)

    value, reference = in_turns(TURNS, ours, theirs)
    name = f"8 optimizers, {STEPS} steps, against bare torch.optim loops"
    return Figure("optimizers", name, 1000 * value, "ms", Goal("ratio", "<=", 1.5), 1000 * reference)


def sweep(made: Surface) -> Figure:
    rates = rates_between(1e-6, 1e-4, RATES)

    def ours() -> None:
        for kind in EIGHT:
            basin(made, made.start, Choice(kind, SMALL), rates, Run(SWEEP_STEPS))

    def theirs() -> None:
        for kind in EIGHT:
            for rate in rates.tolist():
                bare_loop(made, kind, rate, SWEEP_STEPS)

    value, reference = in_turns(SWEEP_TURNS, ours, theirs)
    name = f"{RATES} learning rates, 8 optimizers, {SWEEP_STEPS} steps, against one at a time"
    return Figure("optimizers", name, 1000 * value, "ms", Goal("ratio", "<=", 0.2), 1000 * reference)


def one_changed(made: Surface) -> Figure:
    """How many of eight paths are computed when one learning rate changes."""
    import components.panels.optimizers.setup as setup

    walked = []
    original = setup.trajectory

    def counted(*given):
        walked.append(given)
        return original(*given)

    setup.trajectory = counted
    try:
        for adam in (0.1, 0.2):
            walked.clear()
            for kind in EIGHT:
                choice = Choice(kind, adam if kind == "adam" else SMALL)
                setup.path_of(SurfaceChoice("rosenbrock"), made.start, choice, Run(50))
    finally:
        setup.trajectory = original
    name = "paths computed when one of eight optimizers changes"
    return Figure("optimizers", name, float(len(walked)), "paths", Goal("value", "<=", 1))


def scrubbing() -> list[Figure]:
    """Drag the slider inside the figure: frames shown beside mouse events, and messages sent meanwhile."""
    with serving() as loupe, browser() as opened:
        page = opened.new_page(viewport={"width": 1280, "height": 1600}, locale="en-US")
        sent: list[object] = []
        page.on("websocket", lambda socket: socket.on("framesent", lambda data: sent.append(data)))
        page.goto(f"{loupe.address}/optimizers")
        ready(page)
        share, messages = drag(page, sent)
    return [
        Figure(
            "optimizers",
            "frames shown for each mouse event while scrubbing",
            share,
            "frames",
            Goal("value", ">=", 0.9),
        ),
        Figure(
            "optimizers",
            "messages to the server while scrubbing",
            messages,
            "messages",
            Goal("value", "<=", 1),
        ),
    ]


def drag(page: Page, sent: list[object]) -> tuple[float, float]:
    contour = figure(page, "optimizers_contour")
    rail = page.locator(".st-key-optimizers_contour .slider-rail-touch-rect")
    rail.scroll_into_view_if_needed()
    box = rail.bounding_box()
    if box is None:
        raise RuntimeError("The slider of the figure is not on screen.")
    middle = box["y"] + box["height"] / 2
    contour.evaluate(
        "figure => { figure.seen = 0; figure.on('plotly_animatingframe', () => figure.seen++); }"
    )
    page.mouse.move(box["x"] + 0.1 * box["width"], middle)
    page.mouse.down()
    before, moves = len(sent), 100
    for number in range(moves):
        page.mouse.move(box["x"] + (0.1 + 0.8 * number / moves) * box["width"], middle)
    page.wait_for_timeout(50)
    messages = len(sent) - before
    page.mouse.up()
    return contour.evaluate("figure => figure.seen") / moves, float(messages)
