"""What a mask costs against full causal attention: pairs, FLOPs, blocks, and the keys to be kept."""

import pandas as pd
import streamlit as st
import torch
from torch.nn.attention.flex_attention import create_block_mask

from components.controls import choose
from components.figures.masks import block_map, steps
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.masks.controls import LONGEST, mask_controls, settings_now
from components.panels.network.text import Choice
from components.take.masks import cost as cost_script
from components.traces import facts
from components.words import _
from models.masks.algebra import Causal
from models.masks.costs import MaskCost, Shape, kept_keys, mask_cost, visible_blocks
from models.masks.settings import MaskSettings

BYTES = 2  # bfloat16
BLOCKS = (16, 32, 64, 128)  # FlexAttention's own is 128
LIVE, SETTLED = ("live_cost",), ("live_cost", "cost_numbers", "cost_details")


@panel
def cost(page: Page, choice: Choice) -> None:
    """The mask's rule on any length; single clicks belong to one text and are left out."""
    mask_controls(page, LONGEST, LIVE, SETTLED)
    left, right = st.columns([3, 1], gap="medium")
    with left:
        live_slider(
            _("Length"), f"{page.name}_length", 16, LONGEST, page.default("length"), 1, log=True,
            unit=_("tokens"), live=LIVE, settled=SETTLED,
        )  # fmt: skip
    with right:
        block = choose(
            _("Block of the kernel"), BLOCKS, f"{page.name}_kernel", str, default=page.default("kernel")
        )
    settings_now(page)  # what cannot be read is refused here, once for all that follows
    live_cost(page, block)
    cost_numbers(page, choice, block)
    page.note("cost")
    cost_details(page, choice, block)


def shape_of(network: str) -> Shape:
    loaded = facts(network)
    return Shape(loaded.layers, loaded.heads, loaded.key_heads, loaded.head_width)


def rule_now(page: Page) -> tuple[MaskSettings, int, torch.Tensor]:
    """The settings without single cells, the length, and what is visible."""
    settings = settings_now(page)
    state = st.session_state.get(f"{page.name}_length", page.default("length"))
    length = min(LONGEST, max(1, round(state)))
    return settings, length, settings.rule(length).to_tensor(length, length)


@live_panel
def live_cost(page: Page, block: int) -> None:
    _settings, length, visible = rule_now(page)
    causal = Causal().to_tensor(length, length)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        figure = steps(
            {_("full causal"): kept_keys(causal).numpy(), _("with your mask"): kept_keys(visible).numpy()},
            x_title=_("Token that is being written"),
            y_title=_("Keys and values kept"),
            y_range=(0, 1.04 * length),
        )
        live_figure(figure, f"{page.name}_kept", _("Keys that a decoder holds at each step"))
    with right:
        blocks = visible_blocks(visible, block).numpy()
        alt = _("Blocks of pairs that a block-sparse kernel computes")
        live_figure(block_map(blocks, block), f"{page.name}_blocks", alt, rest=60)


@panel
def cost_numbers(page: Page, choice: Choice, block: int) -> None:
    """The table beside full causal attention."""
    _settings, length, visible = rule_now(page)
    causal = Causal().to_tensor(length, length)
    shape = shape_of(choice.network)
    found = mask_cost(visible, shape, BYTES, block)
    st.markdown(cost_table(found, mask_cost(causal, shape, BYTES, block)))
    if found.rereading:
        st.caption(
            _(
                "{count} tokens read later ones. Their vectors change when a token is added, so a cache "
                "cannot be gone on with there: it serves only what comes after them."
            ).format(count=found.rereading)
        )


def rows_of(found: MaskCost, causal: MaskCost) -> list[tuple[str, float, float]]:
    return [
        (_("Visible pairs"), found.pairs, causal.pairs),
        (_("FLOPs, visible pairs only"), found.flops, causal.flops),
        (_("FLOPs of a dense kernel"), found.dense_flops, causal.dense_flops),
        (_("Blocks computed, of {all}").format(all=found.all_blocks), found.blocks, causal.blocks),
        (_("Most keys held at once"), found.kept, causal.kept),
        (_("Bytes for them (bfloat16)"), found.kept_bytes, causal.kept_bytes),
    ]


def cost_table(found: MaskCost, causal: MaskCost) -> str:
    """Markdown: the browser shows it at once, where a data frame would hold up the figures."""
    heads = "", _("with your mask"), _("full causal"), _("share")
    lines = [f"| {' | '.join(heads)} |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {brief(mine)} | {brief(full)} | {mine / full:.0%} |"
        for name, mine, full in rows_of(found, causal)
    ]
    return "\n".join(lines)


def brief(number: float) -> str:
    """A whole number up to a million, then three digits and M: the table must fit a phone."""
    return f"{number:,.0f}" if number < 1e6 else f"{number / 1e6:,.3g} M"


@panel
def cost_details(page: Page, choice: Choice, block: int) -> None:
    """FlexAttention's own block mask, made now, and the table to take along."""
    settings, length, visible = rule_now(page)
    shape = shape_of(choice.network)
    theirs = create_block_mask(
        settings.rule(length), None, None, length, length, device="cpu", BLOCK_SIZE=block
    )
    ours = visible_blocks(visible, block).float()
    checked_against(
        [Check("torch create_block_mask", float((theirs.to_dense()[0, 0].float() - ours).abs().max()), 0.0)]
    )
    causal = mask_cost(Causal().to_tensor(length, length), shape, BYTES, block)
    found = mask_cost(visible, shape, BYTES, block)
    table = pd.DataFrame(rows_of(found, causal), columns=["", _("with your mask"), _("full causal")])
    take_with_you(
        f"{page.name}_cost",
        lambda: table,
        None,
        lambda: cost_script(found, settings, length, shape, BYTES, block),
    )
