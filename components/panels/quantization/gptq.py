"""GPTQ, one column a step, on a corner of a real layer; and the whole layer, also on a text not seen."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.quantized_layer import growing_error, pushed_error
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.network.reading import ReadsText
from components.panels.quantization.reading import read_by
from components.panels.quantization.settings import ChoosesMatrix, Source, values, weight_of
from components.settings import one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.networks.texts import passages
from models.quantization.error import output_error, relative_error
from models.quantization.gptq import GptqScheme, GptqStep, gptq, gptq_steps, hessian, rounded_to_nearest
from models.quantization.integers import BITS

CORNER = 32  # rows and columns of the layer that is stepped through


def mapping_label(kind: str) -> str:
    return _("affine") if kind == "affine" else _("symmetric")


def order_label(kind: str) -> str:
    return _("as they stand") if kind == "given" else _("act-order: largest inputs first")


@dataclass(frozen=True)
class Gptq(ReadsText, ChoosesMatrix):
    """Columns rounded one after another, each error pushed into those that are left."""

    page, name = "quantization", "gptq"
    first_passage = passages()[0].name  # more tokens to calibrate on than a sentence has
    columns: int = slider(1, CORNER, 8, 1, label=mark("Columns rounded"))
    damping: float = slider(0.0001, 1.0, 0.01, 0.0001, log=True, label=mark("Damping λ / mean diagonal"))
    bits: int = one_of(BITS, 3, key="gptq_bits", label=mark("Bits"))
    mapping: Literal["symmetric", "affine"] = one_of(
        ("symmetric", "affine"), key="gptq_mapping", label=mark("Mapping"), label_of=mapping_label
    )
    order: Literal["given", "act"] = one_of(
        ("given", "act"), label=mark("Order of the columns"), label_of=order_label
    )

    @property
    def scheme(self) -> GptqScheme:
        return GptqScheme(self.bits, self.mapping == "affine", self.damping, self.order == "act")

    @property
    def stepped(self) -> tuple[list[GptqStep], np.ndarray]:
        return stepped(self.source, self.text, self.scheme)

    def figure(self) -> go.Figure:
        steps, nearest = self.stepped
        return error_figure(steps, nearest, min(len(steps), self.columns))

    def stage(self) -> Stage:
        alt = _("Output error after each column")
        return Stage([pushed_plot(self), Plot("growing", self.figure(), alt)])

    def below(self) -> None:
        steps, nearest = self.stepped
        note(self, "gptq")
        left, right = st.columns([2, 3], gap="medium")
        with left:
            show_formula(
                r"\begin{aligned}e&=(w_i-\hat w_i)/U_{ii}\\w_j&\leftarrow w_j-e\,U_{ij}\quad(j>i)\\"
                r"U^\top U&=(2X^\top X+\lambda I)^{-1}\\"
                rf"\text{{error}}&={nearest[-1]:.4f}\to{steps[-1].output_error:.4f}\end{{aligned}}"
            )
        with right:
            st.markdown("##### " + _("The whole layer"))
            st.dataframe(whole_layer(self.source, self.text, self.scheme), hide_index=True)
            note(self, "whole_layer")
        what = _("torch.linalg.solve for the columns that are left")
        checked_against([Check(what, solved(self.source, self.text, self.scheme), 1e-3)])
        errors = [step.output_error for step in steps]
        curves = pd.DataFrame({"gptq": errors, "nearest": nearest}).rename_axis("column")
        take_with_you(self, lambda: curves, self.figure, snippet(self))


def corner(source: Source, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer's first outputs and inputs, and what those inputs read in the text."""
    inputs = read_by(source.network, text)[weight_of(source).name]
    return values(source)[:CORNER, :CORNER].contiguous(), inputs[:, :CORNER].contiguous()


