"""A real weight matrix: its histogram with the levels drawn in, a staircase, where the error is."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components import controls
from components.figures.quantized_matrix import (
    BINS,
    bits_against_quality,
    error_map,
    level_histogram,
    pooled,
    staircase,
)
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.quantization.settings import (
    RANDOM,
    YOURS,
    ChoosesAnyMatrix,
    ChoosesFormat,
    Source,
    setting_name,
    values,
)
from components.settings import number
from components.stage import Click, Plot, Row, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.quantization.checks import difference_from_torch
from models.quantization.error import DECIBELS_A_BIT, lloyd_max, lloyd_max_normal, matrix_error, sqnr
from models.quantization.integers import BITS, Quantized
from models.quantization.weight_formats import Setting, quantize

SAMPLE = 100_000  # weights that curves over all bits are computed on
LLOYD_BITS = (1, 2, 3, 4, 5)
MOST_POINTS = 512  # of the staircase
MOST_WRITTEN = 400  # numbers of one's own matrix that stand in the snippet themselves
OWN_FILE = 'torch.from_numpy(np.load("matrix.npy")).float()'


@dataclass(frozen=True)
class WeightMatrix(ChoosesFormat, ChoosesAnyMatrix):
    """One matrix in one format: levels, quality, where the error sits, and weights before and after."""

    page, name, opens = "quantization", "matrix", True
    row: int = number(0, lambda view: len(view.matrix) - 1, 0, label=mark("Output"), place="none")
    column: int = number(0, lambda view: view.matrix.shape[1] - 1, 0, label=mark("Input"), place="none")

    def stage(self) -> Stage:
        x = self.matrix
        found = quantize(x, self.setting)
        quality = sqnr(x, found.dequantized)
        return Stage(
            Row([levels_plot(self, found, quality), quality_plot(self, found, quality)]),
            Row([error_plot(self, found), staircase_plot(self, found)]),
        )

    def below(self) -> None:
        note(self, "matrix")
        x, setting = self.matrix, self.setting
        found = quantize(x, setting)
        left, right = st.columns([2, 3], gap="medium")
        with left:
            st.markdown("##### " + _("The arithmetic of one weight"))
            for column, name in zip(st.columns(2), ("row", "column"), strict=True):
                with column:
                    controls.draw(self, name)
            formulas(x, found, setting, self.row, self.column)
        with right:
            st.dataframe(measures(x, found, setting), hide_index=True)
        checked_against([Check(other_way(setting), difference_from_torch(x, found, setting), 1e-5)])
        quality = sqnr(x, found.dequantized)
        take_with_you(
            self,
            lambda: pd.DataFrame(found.dequantized.numpy()).rename_axis("output"),
            lambda: quality_figure(self.source, setting, (found.effective_bits, quality)),
            snippet(self.source, setting),
            own_file(self.source),
        )


def levels_plot(view: WeightMatrix, found: Quantized, quality: float) -> Plot:
    """How often each weight occurs, and the levels of the first group."""
    counts, limit = shares(view.source)
    title = _("{name}: nominal {nominal} bits, effective {effective} · SQNR {sqnr} dB").format(
        name=setting_name(view.setting),
        nominal=view.setting.nominal_bits,
        effective=f"{found.effective_bits:.3f}",
        sqnr=f"{quality:.2f}",
    )
    figure = level_histogram(counts, limit, found.levels.numpy(), title)
    return Plot("levels", figure, _("Histogram of the weights with the levels"), rest=60, least=200)


def quality_plot(view: WeightMatrix, found: Quantized, quality: float) -> Plot:
    """What is reached with the bits that are spent."""
    figure = quality_figure(view.source, view.setting, (found.effective_bits, quality))
    return Plot("quality", figure, _("SQNR against effective bits"), rest=300, least=200)


def error_plot(view: WeightMatrix, found: Quantized) -> Plot:
    """Where the error sits; a click chooses the weight that is worked out below."""
    x = view.matrix

    def choose_weight(click: Click) -> WeightMatrix:
        return replace(
            view,
            row=min(x.shape[0] - 1, int(click["y"])),
            column=min(x.shape[1] - 1, int(click["x"])),
        )

    error = pooled((x - found.dequantized).numpy())
    figure = error_map(error, (x.shape[0], x.shape[1]), largest_error(view.source))
    return Plot("error", figure, _("Map of the error"), choose_weight, least=200)


def staircase_plot(view: WeightMatrix, found: Quantized) -> Plot:
    """Weights of the first row before and after."""
    _counts, limit = shares(view.source)
    before, after = (held[0, :MOST_POINTS].numpy() for held in (view.matrix, found.dequantized))
    return Plot(
        "staircase", staircase(before, after, limit), _("Weights before and after"), rest=300, least=200
    )


@lru_cache(maxsize=8)
def sample(source: Source) -> torch.Tensor:
    """Evenly spread rows of the matrix, of not many more than SAMPLE weights."""
    x = values(source)
    return x[:: max(1, x.numel() // SAMPLE)].contiguous()


@lru_cache(maxsize=8)
def shares(source: Source) -> tuple[np.ndarray, float]:
    """The histogram of all weights from minus to plus the largest, as shares."""
    x = values(source)
    limit = float(x.abs().max()) or 1.0
    return (torch.histc(x, BINS, -limit, limit) / x.numel()).numpy(), limit


@lru_cache(maxsize=8)
def largest_error(source: Source) -> float:
    """The top of the error map's colours, the same for every setting: a quarter of the weights' σ."""
    return float(values(source).std(correction=0)) / 4 or 1.0


@lru_cache(maxsize=8)
def lloyd_curve(source: Source) -> np.ndarray:
    return np.array([lloyd_max(sample(source), bits).sqnr for bits in LLOYD_BITS])


@lru_cache(maxsize=256)
def setting_curve(source: Source, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Effective bits and SQNR of the same integers with 2 to 8 bits, on the sample."""
    x = sample(source)
    found = [quantize(x, replace(setting, bits=bits)) for bits in BITS]
    return np.array([f.effective_bits for f in found]), np.array([sqnr(x, f.dequantized) for f in found])


