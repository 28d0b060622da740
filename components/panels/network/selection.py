"""Which head is open and how the network is changed: read from the controls by several panels."""

from dataclasses import dataclass

import streamlit as st

from components.controls import choose
from components.page import Page
from components.words import _
from models.attention.head_view import STAGES, Stage, strongest_cell
from models.networks.interventions import Intervention
from models.networks.tracing import Trace


@dataclass(frozen=True)
class Selection:
    """The open head, the stage it is shown at, and the heads that are silenced."""

    layer: int
    head: int
    stage: Stage
    hide_sink: bool
    silenced: frozenset[tuple[int, int]]

    @property
    def title(self) -> str:
        return _("Layer {layer}, head {head}").format(layer=self.layer, head=self.head)


def stage_label(stage: Stage) -> str:
    return {
        "raw": _("Raw q·k"),
        "scaled": _("Scaled"),
        "masked": _("Masked"),
        "softmax": _("Softmax"),
        "contribution": _("Contribution"),
    }[stage]


def select_head(page: Page, base: Trace) -> Selection:
    """Draw the controls for layer, head, stage and silenced heads."""
    layers, heads = len(base.layers), len(base.layers[0].query)
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layer = choose(
            _("Layer"), range(layers), f"{name}_layer", str, default=page.default("layer"), width=90
        )
        head = choose(_("Head"), range(heads), f"{name}_head", str, default=page.default("head"), width=90)
        stage = choose(
            _("Stage"),
            STAGES,
            f"{name}_stage",
            stage_label,
            default="softmax",
            style="segments",
            width="stretch",
        )
        silenced = st.multiselect(
            _("Silenced heads (layer.head)"),
            [f"{row}.{column}" for row in range(layers) for column in range(heads)],
            key=f"{name}_silenced",
            bind="query-params",
            placeholder=_("none"),
            width=240,
        )
        hide_sink = st.toggle(
            _("Hide the first token"),
            key=f"{name}_sink",
            bind="query-params",
            help=_("Its weights are taken out of the picture and each row is renormalised."),
        )
    return Selection(layer, head, stage, hide_sink, frozenset(map(_pair, silenced)))


def _pair(name: str) -> tuple[int, int]:
    """Layer and head of an option such as "2.3"."""
    layer, head = name.split(".")
    return int(layer), int(head)


def intervention_now(page: Page, selection: Selection) -> Intervention:
    """The change that the sliders and the silenced heads make to the network."""
    return Intervention(
        scale_exponent=st.session_state.get(f"{page.name}_exponent", 0.5),
        temperature=st.session_state.get(f"{page.name}_temperature", 1.0),
        silenced=selection.silenced,
    )


def cell_now(page: Page, trace: Trace, selection: Selection) -> tuple[int, int]:
    """The chosen (query, key); the strongest of the last row while none is chosen."""
    query = st.session_state.get(f"{page.name}_query", -1)
    key = st.session_state.get(f"{page.name}_key", -1)
    last, strongest = strongest_cell(trace, selection.layer, selection.head)
    return (query if 0 <= query <= last else last), (key if 0 <= key <= last else strongest)