@lru_cache(maxsize=64)
def stepped(source: Source, text: str, scheme: GptqScheme) -> tuple[list[GptqStep], np.ndarray]:
    """All steps, and the error after as many columns when each is only rounded to nearest."""
    weight, inputs = corner(source, text)
    steps = list(gptq_steps(weight, inputs, scheme))
    plain, nearest, errors = weight.clone(), rounded_to_nearest(weight, scheme), []
    for step in steps:
        plain[:, step.column] = nearest[:, step.column]
        errors.append(output_error(inputs, weight, plain))
    return steps, np.array(errors)


def pushed_plot(view: Gptq) -> Plot:
    """How far every weight has moved, on one colour scale for all steps."""
    steps, _nearest = view.stepped
    count = min(len(steps), view.columns)
    step, (weight, _inputs) = steps[count - 1], corner(view.source, view.text)
    top = float((steps[-1].weight - weight).abs().max()) or 1.0
    done = [item.column for item in steps[:count]]
    figure = pushed_error((step.weight - weight).numpy(), done, step.column, top)
    return Plot("pushed", figure, _("Change of every weight after {count} columns").format(count=count))


def error_figure(steps: list[GptqStep], nearest: np.ndarray, count: int) -> go.Figure:
    curves = {
        "GPTQ": np.array([step.output_error for step in steps]),
        _("rounded to nearest"): nearest,
    }
    return growing_error(curves, count)


@lru_cache(maxsize=16)
def layer_errors(source: Source, text: str, scheme: GptqScheme) -> list[tuple[float, float, float]]:
    """To nearest, then GPTQ: errors of the weights, and of the outputs on the text seen and on another."""
    name, weight = weight_of(source).name, values(source)
    inputs = read_by(source.network, text)[name]
    other = read_by(source.network, passages()[1].excerpt)[name]
    return [
        (
            relative_error(weight, held),
            output_error(inputs, weight, held),
            output_error(other, weight, held),
        )
        for held in (rounded_to_nearest(weight, scheme), gptq(weight, inputs, scheme))
    ]


def whole_layer(source: Source, text: str, scheme: GptqScheme) -> pd.DataFrame:
    """Output error of the whole matrix on the text that GPTQ saw and on a passage that it did not."""
    titles = (_("Error of the weights"), _("Output error, this text"), _("Output error, a text not seen"))
    columns = zip(*layer_errors(source, text, scheme), strict=True)
    errors = {title: [f"{e:.2%}" for e in column] for title, column in zip(titles, columns, strict=True)}
    return pd.DataFrame({_("Method"): [_("rounded to nearest"), "GPTQ"]} | errors)


def solved(source: Source, text: str, scheme: GptqScheme) -> float:
    """After half of the columns: the rest against the least squares that torch solves for them."""
    weight, inputs = corner(source, text)
    steps, _nearest = stepped(source, text, scheme)
    half = len(steps) // 2
    done = [step.column for step in steps[:half]]
    rest = [step.column for step in steps[half:]]
    curvature = hessian(inputs).double()
    diagonal = curvature.diagonal()
    diagonal[diagonal == 0] = 1.0  # channels that this text never reads, as GPTQ's code has them
    curvature += (
        scheme.damping * curvature.diagonal().mean() * torch.eye(len(curvature), dtype=torch.float64)
    )
    moved = (steps[half - 1].weight - weight).double()
    expected = torch.linalg.solve(curvature[rest][:, rest], -curvature[rest][:, done] @ moved[:, done].T).T
    return float((moved[:, rest] - expected).abs().max() / weight.abs().max())


def snippet(view: Gptq) -> str:
    """Python that repeats the errors of the corner."""
    source = view.source
    return f"""from models.quantization.gptq import GptqScheme, gptq_steps
from models.networks.loading import load
from models.quantization.quantized_network import layer_inputs, matrix, token_ids, weights_of

network = load({source.network!r})
weight = next(w for w in weights_of(network) if (w.layer, w.module) == {(source.layer, source.module)!r})
inputs = layer_inputs(network, token_ids(network, {view.text!r}))[0][weight.name]
corner = matrix(network, weight)[:{CORNER}, :{CORNER}]
for step in gptq_steps(corner, inputs[:, :{CORNER}], {view.scheme!r}):
    print(step.column, step.output_error)
"""
