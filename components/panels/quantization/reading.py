"""What the network reads and computes for a text, kept for a few texts and settings."""

import streamlit as st
import torch

from components.words import _
from models.networks.loading import load
from models.networks.tokens import labels
from models.quantization.bit_budget import measure_allocation, parts_of
from models.quantization.quantized_network import (
    Cascade,
    Measured,
    Weight,
    cascade,
    check_decoder,
    layer_inputs,
    token_ids,
    weights_of,
)
from models.quantization.weight_formats import Setting

SCOPES = ("all", "attention", "mlp")


@st.cache_resource(max_entries=4, show_spinner=False)
def read_by(network: str, text: str) -> dict[str, torch.Tensor]:
    """The input of every matrix for a text; shared, so nothing may be changed in it."""
    loaded = load(network)
    return layer_inputs(loaded, token_ids(loaded, text))[0]


@st.cache_data(max_entries=8, show_spinner=False)
def text_labels(network: str, text: str) -> tuple[str, ...]:
    loaded = load(network)
    return labels(loaded.tokenizer, tuple(token_ids(loaded, text).tolist()))


def chosen_weights(network: str, scope: str) -> tuple[Weight, ...]:
    """All matrices, or those of attention or of the MLPs alone, by their names."""
    weights = weights_of(load(network))
    if scope == "all":
        return weights
    inside = tuple(weight for weight in weights if "attn" in weight.module or "attention" in weight.module)
    if scope == "attention":
        return inside or weights
    return tuple(weight for weight in weights if weight not in inside) or weights


@st.cache_resource(max_entries=48, show_spinner=False)
def followed_down(network: str, text: str, scope: str, setting: Setting) -> Cascade:
    loaded = load(network)
    check_decoder(loaded)
    return cascade(loaded, token_ids(loaded, text), chosen_weights(network, scope), setting)


@st.cache_resource(max_entries=48, show_spinner=False)
def allocated(network: str, text: str, allocation: tuple[int, ...], setting: Setting) -> Measured:
    loaded = load(network)
    return measure_allocation(loaded, token_ids(loaded, text), allocation, setting)


def part_names(network: str) -> list[str]:
    """Layers of each part of the bit budget, such as "0" or "0–3"."""
    parts = parts_of(load(network))
    return [str(p.first) if p.first == p.last else f"{p.first}–{p.last}" for p in parts]


def part_label(name: str) -> str:
    """A part's name as a heading."""
    return (_("Layers {layers}") if "–" in name else _("Layer {layers}")).format(layers=name)
