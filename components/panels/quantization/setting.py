"""Which weights are quantized and how: controls that several views share."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
import torch

from components.controls import choose
from components.live.slider import live_slider
from components.page import Page
from components.words import _
from models.networks.loading import load
from models.quantization.integers import CLIPPINGS, GRANULARITIES, MAPPINGS
from models.quantization.quantized_network import Weight, matrix, weights_of
from models.quantization.weight_formats import FORMATS, Setting

RANDOM = "random"
RANDOM_SIZE = 1_024
GROUPED = ("nf4", "fp4")
SCALED = ("int", "e4m3", "e5m2")


@dataclass(frozen=True)
class Source:
    """A matrix: one of a network, or random numbers of a normal distribution."""

    network: str
    layer: int
    module: str


def weight_of(source: Source) -> Weight:
    weights = weights_of(load(source.network))
    return next(w for w in weights if (w.layer, w.module) == (source.layer, source.module))


@st.cache_resource(max_entries=8, show_spinner=False)
def values(source: Source) -> torch.Tensor:
    """The matrix [out, in]; shared, so nothing may be changed in it."""
    if source.module == RANDOM:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(RANDOM_SIZE, RANDOM_SIZE, generator=generator)
    return matrix(load(source.network), weight_of(source))


def choose_source(page: Page, network: str, *, with_random: bool = False) -> Source:
    """Layer and module as two selectboxes; call it inside a container."""
    weights = weights_of(load(network))
    layers = sorted({weight.layer for weight in weights})
    layer = choose(_("Layer"), layers, f"{page.name}_layer", str, default=page.default("layer"), width=90)
    modules = [weight.module for weight in weights if weight.layer == layer]
    module = choose(
        _("Matrix"),
        [*modules, RANDOM] if with_random else modules,
        f"{page.name}_module",
        lambda name: _("random, 1,024 × 1,024, seed 0") if name == RANDOM else name,
        default=page.default("module"),
        width=260,
    )
    return Source(network, layer, module)


def format_label(name: str) -> str:
    return {
        "int": _("Integers"),
        "nf4": "NF4",
        "fp4": "FP4 (bitsandbytes)",
        "mxfp4": "MXFP4",
        "nvfp4": "NVFP4",
        "e4m3": "FP8 E4M3",
        "e5m2": "FP8 E5M2",
        "mxfp8": "MXFP8",
        "bfloat16": "bfloat16",
        "float16": "float16",
    }[name]


def option_label(name: str) -> str:
    return {
        "affine": _("affine (zero point)"),
        "symmetric": _("symmetric, ÷(2^(b−1)−1)"),
        "full_range": _("symmetric, ÷(2^(b−1)−½)"),
        "tensor": _("one for all"),
        "channel": _("one a row"),
        "group": _("one a group"),
        "max": _("none"),
        "percentile": _("99.5th percentile"),
        "mse": _("least squared error"),
        "floor": "floor (OCP)",
        "ceil": "ceil",
        "even": "even",
        "rceil": "rceil",
    }[name]


def choose_setting(page: Page, live: Sequence[str], settled: Sequence[str]) -> None:
    """Format and its options in a row, bits and group size as live sliders below it."""
    name = page.name

    def pick(label: str, options: Sequence[str], key: str, width: int) -> str:
        return choose(label, options, f"{name}_{key}", option_label, default=page.default(key), width=width)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = choose(
            _("Format"), FORMATS, f"{name}_format", format_label, default=page.default("format"), width=190
        )
        granularity = page.default("granularity")
        if chosen == "int":
            pick(_("Mapping"), MAPPINGS, "mapping", 230)
        if chosen in SCALED:
            granularity = pick(_("Scales"), GRANULARITIES, "granularity", 150)
        if chosen == "int":
            pick(_("Clipping"), CLIPPINGS, "clipping", 190)
        if chosen in GROUPED:
            st.toggle(
                _("Double quantization"),
                key=f"{name}_double",
                bind="query-params",
                help=_("The scales are quantized to 8 bits themselves."),
            )
        if chosen in ("mxfp4", "mxfp8"):
            pick(_("Rule for the scale"), ("floor", "ceil", "even", "rceil"), "rule", 150)
    with st.container(horizontal=True):
        if chosen == "int":
            live_slider(_("Bits"), f"{name}_bits", 2, 8, 4, 1, live=live, settled=settled)
        if chosen in GROUPED or (chosen in SCALED and granularity == "group"):
            live_slider(
                _("Group size"),
                f"{name}_group",
                8,
                1024,
                64,
                8,
                log=True,
                help=_(
                    "Weights that share a scale. Where it does not divide a row, the last group is shorter."
                ),
                live=live,
                settled=settled,
            )


def setting_now(page: Page) -> Setting:
    """The setting that the controls stand at; also while a slider is dragged."""

    def now(key: str):
        return st.session_state.get(f"{page.name}_{key}", page.default(key))

    return Setting(
        format=now("format"),
        bits=round(now("bits")),
        mapping=now("mapping"),
        granularity=now("granularity"),
        group_size=round(now("group")),
        clipping=now("clipping"),
        double_quantization=bool(now("double")),
        scale_rule=now("rule"),
    )


def setting_name(setting: Setting) -> str:
    return f"int{setting.bits}" if setting.format == "int" else format_label(setting.format)
