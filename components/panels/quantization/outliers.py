"""Outliers: one channel that is too large, and what each remedy makes of it, on real activations."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from components.figures.quantized_layer import channel_peaks, exponent_curves, remedy_bars
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.network.reading import ReadsText
from components.panels.quantization.reading import read_by
from components.panels.quantization.settings import (
    ChoosesMatrix,
    Source,
    setting_name,
    values,
    weight_of,
)
from components.settings import number, one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.quantization.error import kurtosis
from models.quantization.integers import BITS
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

SMALLEST_PEAK = 0.04  # where the logarithmic axis begins


def method_label(method: Method) -> str:
    return {
        "tensor": _("per tensor"),
        "token": _("per token and row"),
        "llm_int8": "LLM.int8",
        "smoothquant": "SmoothQuant",
        "hadamard": "Hadamard",
    }[method]


@dataclass(frozen=True)
class Outliers(ReadsText, ChoosesMatrix):
    """A channel that a person enlarges, and what each remedy makes of it."""

    page, name = "quantization", "outliers"
    factor: float = slider(
        1.0,
        100.0,
        20.0,
        0.01,
        log=True,
        label=mark("Its size, times"),
        help=mark("1 leaves the activations as the network computes them."),
    )
    both: int = slider(3, 8, 8, 1, label=mark("Bits of both"))
    threshold: float = slider(0.5, 40.0, 6.0, 0.01, log=True, label=mark("LLM.int8 threshold"))
    alpha: float = slider(0.0, 1.0, 0.5, 0.01, label=mark("SmoothQuant α"))
    channel: int = number(0, lambda view: view.matrix.shape[1] - 1, 7, label=mark("Channel to enlarge"))
    awq_bits: int = one_of(BITS, 4, label=mark("AWQ: bits of the weights"), place="more")

    @property
    def activations(self) -> torch.Tensor:
        """What the layer reads [tokens, in], with the enlarged channel."""
        return enlarged(self.source, self.text, self.channel, self.factor)

    @property
    def remedies(self) -> Remedies:
        return Remedies(self.both, self.threshold, self.alpha)

    def stage(self) -> Stage:
        x, weight, remedies = self.activations, self.matrix, self.remedies
        ready = {method: prepare(x, weight, method, remedies) for method in METHODS}
        errors = np.array([method_error(x, weight, method, remedies) for method in METHODS])
        return Stage(
            [
                Plot(
                    "peaks", self.peaks(ready), _("Largest magnitude of each channel"), rest=60, width=1.1
                ),
                Plot("methods", bars(ready, errors), _("Output error under each remedy"), width=1.2),
                Plot("alphas", self.exponents, _("Output error for every exponent")),
            ]
        )

    def peaks(self, ready: dict[Method, Prepared]) -> go.Figure:
        names: dict[Method, str] = {
            "token": _("as it is"),
            "smoothquant": "SmoothQuant",
            "hadamard": _("Hadamard rotation"),
        }
        series = {
            method: (name, ready[method].inputs.abs().amax(0).clamp(min=SMALLEST_PEAK).numpy())
            for method, name in names.items()
        }
        return channel_peaks(series, self.threshold, self.channel)

    def curves(self) -> tuple[np.ndarray, np.ndarray]:
        """Output errors over GRID: SmoothQuant's and AWQ's."""
        place = (self.source, self.text, self.channel, self.factor)
        return smoothquant_curve(*place, self.both), awq_errors(*place, self.awq_bits)

    def exponents(self) -> go.Figure:
        smooth, awq = self.curves()
        setting = setting_name(awq_setting(self.awq_bits))
        series = {
            "smoothquant": (_("SmoothQuant, both in int{bits}").format(bits=self.both), smooth),
            "awq": (_("AWQ, weights alone in {format}").format(format=setting), awq),
        }
        return exponent_curves(np.array(GRID), series, self.alpha)

    def below(self) -> None:
        note(self, "outliers")
        note(self, "alphas")
        x, weight, remedies = self.activations, self.matrix, self.remedies
        exact = torch.nn.functional.linear(x, weight)
        checked_against(products(x, weight, remedies))
        rounded = quantized_product(prepare(x, weight, "token", remedies), "token", self.both)
        noise, size = float((rounded - exact).norm()), float(exact.norm())
        show_formula(
            rf"\frac{{\lVert Y-\hat Y\rVert}}{{\lVert Y\rVert}}=\frac{{{noise:.4g}}}{{{size:.4g}}}"
            rf"={noise / size:.4f}\qquad \kappa=\frac{{E[(x-\mu)^4]}}{{\sigma^4}}={kurtosis(x):.4g}"
        )
        smooth, awq = self.curves()
        table = pd.DataFrame({"alpha": GRID, "smoothquant": smooth, "awq": awq})
        take_with_you(self, lambda: table, self.exponents, snippet(self))


@lru_cache(maxsize=8)
def enlarged(source: Source, text: str, channel: int, factor: float) -> torch.Tensor:
    """What a layer reads with one channel enlarged; shared, so nothing may be changed in it."""
    return scale_channel(read_by(source.network, text)[weight_of(source).name], channel, factor)


def awq_setting(bits: int) -> Setting:
    return Setting(bits=bits)


@lru_cache(maxsize=32)
def smoothquant_curve(source: Source, text: str, channel: int, factor: float, bits: int) -> np.ndarray:
    """SmoothQuant's output error over GRID."""
    x, weight = enlarged(source, text, channel, factor), values(source)
    return np.array([method_error(x, weight, "smoothquant", Remedies(bits, 6.0, alpha)) for alpha in GRID])


