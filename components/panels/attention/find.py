"""The head finder: a sortable table of what every head does; a chosen row opens the head."""

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from components.controls import choose, whole_number
from components.page import Page, take_with_you
from components.panels import panel
from components.panels.network.text import Choice
from components.take.attention import heads_on_repeats, heads_on_text
from components.take.script import Script
from components.words import _
from models.attention.head_finder import FoundHeads, score_repeats, score_text, trace_repeats
from models.networks.loading import load

PERIOD, COPIES = 24, 4
SOURCES = ("text", "repeated")


@panel
def find_heads(page: Page, choice: Choice) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = choose(
            _("Score the heads on"),
            SOURCES,
            f"{page.name}_source",
            lambda name: _("this text") if name == "text" else _("repeated random tokens"),
            default="text",
            style="segments",
        )
        seed = whole_number(_("Seed"), 0, 9_999, f"{page.name}_seed", 0, width=140)
    if source == "repeated":
        found = score_repeats(load(choice.network), PERIOD, COPIES, seed)
    else:
        found = score_text(choice.trace)
    rows = score_table(found)

    def open_head() -> None:
        chosen = st.session_state[f"{page.name}_table"].selection.rows
        if chosen:
            st.session_state[f"{page.name}_layer"] = int(rows.iloc[chosen[0]]["layer"])
            st.session_state[f"{page.name}_head"] = int(rows.iloc[chosen[0]]["head"])
            st.session_state[f"{page.name}_view"] = "look"

    st.dataframe(
        rows,
        hide_index=True,
        column_config=columns(),
        on_select=open_head,
        selection_mode="single-row",
        key=f"{page.name}_table",
        height=min(38 * len(rows) + 40, 620),
    )
    if st.session_state[f"{page.name}_table"].selection.rows:
        st.rerun()  # the whole page: another view is open now
    page.note("find")
    take_with_you(f"{page.name}_find", lambda: rows, None, lambda: python(choice, found, source, seed))


def python(choice: Choice, found: FoundHeads, source: str, seed: int) -> Script:
    if source == "text":
        return heads_on_text(choice.network, choice.trace, found)
    repeats = trace_repeats(load(choice.network), PERIOD, COPIES, seed)
    return heads_on_repeats(choice.network, repeats, found)


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
