"""The policy page: redraws while a slider is dragged over 16 × 16 rewards, losses, a real step."""

import time
from statistics import median
from urllib.parse import quote

import torch
from playwright.sync_api import Browser
from torch.nn.functional import logsigmoid

from models.policy.group_table import example
from models.policy.losses import KINDS, PolicyLoss, Rollout, objective, token_gradients
from models.policy.real_run import PolicyRun, train
from models.tables import write_grid
from tests.benchmarks.browsing import browser, drag, events, start_stopwatch
from tests.benchmarks.figures import Figure, Goal
from tests.browser.driving import held, ready, redraws, slider
from tests.browser.server import Server, serving
from tests.pages.screen import constant

MAIN = "policy_advantages"
WINDOW = {"width": 1280, "height": 1500}
TURNS, SECONDS = 9, 5
ANSWERS = 10_000


def measure() -> list[Figure]:
    figures = [losses(), real_step()]
    with serving() as loupe, browser() as opened:
        figures += [dragging(opened, loupe, key) for key in ("epsilon", "reward")]
    return figures


def losses() -> Figure:
    """All kinds of loss with their gradients for 10,000 answers, against bare logsigmoids of as many.

    One token an answer: what is measured is the arithmetic, not how long answers are.
    """
    torch.set_num_threads(1)  # as in the process
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(ANSWERS, 1, generator=generator)
    log_p = old + 0.1 * torch.randn(ANSWERS, 1, generator=generator)
    advantages = torch.randn(ANSWERS, generator=generator)
    rollout = Rollout(log_p, old, old, advantages, torch.ones(ANSWERS, 1))
    ours, bare = [], []
    for turn in range(TURNS + 2):
        begun = time.perf_counter()
        for kind in KINDS:
            objective(rollout, PolicyLoss(kind))
            token_gradients(rollout, PolicyLoss(kind))
        middle = time.perf_counter()
        for _kind in KINDS:
            x = log_p.clone().requires_grad_()
            logsigmoid(x).sum().backward()
        if turn >= 2:
            ours.append(1000 * (middle - begun))
            bare.append(1000 * (time.perf_counter() - middle))
    what = "all losses with gradients for 10,000 answers, bare logsigmoid"
    return Figure("policy", what, median(ours), "ms", Goal("ratio", "<=", 3), median(bare))


def real_step() -> Figure:
    """A GRPO step with G = 8 and 32 new tokens, as the page takes it."""
    prompt = constant("policy", "DEFAULTS")["policy_prompt"]
    seconds = [step.seconds for step in train(PolicyRun(prompt, steps=5))]
    return Figure("policy", "a GRPO step, G = 8, 32 tokens", median(seconds), "s", Goal("value", "<=", 3))


def dragging(opened: Browser, loupe: Server, key: str) -> Figure:
    """Redraws a second of the advantages of 16 × 16 answers, beside the slider's events."""
    page = opened.new_page(viewport=WINDOW, locale="en-US")
    names = ("rewards", "lengths", "ratios")
    grids = zip(names, example(16, 16, 0), strict=True)
    query = "&".join(f"policy_{name}={quote(write_grid(grid))}" for name, grid in grids)
    page.goto(f"{loupe.address}/policy?{query}")
    ready(page)
    control = f"policy_{key}"
    slider(page, control).scroll_into_view_if_needed()
    start_stopwatch(page, "input", f".st-key-{MAIN} .figure[data-drawn]")
    with held(page, control, 0.5):
        before = redraws(page, MAIN), events(page)
        seconds = drag(page, control, SECONDS)
        after = redraws(page, MAIN), events(page)
    page.close()
    drawn, sent = ((now - then) / seconds for now, then in zip(after, before, strict=True))
    what = f"redraws of 16 × 16 advantages while {key} is dragged, beside the slider's events"
    return Figure("policy", what, drawn, "1/s", Goal("value", ">=", 25), sent)
