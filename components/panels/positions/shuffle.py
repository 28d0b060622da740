"""Why positions are needed at all: the same tokens in another order."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.positions import attention_tiles, change_by_layer
from components.lesson_parts import note
from components.panels.network.heads import OpensHead
from components.panels.positions.settings import Seeded
from components.settings import one_of
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.traces import traced
from components.words import _, mark
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

    @property
    def largest(self) -> float:
        return float(self.change.max())


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


@dataclass(frozen=True)
class WhyPositions(Seeded, OpensHead):
    """All four cases as curves; the chosen one's head before and after, put back in order."""

    page, name = "positions", "shuffle"
    case: str = one_of(
        list(CASES),
        "nothing",
        label=mark("What tells the network about order"),
        label_of=case_label,
        style="radio",
    )

    def outcome(self, case: str) -> Outcome:
        return outcome(self.network_name, self.text, self.seed, case, self.layer, self.open_head)

    @property
    def changes(self) -> dict[str, np.ndarray]:
        """Relative change by block, for each case by its label."""
        return {case_label(case): self.outcome(case).change for case in CASES}

    def stage(self) -> Stage:
        chosen = self.outcome(self.case)
        changed = _("How much the tokens' vectors change when the text is shuffled, block by block")
        weights = _("One head's attention on the text and on the shuffled text")
        return Stage(
            [
                Plot("change", change_by_layer(self.changes, case_label(self.case)), changed),
                Plot("shuffled", both_orders(chosen), weights, width=1.2),
            ]
        )

    def below(self) -> None:
        chosen = self.outcome(self.case)
        st.markdown(verdict(chosen.largest))
        note(self, "shuffle")
        if np.isfinite(chosen.difference):
            reference = _("the shuffled text's attention with torch scaled_dot_product_attention")
            checked_against([Check(reference, chosen.difference, chosen.allowed)])
        changes = self.changes
        take_with_you(
            self,
            lambda: pd.DataFrame(changes).rename_axis("blocks"),
            lambda: change_by_layer(changes, case_label(self.case)),
            snippet(self),
        )


def both_orders(chosen: Outcome) -> go.Figure:
    """One head's weights on the text, on the shuffled text with its tokens sorted back, and the gap."""
    parts = (chosen.plain, chosen.put_back, np.abs(chosen.plain - chosen.put_back))
    names = (_("in order"), _("shuffled, sorted back"), _("difference"))
    top = float(max(chosen.plain.max(), chosen.put_back.max()))
    words = _("Largest change of the tokens' vectors: {change}").format(
        change=largest_words(chosen.largest)
    )
    return attention_tiles(dict(zip(names, parts, strict=True)), top, columns=2, words=words)


def largest_words(largest: float) -> str:
    return f"{largest:.1e}" if largest < 0.01 else f"{largest:.1%}"


def verdict(largest: float) -> str:
    """In a sentence what the number means."""
    number = _("Largest relative change of the tokens' vectors") + f": **{largest_words(largest)}**. "
    if largest < 1e-3:
        return number + _("Only rounding is left: the network cannot tell the two orders apart.")
    return number + _("The network's vectors depend on the order of the text.")


def snippet(view: WhyPositions) -> str:
    """Python that repeats one curve."""
    positions, causal = CASES[view.case]
    return f"""from models.networks.loading import load
from models.networks.tracing import trace
from models.positions.shuffling import shuffle

network = load({view.network_name!r})
ids = trace(network, {view.text!r}).token_ids
print(shuffle(network, ids, {view.seed}, positions={positions}, causal={causal}).change)
"""
