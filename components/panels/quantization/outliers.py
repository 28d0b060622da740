"""Outliers: one channel that is too large, and what each remedy makes of it, on real activations."""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import whole_number
from components.figures.attention import lines
from components.figures.quantized_layer import channel_peaks, method_bars
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.network.text import Choice
from components.panels.quantization.reading import read_by
from components.panels.quantization.setting import (
    Source,
    choose_source,
    setting_name,
    setting_now,
    values,
    weight_of,
)
from components.words import _
from models.quantization.error import kurtosis
from models.quantization.outliers import (
    GRID,
    METHODS,
    Method,
    Prepared,
    Remedies,
    awq_curve,
    method_error,
    prepare,
    quantized_product,
    scale_channel,
)
from models.quantization.weight_formats import Setting

LIVE = ("live_outliers",)
SETTLED = (*LIVE, "outlier_facts")


def method_label(method: Method) -> str:
    return {
        "tensor": _("per tensor"),
        "token": _("per token and row"),
        "llm_int8": "LLM.int8",
        "smoothquant": "SmoothQuant",
        "hadamard": "Hadamard",
    }[method]


@panel
def outliers(page: Page, choice: Choice) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = choose_source(page, choice.network)
        inputs = read_by(choice.network, choice.text)[weight_of(source).name]
        channel = whole_number(
            _("Channel to enlarge"),
            0,
            inputs.shape[1] - 1,
            f"{name}_channel",
            page.default("channel"),
            width=170,
        )
    with st.container(horizontal=True):
        live_slider(
            _("Its size, times"),
            f"{name}_factor",
            1.0,
            100.0,
            page.default("factor"),
            0.01,
            log=True,
            help=_("1 leaves the activations as the network computes them."),
            live=LIVE,
            settled=SETTLED,
        )
        live_slider(
            _("Bits of both"), f"{name}_both", 3, 8, page.default("both"), 1, live=LIVE, settled=SETTLED
        )
        live_slider(
            _("LLM.int8 threshold"),
            f"{name}_threshold",
            0.5,
            40.0,
            page.default("threshold"),
            0.01,
            log=True,
            live=LIVE,
            settled=SETTLED,
        )
        live_slider(
            "SmoothQuant α",
            f"{name}_alpha",
            0.0,
            1.0,
            page.default("alpha"),
            0.01,
            live=LIVE,
            settled=SETTLED,
        )
    live_outliers(page, choice, source, channel)
    page.note("outliers")
    outlier_facts(page, choice, source, channel)


def now(
    page: Page, choice: Choice, source: Source, channel: int
) -> tuple[torch.Tensor, torch.Tensor, Remedies]:
    """Activations with the enlarged channel, the weight, and where the remedies stand."""
    state, name = st.session_state, page.name
    inputs = read_by(choice.network, choice.text)[weight_of(source).name]
    x = scale_channel(inputs, channel, state.get(f"{name}_factor", page.default("factor")))
    remedies = Remedies(
        round(state.get(f"{name}_both", page.default("both"))),
        state.get(f"{name}_threshold", page.default("threshold")),
        state.get(f"{name}_alpha", page.default("alpha")),
    )
    return x, values(source), remedies


def remaining(prepared: Prepared) -> torch.Tensor:
    """The activations that are rounded."""
    return prepared.inputs[:, ~prepared.kept]


