"""The mixture-of-experts page: redraws while routing 8,192 tokens, all measures, a layer trained live."""

import json
import time

import torch
from playwright.sync_api import Browser, Page

from models.moe.lab import measure as measure_routing
from models.moe.lab import skewed_logits
from models.moe.layer_training import STEPS, Knobs, LayerSettings, LayerTraining
from models.moe.routers import sigmoid_routing
from models.moe.routing import difference_from_rule, route_text
from models.networks.catalogue import EMBEDDED, MIXTURES
from models.networks.domains import domain_samples
from models.networks.loading import load
from tests.benchmarks.browsing import browser, drag, events, start_stopwatch
from tests.benchmarks.figures import Figure, Goal
from tests.benchmarks.forwards import in_turns
from tests.browser.driving import PATIENCE, figure, held, ready, redraws, slider
from tests.browser.server import Server, serving

SCREEN = {"width": 1280, "height": 1600}
DRAG_SECONDS = 5
TOKENS, EXPERTS, CHOSEN = 65_536, 256, 8


def measure() -> list[Figure]:
    torch.set_num_threads(1)  # as in the process
    figures = [all_measures(), layer_training(), *agreement(), *balance()]
    with serving() as loupe, browser() as opened:
        return [*figures, *dragging(opened, loupe), trained_on_the_page(opened, loupe)]


def all_measures() -> Figure:
    """Routing with every measure of the page, against sigmoid and topk alone."""
    logits = skewed_logits(TOKENS, EXPERTS, 0.3, seed=0)
    ours, bare = in_turns(
        lambda: measure_routing(sigmoid_routing(logits, CHOSEN), groups=8),
        lambda: torch.topk(logits.sigmoid(), CHOSEN, dim=-1),
    )
    name = f"routing {TOKENS:,} tokens over {EXPERTS} experts with all measures, against sigmoid and topk"
    return Figure("moe", name, ours, "ms", Goal("ratio", "<=", 2.0), bare)


def layer_training() -> Figure:
    """The small layer, all steps, without the page."""
    knobs = Knobs("sign", bias_rate=0.01)
    training = LayerTraining(LayerSettings())
    begun = time.perf_counter()
    for _step in training.steps(lambda: knobs):
        pass
    seconds = time.perf_counter() - begun
    return Figure("moe", f"{STEPS} steps of the small layer", seconds, "s", Goal("value", "<=", 5.0))


def agreement() -> list[Figure]:
    """Weights of transformers' own router against models.moe.routers, over all layers of each network."""
    figures = []
    for name in MIXTURES:
        network = load(name)
        text = route_text(network, domain_samples()["python"])
        largest = max(
            difference_from_rule(network, index, layer) for index, layer in enumerate(text.layers)
        )
        title = f"largest difference of router weights from transformers, {name}"
        figures.append(Figure("moe", title, largest, "", Goal("value", "<=", 1e-6)))
    return figures


def balance() -> list[Figure]:
    """The committed networks, as their publication measured them on held-out text."""
    held_out = {
        name: json.loads((EMBEDDED / name / "measurements.json").read_text())["held_out"]
        for name in MIXTURES
    }
    bias, loss = held_out["loupe-moe-bias"], held_out["loupe-moe-loss"]
    return [
        Figure(
            "moe",
            "MaxVio_global of loupe-moe-bias",
            bias["max_violation_global"],
            "",
            Goal("value", "<=", 0.3),
        ),
        Figure(
            "moe",
            "loss of loupe-moe-bias, against loupe-moe-loss",
            bias["mean_nats_per_character"],
            "nats/character",
            Goal("ratio", "<=", 1.0),
            loss["mean_nats_per_character"],
        ),
    ]


def open_view(opened: Browser, loupe: Server, view: str) -> Page:
    page = opened.new_page(viewport=SCREEN, locale="en-US")
    page.set_default_timeout(PATIENCE)
    page.goto(f"{loupe.address}/moe?moe_view={view}")
    ready(page)
    return page


def dragging(opened: Browser, loupe: Server) -> list[Figure]:
    """8,192 tokens over 256 experts are routed and measured anew for every redraw."""
    figures = []
    for key, name in (("moe_kept", "groups"), ("moe_skew", "preference")):
        page = open_view(opened, loupe, "groups")
        slider(page, key).scroll_into_view_if_needed()
        start_stopwatch(page, "input", ".st-key-moe_grid .figure[data-drawn]")
        with held(page, key, 0.5):
            before = redraws(page, "moe_grid"), events(page)
            seconds = drag(page, key, DRAG_SECONDS)
            after = redraws(page, "moe_grid"), events(page)
        page.close()
        drawn, sent = ((now - then) / seconds for now, then in zip(after, before, strict=True))
        title = f"redraws while routing 8,192 tokens over 256 experts, dragging the {name}"
        figures.append(Figure("moe", title, drawn, "1/s", Goal("value", ">=", 15), sent))
    return figures


def trained_on_the_page(opened: Browser, loupe: Server) -> Figure:
    """From the click on Start to the end of the run, every drawing included."""
    page = open_view(opened, loupe, "train")
    figure(page, "moe_load_time").scroll_into_view_if_needed()
    page.get_by_role("button", name="Start").click()
    page.get_by_test_id("stProgress").wait_for()
    begun = time.perf_counter()
    page.get_by_text(f"{STEPS} of {STEPS} steps").wait_for()
    seconds = time.perf_counter() - begun
    page.close()
    name = f"{STEPS} steps on the page, from the first drawing to the last"
    return Figure("moe", name, seconds, "s", Goal("value", "<=", 5.0))