@lru_cache(maxsize=32)
def awq_errors(source: Source, text: str, channel: int, factor: float, bits: int) -> np.ndarray:
    """AWQ's output error over GRID."""
    return awq_curve(enlarged(source, text, channel, factor), values(source), awq_setting(bits)).numpy()


def bars(ready: dict[Method, Prepared], errors: np.ndarray) -> go.Figure:
    """Errors of the methods, with the kurtosis of what each rounds."""
    notes = [
        f"{error:.2%} · κ {kurtosis(remaining(ready[method])):.3g}"
        + (f" · {int(ready[method].kept.sum())}" + _(" in 16 bits") if method == "llm_int8" else "")
        for method, error in zip(METHODS, errors, strict=True)
    ]
    return remedy_bars({method: method_label(method) for method in METHODS}, errors, notes)


def remaining(prepared: Prepared) -> torch.Tensor:
    """The activations that are rounded."""
    return prepared.inputs[:, ~prepared.kept]


def products(x: torch.Tensor, weight: torch.Tensor, remedies: Remedies) -> list[Check]:
    """Each remedy's product before rounding against torch's own."""
    exact = torch.nn.functional.linear(x, weight)
    size = float(exact.abs().max()) or 1.0
    checks = []
    for method in METHODS:
        ready = prepare(x, weight, method, remedies)
        product = torch.nn.functional.linear(ready.inputs, ready.weight)
        what = _("torch linear, before rounding: {method}").format(method=method_label(method))
        checks.append(Check(what, float((product - exact).abs().max()) / size, 1e-4))
    return checks


def snippet(view: Outliers) -> str:
    """Python that repeats the numbers of the bars."""
    source = view.source
    return f"""from models.networks.loading import load
from models.quantization.outliers import METHODS, Remedies, method_error, scale_channel
from models.quantization.quantized_network import layer_inputs, matrix, token_ids, weights_of

network = load({source.network!r})
weight = next(w for w in weights_of(network) if (w.layer, w.module) == {(source.layer, source.module)!r})
inputs = layer_inputs(network, token_ids(network, {view.text!r}))[0][weight.name]
x = scale_channel(inputs, {view.channel}, {view.factor!r})
for method in METHODS:
    print(method, method_error(x, matrix(network, weight), method, {view.remedies!r}))
"""
