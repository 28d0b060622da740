"""The present mask as code for transformers, SDPA and FlexAttention, which are run and compared now."""

import streamlit as st
import torch
from transformers.masking_utils import eager_mask

from components.controls import choose
from components.live.address import copy_link
from components.page import Check, Page, checked_against
from components.panels import panel
from components.panels.masks.controls import mask_controls, settings_now
from components.panels.network.text import Choice
from components.take import offer as python_to_take
from components.take.masks import SIZE, mask_code
from components.traces import traced_with
from components.words import _
from models.masks.code import Library, flex_code, sdpa_code, transformers_code
from models.masks.hiding import flex, sdpa
from models.masks.settings import MaskSettings
from models.networks.interventions import Intervention, Visible
from models.networks.loading import Network, load
from models.networks.tokens import TokenizedText
from models.numerics.comparison import largest_difference

LIBRARIES: tuple[Library, ...] = ("transformers", "sdpa", "flex")


def library_label(library: Library) -> str:
    return {"transformers": "transformers", "sdpa": "torch SDPA", "flex": "FlexAttention"}[library]


@panel
def code(page: Page, choice: Choice) -> None:
    base, network = choice.trace, load(choice.network)
    mask_controls(page, base.tokens_shown, ("code",))
    settings, n = settings_now(page), base.tokens_shown
    library = choose(
        _("Library"), LIBRARIES, f"{page.name}_library", library_label, default="transformers",
        style="segments", label_visibility="collapsed",
    )  # fmt: skip
    mask = settings.mask(n)
    if library == "transformers":
        ids = tuple(base.token_ids.tolist())
        text = transformers_code(mask, network.entry, TokenizedText(ids, base.text_shown, len(ids)))
    else:
        text = (sdpa_code if library == "sdpa" else flex_code)(mask, n, *SIZE)
    st.code(text, language="python", wrap_lines=True)
    page.note("code")
    change = Intervention(visible=Visible.from_tensor(mask.to_tensor(n, n)))
    changed = traced_with(choice.network, choice.text, change)
    python_to_take.offer(f"{page.name}_code", lambda: mask_code(choice.network, changed, settings, library))
    of_network, of_libraries = differences(choice.network, choice.text, settings, n)
    checked_against(
        [
            Check(_("transformers with this mask, and the network on this page"), of_network, 1e-3),
            Check(_("FlexAttention, and torch SDPA"), of_libraries, 1e-5),
        ]
    )
    copy_link(f"{page.name}_code_link")


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
