"""Below the lab: the arithmetic of one pair before and after, the checks, and things to take along."""

import streamlit as st
import torch
from torch.nn.attention.flex_attention import create_mask
from transformers.masking_utils import sdpa_mask

from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.masks.effects import matrix_figure, matrix_table
from components.panels.masks.settings import ALL_LAYERS, MasksNetwork
from components.panels.network.arithmetic import Cell, choose_cell, explain, in_code, sink_line
from components.takeaway import Check, checked_against, take_with_you
from components.words import _
from models.attention.dot_product import CellArithmetic
from models.attention.head_view import rounding_of_attention
from models.masks.effects import difference_from_sdpa_where_seen
from models.numerics.comparison import largest_difference


def pair_arithmetic(view: MasksNetwork) -> None:
    """One pair of tokens in the open head: what the mask does to its weight, step by step."""
    base = view.trace
    st.markdown("##### " + _("The arithmetic of one pair"))
    choose_cell(view, base)
    query, key = view.cell(base)
    st.markdown(
        _("How much does `{query}` (token {i}) read from `{key}` (token {j})?").format(
            query=in_code(base.labels[query]), key=in_code(base.labels[key]), i=query, j=key
        )
    )
    cell = Cell(view.layer, view.open_head, query, key)
    left, right = st.columns(2, gap="medium")
    for column, trace, name in (
        (left, base, _("the network as it is")),
        (right, view.changed, _("with your mask")),
    ):
        with column:
            st.markdown(f"**{name}**")
            formulas(explain(trace, cell))
    note(view, "arithmetic")
    checked_against(checks(view))
    take_away(view)


def formulas(steps: CellArithmetic) -> None:
    """Score, mask, softmax over what is left of the row."""
    seen = int(torch.isfinite(steps.row).sum())
    lines = [rf"s&={steps.scaled:.4f}"]
    if not steps.visible:
        lines.append(rf"s+m&={steps.scaled:.4f}-\infty=-\infty")
    if seen == 0 and not steps.sink:
        lines.append(r"\textstyle\sum_j e^{s_j+m_j}&=0\quad\Rightarrow\quad\alpha=0/0")
    else:
        keys = steps.denominator - steps.sink
        counted = _("{count} visible keys").format(count=seen) if seen > 1 else _("1 visible key")
        lines += [
            rf"\textstyle\sum_j e^{{s_j+m_j-\max}}&={keys:.4f}\quad\text{{({counted})}}",
            *sink_line(steps),
            rf"\alpha&=\frac{{{steps.exponential:.4f}}}{{{steps.denominator:.4f}}}={steps.probability:.4f}",
        ]
    show_formula(r"\begin{aligned}" + r"\\[8pt]".join(lines) + r"\end{aligned}")
    if seen == 0 and not steps.sink:
        st.caption(
            _(
                "This query sees nothing. The network then reads all keys alike, "
                "as transformers' eager attention does."
            )
        )


def checks(view: MasksNetwork) -> list[Check]:
    """The mask by both libraries, and what a layer put out under it by torch."""
    visible = view.visible
    n, mask = len(visible), view.mask_settings.mask(len(visible))
    whole = sdpa_mask(1, n, n, mask_function=mask, allow_is_causal_skip=False)
    theirs = {
        "transformers sdpa_mask": visible if whole is None else whole[0, 0],
        "torch create_mask": create_mask(mask, None, None, n, n, device="cpu")[0, 0],
    }
    made = [
        Check(name, largest_difference(visible.float(), other.float()), 0.0)
        for name, other in theirs.items()
    ]
    record = view.changed.layers[view.layer]
    if record.softcap is None:
        difference = difference_from_sdpa_where_seen(record)
        made.append(Check("torch scaled_dot_product_attention", difference, rounding_of_attention(record)))
    return made


def take_away(view: MasksNetwork) -> None:
    take_with_you(view, lambda: matrix_table(view), lambda: matrix_figure(view), snippet(view))


def snippet(view: MasksNetwork) -> str:
    """Python that repeats the numbers of the head and of the loss."""
    where = None if view.where == ALL_LAYERS else frozenset({view.where})
    return f"""from models.masks.effects import head_stage
from models.masks.settings import MaskSettings
from models.networks.interventions import Intervention, Visible
from models.networks.loading import load
from models.networks.tracing import trace

network, text = load({view.network_name!r}), {view.text!r}
tokens = trace(network, text).tokens_shown
mask = {view.mask_settings!r}.mask(tokens).to_tensor(tokens, tokens)
changed = trace(network, text, Intervention(visible=Visible.from_tensor(mask), visible_in={where!r}))
after = head_stage(changed, {view.layer}, {view.open_head}, {view.head_stage!r})
print(after)
"""
