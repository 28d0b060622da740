"""A real weight matrix: its histogram with the levels drawn in, a staircase, where the error is."""

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import whole_number
from components.figures.quantization import (
    BINS,
    bits_against_quality,
    error_map,
    level_histogram,
    pooled,
    staircase,
)
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.network.text import Choice
from components.panels.quantization.setting import (
    RANDOM,
    Source,
    choose_setting,
    choose_source,
    setting_name,
    setting_now,
    values,
)
from components.words import _
from models.quantization.checks import difference_from_torch
from models.quantization.error import DECIBELS_A_BIT, lloyd_max, lloyd_max_normal, matrix_error, sqnr
from models.quantization.integers import BITS, Quantized
from models.quantization.weight_formats import Setting, quantize

LIVE = ("live_matrix",)
SETTLED = (*LIVE, "matrix_facts")
SAMPLE = 100_000  # weights that curves over all bits are computed on
LLOYD_BITS = (1, 2, 3, 4, 5)


@panel
def weight_matrix(page: Page, choice: Choice) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = choose_source(page, choice.network, with_random=True)
    choose_setting(page, LIVE, SETTLED)
    live_matrix(page, source)
    page.note("matrix")
    matrix_facts(page, source)


@st.cache_resource(max_entries=8, show_spinner=False)
def sample(source: Source) -> torch.Tensor:
    """Evenly spread rows of the matrix, of not many more than SAMPLE weights."""
    x = values(source)
    return x[:: max(1, x.numel() // SAMPLE)].contiguous()


@st.cache_data(max_entries=8, show_spinner=False)
def shares(source: Source) -> tuple[np.ndarray, float]:
    """The histogram of all weights from minus to plus the largest, as shares."""
    x = values(source)
    limit = float(x.abs().max()) or 1.0
    return (torch.histc(x, BINS, -limit, limit) / x.numel()).numpy(), limit


@st.cache_data(max_entries=8, show_spinner=False)
def lloyd_curve(source: Source) -> np.ndarray:
    return np.array([lloyd_max(sample(source), bits).sqnr for bits in LLOYD_BITS])


@st.cache_data(max_entries=256, show_spinner=False)
def setting_curve(source: Source, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Effective bits and SQNR of the same integers with 2 to 8 bits, on the sample."""
    x = sample(source)
    found = [quantize(x, replace(setting, bits=bits)) for bits in BITS]
    return np.array([f.effective_bits for f in found]), np.array([sqnr(x, f.dequantized) for f in found])


def quality_figure(source: Source, setting: Setting, now: tuple[float, float]):
    curves = {
        _("Lloyd–Max, these weights"): (np.array(LLOYD_BITS), lloyd_curve(source)),
        _("Lloyd–Max, normal distribution"): (
            np.array(LLOYD_BITS),
            np.array([lloyd_max_normal(bits).sqnr for bits in LLOYD_BITS]),
        ),
    }
    if setting.format == "int":
        curves[_("this setting, 2 to 8 bits")] = setting_curve(source, replace(setting, bits=4))
    return bits_against_quality(curves, now, DECIBELS_A_BIT)


@live_panel
def live_matrix(page: Page, source: Source) -> None:
    setting, x = setting_now(page), values(source)
    found = quantize(x, setting)
    quality = sqnr(x, found.dequantized)
    counts, limit = shares(source)
    title = _("{name}: nominal {nominal} bits, effective {effective} · SQNR {sqnr} dB").format(
        name=setting_name(setting),
        nominal=setting.nominal_bits,
        effective=f"{found.effective_bits:.3f}",
        sqnr=f"{quality:.2f}",
    )

    def choose_cell(click: dict) -> None:
        st.session_state[f"{page.name}_row"] = min(x.shape[0] - 1, int(click["y"]))
        st.session_state[f"{page.name}_column"] = min(x.shape[1] - 1, int(click["x"]))
        st.rerun(("matrix_facts",))

    left, right = st.columns(2, gap="medium")
    with left:
        figure = level_histogram(counts, limit, found.levels.numpy(), title)
        live_figure(figure, f"{page.name}_levels", _("Histogram of the weights with the levels"), rest=100)
        error = pooled((x - found.dequantized).numpy())
        top = float(x.std()) / 4
        figure = error_map(error, (x.shape[0], x.shape[1]), top)
        live_figure(figure, f"{page.name}_error", _("Map of the error"), choose_cell)
    with right:
        figure = quality_figure(source, setting, (found.effective_bits, quality))
        live_figure(figure, f"{page.name}_quality", _("SQNR against effective bits"), rest=300)
        count = min(512, x.shape[1])
        figure = staircase(x[0, :count].numpy(), found.dequantized[0, :count].numpy(), limit)
        live_figure(figure, f"{page.name}_staircase", _("Weights before and after"), rest=300)


@panel
def matrix_facts(page: Page, source: Source) -> None:
    """Errors in numbers, one weight step by step, and torch's own answer."""
    setting, x = setting_now(page), values(source)
    found = quantize(x, setting)
    quality = matrix_error(x, found.dequantized)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown("##### " + _("The arithmetic of one weight"))
        with st.container(horizontal=True):
            row = whole_number(_("Output"), 0, x.shape[0] - 1, f"{page.name}_row", 0, width=140)
            column = whole_number(_("Input"), 0, x.shape[1] - 1, f"{page.name}_column", 0, width=140)
        formulas(x, found, setting, row, column)
    numbers = {
        _("Matrix"): f"{x.shape[0]} × {x.shape[1]}",
        _("Nominal bits"): setting.nominal_bits,
        _("Effective bits"): f"{found.effective_bits:.4f}",
        "MSE": f"{quality.mse:.4g}",
        "SQNR": f"{quality.sqnr:.3f} dB",
        _("Cosine"): f"{quality.cosine:.6f}",
        _("Largest error"): f"{quality.largest:.4g}",
        _("Memory against float32"): f"{found.effective_bits / 32:.1%}",
    }
    table = pd.DataFrame({_("Measure"): list(numbers), _("Value"): [str(v) for v in numbers.values()]})
    with right:
        st.dataframe(table, hide_index=True)
    other = {
        "int": "torch.fake_quantize_per_channel_affine",
        "bfloat16": "torch.bfloat16",
        "float16": "torch.float16",
    }.get(setting.format, _("torch.cdist to all levels"))
    checked_against([Check(other, difference_from_torch(x, found, setting), 1e-5)])
    take_with_you(
        f"{page.name}_matrix",
        lambda: pd.DataFrame(found.dequantized.numpy()),
        lambda: quality_figure(source, setting, (found.effective_bits, quality.sqnr)),
        snippet(source, setting),
    )


def formulas(x: torch.Tensor, found: Quantized, setting: Setting, row: int, column: int) -> None:
    """Scale, zero point, code and value of one weight."""
    width = found.group[1]
    per_row = -(-x.shape[1] // width)
    place = 0 if len(found.scale) == 1 else row * per_row + column // width
    scale, weight, back = (
        float(found.scale[place]),
        float(x[row, column]),
        float(found.dequantized[row, column]),
    )
    lines = [rf"w&={weight:.6f}", rf"s&={scale:.6g}", rf"w/s&={weight / scale:.4f}"]
    if setting.format == "int":
        zero = 0 if found.zero_point is None else int(found.zero_point[place])
        code = round(back / scale) + zero
        low, high = setting.scheme.code_range
        lines += [
            rf"q&=\mathrm{{clamp}}(\mathrm{{round}}({weight / scale:.4f})+{zero},\,{low},\,{high})={code}",
            rf"\hat w&=s\,(q-{zero})={back:.6f}",
        ]
    else:
        lines += [rf"C_i&={back / scale:.6f}", rf"\hat w&=s\cdot C_i={back:.6f}"]
    lines.append(rf"\hat w-w&={back - weight:.3g}")
    st.latex(r"\begin{aligned}" + r"\\".join(lines) + r"\end{aligned}")


def snippet(source: Source, setting: Setting) -> str:
    """Python that repeats the numbers of the table."""
    if source.module == RANDOM:
        x = "torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))"
        start = "import torch\n"
    else:
        x = "matrix(network, weight)"
        start = f"""from models.networks.loading import load
from models.quantization.quantized_network import matrix, weights_of

network = load({source.network!r})
weight = next(w for w in weights_of(network) if (w.layer, w.module) == {(source.layer, source.module)!r})
"""
    return f"""{start}
from models.quantization.error import matrix_error
from models.quantization.weight_formats import Setting, quantize

x = {x}
found = quantize(x, {setting!r})
print(found.effective_bits, matrix_error(x, found.dequantized))
"""
