"""Below the lab: the arithmetic of one pair before and after, the checks, and things to take along."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.nn.attention.flex_attention import create_mask
from transformers.masking_utils import sdpa_mask

from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.masks.live_mask import ALL_LAYERS, Shown, changed_trace, mask_now, matrix_figure
from components.panels.network.arithmetic import Cell, choose_cell, explain, in_code
from components.panels.network.text import Choice
from components.take.masks import mask_lab
from components.take.script import Script
from components.words import _
from models.attention.dot_product import CellArithmetic
from models.attention.head_view import rounding_of_attention, strongest_cell
from models.masks.effects import difference_from_sdpa_where_seen
from models.masks.settings import MaskSettings
from models.networks.tracing import Trace
from models.numerics.comparison import largest_difference


@panel
def mask_details(page: Page, choice: Choice, shown: Shown) -> None:
    """One pair of tokens in the open head: what the mask does to its weight, step by step."""
    base = choice.trace
    settings, visible = mask_now(page, base.tokens_shown)
    changed = changed_trace(choice, visible, shown.where)
    st.markdown("##### " + _("The arithmetic of one pair"))
    choose_cell(page, base)
    query, key = pair_now(page, base, shown)
    st.markdown(
        _("How much does `{query}` (token {i}) read from `{key}` (token {j})?").format(
            query=in_code(base.labels[query]), key=in_code(base.labels[key]), i=query, j=key
        )
    )
    cell = Cell(shown.layer, shown.head, query, key)
    left, right = st.columns(2, gap="medium")
    for column, trace, name in (
        (left, base, _("the network as it is")),
        (right, changed, _("with your mask")),
    ):
        with column:
            st.markdown(f"**{name}**")
            formulas(explain(trace, cell))
    page.note("arithmetic")
    checked_against(checks(settings, visible, changed, shown))
    take_away(page, choice, settings, visible, shown)


def pair_now(page: Page, base: Trace, shown: Shown) -> tuple[int, int]:
    """The pair that was chosen or clicked last; the strongest of the last row while none was."""
    query, key = (st.session_state.get(f"{page.name}_{name}", -1) for name in ("query", "key"))
    last, strongest = strongest_cell(base, shown.layer, shown.head)
    return (query if 0 <= query <= last else last), (key if 0 <= key <= last else strongest)


def formulas(steps: CellArithmetic) -> None:
    """Score, mask, softmax over what is left of the row."""
    seen = int(torch.isfinite(steps.row).sum())
    lines = [rf"s&={steps.scaled:.4f}"]
    if not steps.visible:
        lines.append(rf"s+m&={steps.scaled:.4f}-\infty=-\infty")
    if seen == 0:
        lines.append(r"\textstyle\sum_j e^{s_j+m_j}&=0\quad\Rightarrow\quad\alpha=0/0")
    else:
        lines += [
            rf"\textstyle\sum_j e^{{s_j+m_j-\max}}&={steps.denominator:.4f}\quad({seen}\times)",
            rf"\alpha&=\frac{{{steps.exponential:.4f}}}{{{steps.denominator:.4f}}}={steps.probability:.4f}",
        ]
    st.latex(r"\begin{aligned}" + r"\\[8pt]".join(lines) + r"\end{aligned}")
    if seen == 0:
        st.caption(
            _(
                "This query sees nothing. The network then reads all keys alike, "
                "as transformers' eager attention does."
            )
        )


def checks(settings: MaskSettings, visible: torch.Tensor, changed: Trace, shown: Shown) -> list[Check]:
    """The mask by both libraries, and what a layer put out under it by torch."""
    n, mask = len(visible), settings.mask(len(visible))
    whole = sdpa_mask(1, n, n, mask_function=mask, allow_is_causal_skip=False)
    theirs = {
        "transformers sdpa_mask": visible if whole is None else whole[0, 0],
        "torch create_mask": create_mask(mask, None, None, n, n, device="cpu")[0, 0],
    }
    found = [
        Check(name, largest_difference(visible.float(), made.float()), 0.0) for name, made in theirs.items()
    ]
    record = changed.layers[shown.layer]
    if record.softcap is None:
        difference = difference_from_sdpa_where_seen(record)
        found.append(Check("torch scaled_dot_product_attention", difference, rounding_of_attention(record)))
    return found


def take_away(
    page: Page, choice: Choice, settings: MaskSettings, visible: torch.Tensor, shown: Shown
) -> None:
    base = choice.trace

    def table() -> pd.DataFrame:
        labels = [f"{index} {label}" for index, label in enumerate(base.labels)]
        return pd.DataFrame(visible.int().numpy(), columns=labels).assign(query=labels)

    def figure() -> go.Figure:
        return matrix_figure(settings, visible, base)

    layers = None if shown.where == ALL_LAYERS else frozenset({shown.where})
    cell = (shown.layer, shown.head, pair_now(page, base, shown)[0])

    def python() -> Script:
        changed = changed_trace(choice, visible, shown.where)
        return mask_lab(choice.network, changed, settings, layers, cell)

    take_with_you(page.name, table, figure, python)
