"""The present mask as code for transformers, SDPA and FlexAttention, which are run and compared now."""

from dataclasses import dataclass

import streamlit as st
import torch
from transformers.masking_utils import eager_mask

from components.lesson_parts import note
from components.panels.masks.effects import matrix_figure, matrix_plot, matrix_table
from components.panels.masks.lab import undo_clicks
from components.panels.masks.settings import MasksText
from components.settings import one_of
from components.stage import Block, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.traces import traced_with
from components.words import _, mark
from models.masks.code import Library, flex_code, sdpa_code, transformers_code
from models.masks.hiding import flex, sdpa
from models.masks.settings import MaskSettings
from models.networks.interventions import Intervention, Visible
from models.networks.loading import Network, load
from models.networks.tokens import TokenizedText
from models.numerics.comparison import largest_difference

LIBRARIES: tuple[Library, ...] = ("transformers", "sdpa", "flex")
SIZE = (2, 16)  # heads and their width, of the random queries, keys and values
CODE_HEIGHT = 530  # pixels; longer code scrolls


def library_label(library: Library) -> str:
    return {"transformers": "transformers", "sdpa": "torch SDPA", "flex": "FlexAttention"}[library]


@dataclass(frozen=True)
class MaskAsCode(MasksText):
    """The mask beside the code that makes it in three libraries."""

    page, name = "masks", "code"
    rail_first = (*MasksText.rail_first, "library")
    library: Library = one_of(LIBRARIES, label=mark("Library"), label_of=library_label, style="radio")

    @property
    def code(self) -> str:
        """Python that runs by itself."""
        base, mask = self.trace, self.mask_settings.mask(self.trace.tokens_shown)
        if self.library == "transformers":
            ids = tuple(base.token_ids.tolist())
            text = TokenizedText(ids, base.text_shown, len(ids))
            return transformers_code(mask, self.facts.entry, text)
        write = sdpa_code if self.library == "sdpa" else flex_code
        return write(mask, base.tokens_shown, *SIZE)

    def stage(self) -> Stage:
        return Stage([matrix_plot(self, 2), Block(lambda: show_code(self), 3)])

    def actions(self) -> None:
        undo_clicks(self)

    def below(self) -> None:
        note(self, "code")
        tokens = self.trace.tokens_shown
        of_network, of_libraries = differences(self.network_name, self.text, self.mask_settings, tokens)
        checked_against(
            [
                Check(_("transformers with this mask, and the network on this page"), of_network, 1e-3),
                Check(_("FlexAttention, and torch SDPA"), of_libraries, 1e-5),
            ]
        )
        take_with_you(self, lambda: matrix_table(self), lambda: matrix_figure(self), self.code)


def show_code(view: MaskAsCode) -> None:
    st.code(view.code, language="python", wrap_lines=True, height=CODE_HEIGHT)


@st.cache_data(max_entries=16, show_spinner=False)
def differences(network: str, text: str, settings: MaskSettings, tokens: int) -> tuple[float, float]:
    """What transformers computes against this page's network, and the other two libraries' code."""
    mask = settings.mask(tokens)
    visible = mask.to_tensor(tokens, tokens)
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 1, SIZE[0], tokens, SIZE[1], generator=generator)
    scale = SIZE[1] ** -0.5
    by_torch = sdpa()(query, key, value, visible, scale)
    by_flex = flex(query, key, value, visible, scale)
    change = Intervention(visible=Visible.from_tensor(visible))
    traced = traced_with(network, text, change)
    loaded = load(network)
    ours = traced.hidden[-1] if traced.logits is None else traced.logits
    theirs = run_by_transformers(loaded, traced.token_ids, settings)
    return largest_difference(theirs, ours), largest_difference(by_flex, by_torch)


def run_by_transformers(network: Network, token_ids: torch.Tensor, settings: MaskSettings) -> torch.Tensor:
    """What the snippet computes: transformers' eager attention with the mask made by its own function."""
    n = len(token_ids)
    mask = eager_mask(1, n, n, mask_function=settings.mask(n), dtype=network.dtype, device="cpu")
    with torch.no_grad():
        output = network.model(
            token_ids[None].to(network.device), attention_mask=mask.to(network.device), use_cache=False
        )
    return output[0][0].float().cpu()
