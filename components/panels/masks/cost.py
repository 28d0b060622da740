"""What a mask costs against full causal attention: pairs, FLOPs, blocks, and the keys to be kept."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from jaxtyping import Bool
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from components.figures.masks import block_map, steps
from components.lesson_parts import note
from components.panels.masks.settings import LONGEST, SetsMask, visible_pairs
from components.panels.network.reading import ReadsNetwork
from components.settings import one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.masks.costs import MaskCost, Shape, kept_keys, mask_cost, visible_blocks
from models.masks.settings import MaskSettings
from models.numerics.comparison import largest_difference

BYTES = 2  # bfloat16
BLOCKS = (16, 32, 64, 128)  # FlexAttention's own is 128
CAUSAL = MaskSettings()


@dataclass(frozen=True)
class WhatItCosts(SetsMask, ReadsNetwork):
    """The mask's rule on any length; single clicks belong to one text and are left out."""

    page, name = "masks", "cost"
    rail_first = (*SetsMask.rail_first, "length", "kernel")
    first_window, has_cells = 64, False

    length: int = slider(16, LONGEST, 256, 1, log=True, unit=mark("tokens"), label=mark("Length"))
    kernel: int = one_of(BLOCKS, label=mark("Block of the kernel"))

    @property
    def shape(self) -> Shape:
        facts = self.facts
        return Shape(facts.layers, facts.heads, facts.key_heads, facts.head_width)

    @property
    def visible(self) -> Bool[Tensor, "query key"]:
        """Which key each query may read. Raises InputError."""
        return visible_pairs(self.mask_settings, self.length)

    @property
    def costs(self) -> tuple[MaskCost, MaskCost]:
        """Of this mask, and of full causal attention."""
        mine = mask_cost(self.visible, self.shape, BYTES, self.kernel)
        return mine, mask_cost(visible_pairs(CAUSAL, self.length), self.shape, BYTES, self.kernel)

    def kept_figure(self) -> go.Figure:
        masks = {_("full causal"): visible_pairs(CAUSAL, self.length), _("with your mask"): self.visible}
        return steps(
            {name: kept_keys(visible).numpy() for name, visible in masks.items()},
            x_title=_("Token that is being written"),
            y_title=_("Keys and values kept"),
            y_range=(0, 1.04 * self.length),
        )

    def stage(self) -> Stage:
        blocks = visible_blocks(self.visible, self.kernel).numpy()
        block_alt = _("Blocks of pairs that a block-sparse kernel computes")
        return Stage(
            [
                Plot("kept", self.kept_figure(), _("Keys that a decoder holds at each step"), width=3),
                Plot("blocks", block_map(blocks, self.kernel), block_alt, width=2, rest=60),
            ]
        )

    def below(self) -> None:
        mine, causal = self.costs
        st.markdown(cost_table(mine, causal))
        if mine.rereading:
            st.caption(
                _(
                    "{count} tokens read later ones. Their vectors change when a token is added, so a "
                    "cache cannot be gone on with there: it serves only what comes after them."
                ).format(count=mine.rereading)
            )
        note(self, "cost")
        checked_against([block_check(self)])
        names = ["", _("with your mask"), _("full causal")]
        take_with_you(
            self,
            lambda: pd.DataFrame(rows_of(mine, causal), columns=names).set_index("").rename_axis("cost"),
            self.kept_figure,
            snippet(self.mask_settings, self.length, self.shape, self.kernel),
        )


def rows_of(mine: MaskCost, causal: MaskCost) -> list[tuple[str, float, float]]:
    return [
        (_("Visible pairs"), mine.pairs, causal.pairs),
        (_("FLOPs, visible pairs only"), mine.flops, causal.flops),
        (_("FLOPs of a dense kernel"), mine.dense_flops, causal.dense_flops),
        (_("Blocks computed, of {all}").format(all=mine.all_blocks), mine.blocks, causal.blocks),
        (_("Most keys held at once"), mine.kept, causal.kept),
        (_("Bytes for them (bfloat16)"), mine.kept_bytes, causal.kept_bytes),
    ]


def cost_table(mine: MaskCost, causal: MaskCost) -> str:
    """Markdown: the browser shows it at once, where a data frame would hold up the figures."""
    heads = "", _("with your mask"), _("full causal"), _("share")
    lines = [f"| {' | '.join(heads)} |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {brief(own)} | {brief(full)} | {own / full:.0%} |"
        for name, own, full in rows_of(mine, causal)
    ]
    return "\n".join(lines)


def brief(number: float) -> str:
    """A whole number up to a million, then three digits and M: the table must fit a phone."""
    return f"{number:,.0f}" if number < 1e6 else f"{number / 1e6:,.3g} M"


def block_check(view: WhatItCosts) -> Check:
    """FlexAttention's own block mask, made now."""
    rule, length, block = view.mask_settings.rule(view.length), view.length, view.kernel
    theirs = create_block_mask(rule, None, None, length, length, device="cpu", BLOCK_SIZE=block)
    ours = visible_blocks(view.visible, block).float()
    return Check("torch create_block_mask", largest_difference(theirs.to_dense()[0, 0].float(), ours), 0.0)


def snippet(settings: MaskSettings, length: int, shape: Shape, block: int) -> str:
    """Python that repeats the numbers of the table."""
    return f"""from models.masks.costs import Shape, mask_cost
from models.masks.settings import MaskSettings

visible = {settings!r}.rule({length}).to_tensor({length}, {length})
print(mask_cost(visible, {shape!r}, bytes_per_number={BYTES}, block={block}))
"""