def quality_figure(source: Source, setting: Setting, now: tuple[float, float]) -> go.Figure:
    curves = {
        _("Lloyd–Max, these weights"): (np.array(LLOYD_BITS), lloyd_curve(source)),
        _("Lloyd–Max, normal"): (
            np.array(LLOYD_BITS),
            np.array([lloyd_max_normal(bits).sqnr for bits in LLOYD_BITS]),
        ),
    }
    if setting.format == "int":
        curves[_("this setting, 2 to 8 bits")] = setting_curve(source, replace(setting, bits=4))
    return bits_against_quality(curves, now, DECIBELS_A_BIT)


def measures(x: torch.Tensor, found: Quantized, setting: Setting) -> pd.DataFrame:
    """Size, bits and errors of the matrix."""
    quality = matrix_error(x, found.dequantized)
    rows = {
        _("Matrix"): f"{x.shape[0]} × {x.shape[1]}",
        _("Nominal bits"): str(setting.nominal_bits),
        _("Effective bits"): f"{found.effective_bits:.4f}",
        "MSE": f"{quality.mse:.4g}",
        "SQNR": f"{quality.sqnr:.3f} dB",
        _("Cosine"): f"{quality.cosine:.6f}",
        _("Largest error"): f"{quality.largest:.4g}",
        _("Memory against float32"): f"{found.effective_bits / 32:.1%}",
    }
    return pd.DataFrame({_("Measure"): list(rows), _("Value"): list(rows.values())})


def other_way(setting: Setting) -> str:
    """What the matrix is checked against."""
    return {
        "int": "torch.fake_quantize_per_channel_affine",
        "bfloat16": "torch.bfloat16",
        "float16": "torch.float16",
    }.get(setting.format, _("torch.cdist to all levels"))


def formulas(x: torch.Tensor, found: Quantized, setting: Setting, row: int, column: int) -> None:
    """Scale, zero point, code and value of one weight."""
    group = found.group_of(row, column)
    scale, weight, back = (
        float(found.scale[group]),
        float(x[row, column]),
        float(found.dequantized[row, column]),
    )
    lines = [rf"w&={weight:.6f}", rf"s&={scale:.6g}", rf"w/s&={weight / scale:.4f}"]
    if setting.format == "int":
        offset = 0 if found.zero_point is None else int(found.zero_point[group])
        zero = f"({offset})" if offset < 0 else str(offset)
        code = round(back / scale) + offset
        low, high = setting.scheme.code_range
        lines += [
            rf"q&=\mathrm{{clamp}}(\mathrm{{round}}({weight / scale:.4f})+{zero},\,{low},\,{high})={code}",
            rf"\hat w&=s\,(q-{zero})={back:.6f}",
        ]
    else:
        lines += [rf"C_i&={back / scale:.6f}", rf"\hat w&=s\cdot C_i={back:.6f}"]
    lines.append(rf"\hat w-w&={back - weight:.3g}")
    show_formula(r"\begin{aligned}" + r"\\".join(lines) + r"\end{aligned}")


def snippet(source: Source, setting: Setting) -> str:
    """Python that repeats the numbers of the table."""
    start, x = matrix_in_python(source)
    return f"""{start}
from models.quantization.error import matrix_error
from models.quantization.weight_formats import Setting, quantize

x = {x}
found = quantize(x, {setting!r})
print(found.effective_bits, matrix_error(x, found.dequantized))
"""


def own_file(source: Source) -> Callable[[], dict[str, bytes]] | None:
    """A matrix of the person's that is too large to stand in the snippet, as the file that it reads."""
    if source.module != YOURS or values(source).numel() <= MOST_WRITTEN:
        return None

    def made() -> dict[str, bytes]:
        file = io.BytesIO()
        np.save(file, values(source).numpy())
        return {"matrix.npy": file.getvalue()}

    return made


def matrix_in_python(source: Source) -> tuple[str, str]:
    """Lines that come first, and an expression for the matrix."""
    if source.module == RANDOM:
        return "import torch\n", "torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))"
    if source.module == YOURS and values(source).numel() <= MOST_WRITTEN:
        return "import torch\n", f"torch.tensor({values(source).tolist()!r})"
    if source.module == YOURS:
        return "import numpy as np\nimport torch\n", OWN_FILE
    start = f"""from models.networks.loading import load
from models.quantization.quantized_network import matrix, weights_of

network = load({source.network!r})
weight = next(w for w in weights_of(network) if (w.layer, w.module) == {(source.layer, source.module)!r})
"""
    return start, "matrix(network, weight)"
