"""Why positions are needed at all: the same tokens in another order."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from components.controls import choose, whole_number
from components.figures.positions import attention_tiles, change_by_layer
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.network.text import Choice
from components.panels.positions.head import choose_head
from components.take.positions import shuffle as shuffle_script
from components.traces import traced
from components.words import _
from models.attention.head_view import difference_from_sdpa, rounding_of_attention
from models.networks.loading import load
from models.positions.shuffling import shuffle as shuffle_tokens

CASES = {"both": (True, True), "positions": (True, False), "mask": (False, True), "nothing": (False, False)}


def case_label(case: str) -> str:
    return {
        "both": _("positions and causal mask"),
        "positions": _("positions, no mask"),
        "mask": _("causal mask, no positions"),
        "nothing": _("neither"),
    }[case]


@dataclass(frozen=True)
class Outcome:
    """What one case came to: changes by block, one head's weights, and the comparison with torch."""

    change: np.ndarray
    plain: np.ndarray
    put_back: np.ndarray
    difference: float
    allowed: float


@st.cache_data(max_entries=64, show_spinner=False)
def outcome(network: str, text: str, seed: int, case: str, layer: int, head: int) -> Outcome:
    """Both forward passes of a case, reduced to what is shown."""
    found = shuffle_tokens(load(network), traced(network, text).token_ids, seed, *CASES[case])
    before, after = found.plain.layers[layer], found.mixed.layers[layer]
    return Outcome(
        found.change.numpy(),
        before.probabilities[head].numpy(),
        found.put_back(after.probabilities[head]).numpy(),
        float("nan") if after.softcap is not None else difference_from_sdpa(after),
        rounding_of_attention(after),
    )


@panel
def shuffle(page: Page, choice: Choice) -> None:
    """All four cases as curves; the chosen one's head before and after, put back in order."""
    case = choose(
        _("What tells the network about order"),
        list(CASES),
        f"{page.name}_case",
        case_label,
        default="nothing",
        style="segments",
        width="stretch",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        selection = choose_head(page, choice.trace)
        seed = whole_number(_("Seed of the shuffle"), 0, 9_999, f"{page.name}_seed", 0, width=170)
    at = (choice.network, choice.text, seed)
    found = {name: outcome(*at, name, selection.layer, selection.head) for name in CASES}
    left, right = st.columns([2, 3], gap="medium")
    with left:
        series = {case_label(name): result.change for name, result in found.items()}
        figure = change_by_layer(series, case_label(case))
        alt = _("How much the tokens' vectors change when the text is shuffled, block by block")
        live_figure(figure, f"{page.name}_change", alt)
    with right:
        names = (_("in order"), _("shuffled, sorted back"), _("difference"))
        chosen = found[case]
        parts = (chosen.plain, chosen.put_back, np.abs(chosen.plain - chosen.put_back))
        top = float(max(chosen.plain.max(), chosen.put_back.max()))
        tiles = attention_tiles(dict(zip(names, parts, strict=True)), top, height=330)
        alt = _("One head's attention on the text and on the shuffled text")
        live_figure(tiles, f"{page.name}_shuffled", alt)
        largest = float(chosen.change.max())
        st.metric(
            _("Largest relative change of the tokens' vectors"),
            f"{largest:.1e}" if largest < 0.01 else f"{largest:.1%}",
        )
        verdict(largest)
    page.note("shuffle")
    if np.isfinite(chosen.difference):
        reference = _("the shuffled text's attention with torch scaled_dot_product_attention")
        checked_against([Check(reference, chosen.difference, chosen.allowed)])
    take_with_you(
        f"{page.name}_shuffle",
        lambda: pd.DataFrame(series).rename_axis("blocks").reset_index(),
        lambda: figure,
        lambda: shuffle_script(choice.network, choice.trace, seed, *CASES[case], chosen.change.tolist()),
    )


def verdict(largest: float) -> None:
    """In a sentence what the number means."""
    if largest < 1e-3:
        st.caption(_("Only rounding is left: the network cannot tell the two orders apart."))
    else:
        st.caption(_("The network's vectors depend on the order of the text."))
