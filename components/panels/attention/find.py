"""The head finder: a sortable table of what every head does; a chosen row opens the head."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from components.controls import now, put
from components.lesson_parts import note
from components.panels.attention.look import HeadsAtWork
from components.panels.attention.settings import Seeded
from components.panels.network.reading import ReadsText
from components.settings import one_of
from components.stage import Block, Stage
from components.streamlit_private import ColumnConfig
from components.takeaway import take_with_you
from components.words import _, mark
from models.attention.head_finder import FoundHeads, score_repeats, score_text
from models.networks.loading import load

PERIOD, COPIES = 24, 4
SOURCES = ("text", "repeated")


def source_label(source: str) -> str:
    return _("this text") if source == "text" else _("repeated random tokens")


@dataclass(frozen=True)
class HeadFinder(Seeded, ReadsText):
    """What every head did on this text, as a table that sorts; a chosen row opens the head."""

    page, name = "attention", "find"
    source: str = one_of(SOURCES, label=mark("Score the heads on"), label_of=source_label, style="radio")

    def found(self) -> FoundHeads:
        if self.source == "repeated":
            return score_repeats(load(self.network_name), PERIOD, COPIES, self.seed)
        return score_text(self.trace)

    def stage(self) -> Stage:
        rows = score_table(self.found())
        return Stage(Block(lambda: draw_table(rows)))

    def below(self) -> None:
        note(self, "find")
        rows = score_table(self.found())
        take_with_you(
            self, lambda: rows, None, snippet(self.network_name, self.text, self.source, self.seed)
        )


def draw_table(rows: pd.DataFrame) -> None:
    """A chosen row opens its head in the first view."""
    key = "attention_table"

    def open_head() -> None:
        chosen = st.session_state[key].selection.rows
        if chosen:
            row = rows.iloc[chosen[0]]
            put(HeadsAtWork.at(**values_now(row)))

    def values_now(row: pd.Series) -> dict[str, object]:
        held = now(HeadsAtWork)
        return {name: getattr(held, name) for name in held.controls()} | {
            "layer": int(row["layer"]),
            "open_head": int(row["head"]),
        }

    st.dataframe(
        rows,
        hide_index=True,
        column_config=columns(),
        on_select=open_head,
        selection_mode="single-row",
        key=key,
        height=min(38 * len(rows) + 40, 470),
    )
    if st.session_state[key].selection.rows:
        st.rerun()  # the whole page: another view is open now


def snippet(network: str, text: str, source: str, seed: int) -> str:
    """Python that repeats the numbers of the table."""
    if source == "repeated":
        found = f"score_repeats(network, period={PERIOD}, copies={COPIES}, seed={seed})"
    else:
        found = f"score_text(trace(network, {text!r}))"
    return f"""from models.attention.head_finder import score_repeats, score_text
from models.networks.loading import load
from models.networks.tracing import trace

network = load({network!r})
found = {found}
print(found.scores.previous_token)
print(found.induction)
"""


def score_table(found: FoundHeads) -> pd.DataFrame:
    """A row a head, strongest previous-token head first; columns as HeadScores names them."""
    scores = found.scores
    layers, heads = scores.diagonal.shape
    names = ("previous_token", "induction", "first_token", "diagonal", "entropy", "normalised_entropy")
    columns = {"layer": np.repeat(np.arange(layers), heads), "head": np.tile(np.arange(heads), layers)}
    columns |= {name: getattr(scores, name).flatten().numpy() for name in names}
    columns["induction"] = found.induction.flatten().numpy()
    return pd.DataFrame(columns).sort_values("previous_token", ascending=False, ignore_index=True)


def columns() -> dict[str, ColumnConfig]:
    labels = {
        "previous_token": _("Previous token"),
        "induction": _("Induction"),
        "first_token": _("First token"),
        "diagonal": _("Itself"),
        "normalised_entropy": _("Entropy ÷ largest"),
    }
    bars = {
        name: st.column_config.ProgressColumn(label, min_value=0.0, max_value=1.0, format="%.3f")
        for name, label in labels.items()
    }
    return bars | {
        "layer": st.column_config.NumberColumn(_("Layer"), width="small"),
        "head": st.column_config.NumberColumn(_("Head"), width="small"),
        "entropy": st.column_config.NumberColumn(_("Entropy (nats)"), format="%.3f"),
    }