@live_panel
def live_outliers(page: Page, choice: Choice, source: Source, channel: int) -> None:
    x, weight, remedies = now(page, choice, source, channel)
    ready = {method: prepare(x, weight, method, remedies) for method in METHODS}
    errors = np.array([method_error(x, weight, method, remedies) for method in METHODS])
    notes = [
        f"{error:.2%} · κ {kurtosis(remaining(ready[method])):.3g}"
        + (f" · {int(ready[method].kept.sum())}" + _(" in 16 bits") if method == "llm_int8" else "")
        for method, error in zip(METHODS, errors, strict=True)
    ]
    left, right = st.columns(2, gap="medium")
    with left:
        peaks = {
            _("as it is"): ready["token"].inputs,
            "SmoothQuant": ready["smoothquant"].inputs,
            _("Hadamard rotation"): ready["hadamard"].inputs,
        }
        series = {name: values.abs().amax(0).clamp(min=0.04).numpy() for name, values in peaks.items()}
        figure = channel_peaks(series, remedies.threshold, channel)
        live_figure(figure, f"{page.name}_peaks", _("Largest magnitude of each channel"), rest=60)
    with right:
        figure = method_bars([method_label(method) for method in METHODS], errors, notes)
        live_figure(figure, f"{page.name}_methods", _("Output error under each remedy"))


@panel
def outlier_facts(page: Page, choice: Choice, source: Source, channel: int) -> None:
    """All exponents α at once, and the products before rounding compared with the exact one."""
    x, weight, remedies = now(page, choice, source, channel)
    setting = Setting(**{**vars(setting_now(page)), "format": "int", "granularity": "group"})
    smooth = [method_error(x, weight, "smoothquant", Remedies(remedies.bits, 6.0, alpha)) for alpha in GRID]
    awq = awq_curve(x, weight, setting).numpy()
    table = pd.DataFrame({"alpha": GRID, "smoothquant": smooth, "awq": awq})
    figure = lines(
        {
            _("SmoothQuant, both in int{bits}").format(bits=remedies.bits): (
                np.array(GRID),
                np.array(smooth),
            ),
            _("AWQ, weights alone in {format}").format(format=setting_name(setting)): (np.array(GRID), awq),
        },
        "α",
        _("Output error ‖Y − Ŷ‖ / ‖Y‖"),
        y_log=True,
        x_now=remedies.alpha,
        height=330,
    )
    live_figure(figure, f"{page.name}_alphas", _("Output error for every exponent"))
    page.note("alphas")
    exact = torch.nn.functional.linear(x, weight)
    size = float(exact.abs().max()) or 1.0
    checks = []
    for method in METHODS:
        ready = prepare(x, weight, method, remedies)
        product = torch.nn.functional.linear(ready.inputs, ready.weight)
        what = _("torch linear, before rounding: {method}").format(method=method_label(method))
        checks.append(Check(what, float((product - exact).abs().max()) / size, 1e-4))
    checked_against(checks)
    rounded = quantized_product(prepare(x, weight, "token", remedies), "token", remedies.bits)
    st.latex(
        rf"\frac{{\lVert Y-\hat Y\rVert}}{{\lVert Y\rVert}}=\frac{{{float((rounded - exact).norm()):.4g}}}"
        rf"{{{float(exact.norm()):.4g}}}={float((rounded - exact).norm() / exact.norm()):.4f}"
        rf"\qquad \kappa=\frac{{E[(x-\mu)^4]}}{{\sigma^4}}={kurtosis(x):.4g}"
    )
    take_with_you(
        f"{page.name}_outliers",
        lambda: table,
        lambda: figure,
        snippet(page, choice, source, channel, remedies),
    )


def snippet(page: Page, choice: Choice, source: Source, channel: int, remedies: Remedies) -> str:
    factor = st.session_state.get(f"{page.name}_factor", page.default("factor"))
    return f"""from models.networks.loading import load
from models.quantization.outliers import METHODS, Remedies, method_error, scale_channel
from models.quantization.quantized_network import layer_inputs, matrix, token_ids, weights_of

network = load({source.network!r})
weight = next(w for w in weights_of(network) if (w.layer, w.module) == {(source.layer, source.module)!r})
inputs = layer_inputs(network, token_ids(network, {choice.text!r}))[0][weight.name]
x = scale_channel(inputs, {channel}, {factor!r})
for method in METHODS:
    print(method, method_error(x, matrix(network, weight), method, {remedies!r}))
"""
