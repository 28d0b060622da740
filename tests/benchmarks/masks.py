"""The masks page: redraws while the window is dragged, masks of 1,024 tokens, the panel's own passes."""

from urllib.parse import quote

import torch
from playwright.sync_api import Browser
from torch.nn.attention.flex_attention import create_mask
from transformers import AutoModelForCausalLM

from models.attention.next_token import compare_next_token
from models.masks.effects import head_stage, loss_by_position
from models.masks.settings import MaskSettings
from models.networks.catalogue import DEFAULT, EMBEDDED
from models.networks.interventions import Intervention, Visible
from models.networks.loading import Network, load
from models.networks.tracing import trace_ids
from tests.benchmarks import masks_batch
from tests.benchmarks.browsing import browser, drag, events, start_stopwatch
from tests.benchmarks.figures import Figure, Goal
from tests.benchmarks.forwards import in_turns, text_of
from tests.browser.driving import figure, held, ready, redraws, slider
from tests.browser.server import Server, serving

MATRIX, MAPS, SLIDER = "masks_matrix", "masks_maps", "masks_window"
SCREEN = {"width": 1280, "height": 1600}
DRAG_SECONDS = 5
MASKS = {
    "window": MaskSettings(pattern="window", window=128),
    "sinks and window": MaskSettings(pattern="lambda", window=128, sinks=4),
}


def measure() -> list[Figure]:
    torch.set_num_threads(1)  # as in the process
    network = load(DEFAULT)
    figures = [*mask_construction(), network_panel(network), *masks_batch.measure()]
    with serving() as loupe, browser() as opened:
        return figures + dragging(opened, loupe, text_of(network, 64))


def mask_construction() -> list[Figure]:
    """A matrix of 1,024 × 1,024 from the algebra, against torch's own from the same function."""
    figures = []
    for name, settings in MASKS.items():
        mask = settings.mask(1_024)
        ours, theirs = in_turns(
            lambda mask=mask: mask.to_tensor(1_024, 1_024),
            lambda mask=mask: create_mask(mask, None, None, 1_024, 1_024, device="cpu"),
        )
        title = f"mask of 1,024 × 1,024 ({name}), against torch's create_mask"
        figures.append(Figure("masks", title, ours, "ms", Goal("ratio", "<=", 2.0), theirs))
    return figures


def network_panel(network: Network) -> Figure:
    """All that the lab computes for 128 tokens, against two plain forward passes of transformers."""
    ids = torch.randint(1, network.vocabulary, (128,), generator=torch.Generator().manual_seed(0))
    eager = AutoModelForCausalLM.from_pretrained(EMBEDDED / DEFAULT, attn_implementation="eager").eval()
    settings = MASKS["window"]

    def panel() -> None:
        visible = settings.mask(len(ids)).to_tensor(len(ids), len(ids))
        change = Intervention(visible=Visible.from_tensor(visible))
        before, after = trace_ids(network, ids), trace_ids(network, ids, change)
        for traced in (before, after):
            head_stage(traced, 1, 2, "softmax")
            loss_by_position(traced.logits, ids)
        compare_next_token(before.logits[-1], after.logits[-1], 8)

    def twice() -> None:
        with torch.no_grad():
            for _pass in range(2):
                eager(ids[None], use_cache=False)

    ours, theirs = in_turns(panel, twice)
    title = "lab's computation for 128 tokens, against two plain forward passes"
    return Figure("masks", title, ours, "ms", Goal("ratio", "<=", 1.5), theirs)


def dragging(opened: Browser, loupe: Server, text: str) -> list[Figure]:
    """Drag the window to and fro; count redraws of the matrix and of the head beside the mouse's events."""
    page = opened.new_page(viewport=SCREEN, locale="en-US")
    page.goto(f"{loupe.address}/masks?masks_text={quote(text)}")
    ready(page)
    figure(page, MATRIX).scroll_into_view_if_needed()
    slider(page, SLIDER).scroll_into_view_if_needed()
    start_stopwatch(page, "input", f".st-key-{MATRIX} .figure[data-drawn]")
    with held(page, SLIDER, 0.5):
        before = redraws(page, MATRIX), redraws(page, MAPS), events(page)
        seconds = drag(page, SLIDER, DRAG_SECONDS)
        after = redraws(page, MATRIX), redraws(page, MAPS), events(page)
    page.close()
    matrix, maps, sent = ((now - then) / seconds for now, then in zip(after, before, strict=True))
    return [
        Figure(
            "masks",
            "redraws of the matrix at 64 tokens, beside the slider's events",
            matrix,
            "1/s",
            Goal("value", ">=", 25),
            sent,
        ),
        # rests 50 ms between two redraws, so that it stays below 20
        Figure(
            "masks",
            "redraws of the head, beside the same events",
            maps,
            "1/s",
            Goal("value", ">=", 12),
            sent,
        ),
    ]
