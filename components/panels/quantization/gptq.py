"""GPTQ, one column a step, on a corner of a real layer; and the whole layer, also on a text not seen."""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import choose
from components.figures.quantized_layer import growing_error, pushed_error
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.network.text import Choice
from components.panels.quantization.reading import read_by
from components.panels.quantization.setting import Source, choose_source, values, weight_of
from components.words import _
from models.networks.texts import passages
from models.quantization.error import output_error
from models.quantization.gptq import GptqScheme, GptqStep, gptq, gptq_steps, hessian, rounded_to_nearest
from models.quantization.integers import BITS

CORNER = 32  # rows and columns of the layer that is stepped through
LIVE = ("live_gptq",)


@panel
def gptq_view(page: Page, choice: Choice) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = choose_source(page, choice.network)
        bits = choose(
            _("Bits"), BITS, f"{name}_gptq_bits", str, default=page.default("gptq_bits"), width=90
        )
        mapping = choose(
            _("Mapping"),
            ("symmetric", "affine"),
            f"{name}_gptq_mapping",
            lambda kind: _("affine") if kind == "affine" else _("symmetric"),
            default="symmetric",
            width=140,
        )
        order = choose(
            _("Order of the columns"),
            ("given", "act"),
            f"{name}_order",
            lambda kind: _("as they stand") if kind == "given" else _("act-order: largest inputs first"),
            default="given",
            width=240,
        )
        with st.container(width=260):
            damping = live_slider(
                _("Damping λ / mean diagonal"),
                f"{name}_damping",
                0.0001,
                1.0,
                page.default("damping"),
                0.0001,
                log=True,
            )
    scheme = GptqScheme(bits, mapping == "affine", damping, order == "act")
    live_slider(
        _("Columns rounded"),
        f"{name}_columns",
        1,
        CORNER,
        page.default("columns"),
        1,
        live=LIVE,
        settled=LIVE,
    )
    live_gptq(page, choice, source, scheme)
    page.note("gptq")
    gptq_facts(page, choice, source, scheme)


def corner(choice: Choice, source: Source) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer's first outputs and inputs, and what those inputs read in the text."""
    inputs = read_by(choice.network, choice.text)[weight_of(source).name]
    return values(source)[:CORNER, :CORNER].contiguous(), inputs[:, :CORNER].contiguous()


@st.cache_resource(max_entries=16, show_spinner=False)
def stepped(choice: Choice, source: Source, scheme: GptqScheme) -> tuple[list[GptqStep], np.ndarray]:
    """All steps, and the error after as many columns when each is only rounded to nearest."""
    weight, inputs = corner(choice, source)
    steps = list(gptq_steps(weight, inputs, scheme))
    plain, nearest, errors = weight.clone(), rounded_to_nearest(weight, scheme), []
    for step in steps:
        plain[:, step.column] = nearest[:, step.column]
        errors.append(output_error(inputs, weight, plain))
    return steps, np.array(errors)


@live_panel
def live_gptq(page: Page, choice: Choice, source: Source, scheme: GptqScheme) -> None:
    steps, nearest = stepped(choice, source, scheme)
    count = min(len(steps), round(st.session_state.get(f"{page.name}_columns", page.default("columns"))))
    step = steps[count - 1]
    weight, _inputs = corner(choice, source)
    left, right = st.columns(2, gap="medium")
    with left:
        top = float((steps[-1].weight - weight).abs().max()) or 1.0
        moved = (step.weight - weight).numpy()
        figure = pushed_error(moved, [one.column for one in steps[:count]], step.column, top)
        live_figure(
            figure,
            f"{page.name}_pushed",
            _("Change of every weight after {count} columns").format(count=count),
        )
    with right:
        live_figure(
            error_figure(steps, nearest, count), f"{page.name}_growing", _("Output error after each column")
        )


def error_figure(steps: list[GptqStep], nearest: np.ndarray, count: int):
    curves = {
        "GPTQ": np.array([step.output_error for step in steps]),
        _("rounded to nearest"): nearest,
    }
    return growing_error(curves, count)


