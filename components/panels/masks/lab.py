"""The mask lab: set a mask, see it, and see what a real network makes of it."""

from dataclasses import dataclass, replace

import streamlit as st

from components.controls import put
from components.lesson_parts import note
from components.panels.masks.details import pair_arithmetic
from components.panels.masks.effects import effect_figure, head_figure, matrix_plot
from components.panels.masks.settings import MasksNetwork, MasksText, stage_label
from components.panels.network.heads import next_token_plot
from components.stage import Plot, Row, Stage
from components.words import _

FEW_TOKENS = 4  # of the next ones: they stand in a low figure


@dataclass(frozen=True)
class MaskLab(MasksNetwork):
    """A mask, one head before and after, the next token and the loss: all follow the sliders."""

    page, name = "masks", "lab"

    def stage(self) -> Stage:
        base, changed = self.trace, self.changed
        maps = head_figure(base, changed, self.layer, self.open_head, self.head_stage)
        alt = f"{self.title}, {stage_label(self.head_stage)}: " + _("before and after")
        # two heatmaps in one: drawn less often, they leave the matrix the time to follow every event
        upper = [matrix_plot(self, 2), Plot("maps", maps, alt, width=3, rest=50)]
        names = _("as it is"), _("with your mask")
        following = next_token_plot(
            self.network_name, base, changed, "next", width=2, count=FEW_TOKENS, names=names
        )
        effect = effect_figure(base, changed)
        lower = [Plot("effect", effect, _("Effect of the mask on each token"), width=3, rest=150)]
        return Stage(Row(upper, 2), Row([following, *lower] if following else lower, 1))

    def actions(self) -> None:
        undo_clicks(self)

    def below(self) -> None:
        if self.trace.logits is None:
            st.info(_("This network is an encoder: it reads, and does not say what comes next."))
        note(self, "lab")
        pair_arithmetic(self)


def undo_clicks(view: MasksText) -> None:
    """A button that puts all switched pairs back, where there are any."""
    st.button(
        _("Undo all clicks"),
        key="masks_undo",
        icon=":material/undo:",
        disabled=not view.cells,
        on_click=lambda: put(replace(view, cells="")),
        help=_("A click on the matrix switches that pair: hidden becomes visible, visible hidden."),
    )