@panel
def gptq_facts(page: Page, choice: Choice, source: Source, scheme: GptqScheme) -> None:
    steps, nearest = stepped(choice, source, scheme)
    table = whole_layer(choice, source, scheme)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.latex(
            r"\begin{aligned}e&=(w_i-\hat w_i)/U_{ii}\\w_j&\leftarrow w_j-e\,U_{ij}\quad(j>i)\\"
            r"U^\top U&=(2X^\top X+\lambda I)^{-1}\\"
            rf"\text{{error}}&={nearest[-1]:.4f}\to{steps[-1].output_error:.4f}\end{{aligned}}"
        )
    with right:
        st.markdown("##### " + _("The whole layer"))
        st.dataframe(table, hide_index=True)
        page.note("whole_layer")
    checked_against(
        [Check(_("torch.linalg.solve for the columns that are left"), solved(choice, source, scheme), 1e-3)]
    )
    curves = pd.DataFrame({"gptq": [step.output_error for step in steps], "nearest": nearest})
    take_with_you(
        f"{page.name}_gptq",
        lambda: curves,
        lambda: error_figure(steps, nearest, len(steps)),
        snippet(choice, source, scheme),
    )


@st.cache_data(max_entries=16, show_spinner=False)
def layer_errors(choice: Choice, source: Source, scheme: GptqScheme) -> list[tuple[float, float, float]]:
    """To nearest, then GPTQ: errors of the weights, and of the outputs on the text seen and on another."""
    name, weight = weight_of(source).name, values(source)
    inputs = read_by(choice.network, choice.text)[name]
    other = read_by(choice.network, passages()[1].excerpt)[name]
    return [
        (
            float((weight - held).norm() / weight.norm()),
            output_error(inputs, weight, held),
            output_error(other, weight, held),
        )
        for held in (rounded_to_nearest(weight, scheme), gptq(weight, inputs, scheme))
    ]


def whole_layer(choice: Choice, source: Source, scheme: GptqScheme) -> pd.DataFrame:
    """Output error of the whole matrix on the text that GPTQ saw and on a passage that it did not."""
    titles = (_("Error of the weights"), _("Output error, this text"), _("Output error, a text not seen"))
    columns = zip(*layer_errors(choice, source, scheme), strict=True)
    errors = {title: [f"{e:.2%}" for e in column] for title, column in zip(titles, columns, strict=True)}
    return pd.DataFrame({_("Way"): [_("rounded to nearest"), "GPTQ"]} | errors)


def solved(choice: Choice, source: Source, scheme: GptqScheme) -> float:
    """After half of the columns: the rest against the least squares that torch solves for them."""
    weight, inputs = corner(choice, source)
    steps, _nearest = stepped(choice, source, scheme)
    half = len(steps) // 2
    done = [step.column for step in steps[:half]]
    rest = [step.column for step in steps[half:]]
    curvature = hessian(inputs).double()
    curvature += (
        scheme.damping * curvature.diagonal().mean() * torch.eye(len(curvature), dtype=torch.float64)
    )
    moved = (steps[half - 1].weight - weight).double()
    expected = torch.linalg.solve(curvature[rest][:, rest], -curvature[rest][:, done] @ moved[:, done].T).T
    return float((moved[:, rest] - expected).abs().max() / weight.abs().max())


def snippet(choice: Choice, source: Source, scheme: GptqScheme) -> str:
    return f"""from models.quantization.gptq import GptqScheme, gptq_steps
from models.networks.loading import load
from models.quantization.quantized_network import layer_inputs, matrix, token_ids, weights_of

network = load({source.network!r})
weight = next(w for w in weights_of(network) if (w.layer, w.module) == {(source.layer, source.module)!r})
inputs = layer_inputs(network, token_ids(network, {choice.text!r}))[0][weight.name]
corner = matrix(network, weight)[:{CORNER}, :{CORNER}]
for step in gptq_steps(corner, inputs[:, :{CORNER}], {scheme!r}):
    print(step.column, step.output_error)
"""
