"""Formats compared at what they really cost, on this matrix and on normal numbers of its size."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.quantized_matrix import duel
from components.lesson_parts import note
from components.panels.quantization.matrix import matrix_in_python, own_file
from components.panels.quantization.settings import ChoosesAnyMatrix, Source, values
from components.settings import slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.quantization.checks import difference_from_torch
from models.quantization.error import DECIBELS_A_BIT, sqnr
from models.quantization.weight_formats import CONTENDERS, Setting, at_budget, quantize


@dataclass(frozen=True)
class EqualBits(ChoosesAnyMatrix):
    """Who makes the most of a budget of bits."""

    page, name = "quantization", "duel"
    budget: float = slider(
        2.5,
        9.0,
        4.5,
        0.05,
        label=mark("Budget: effective bits per weight"),
        help=mark("Each format takes the smallest group that the budget allows."),
    )

    def stage(self) -> Stage:
        alt = _("SQNR of formats at {bits} effective bits").format(bits=f"{self.budget:.2f}")
        return Stage(Plot("duel", duel_figure(self.source, self.budget), alt))

    def below(self) -> None:
        note(self, "duel")
        found = contenders(self.source, self.budget)
        table = pd.DataFrame(
            {
                _("Format"): list(found),
                _("Group size"): [group(row[0]).removeprefix(", g=") or "–" for row in found.values()],
                _("Effective bits"): [f"{row[1]:.4f}" for row in found.values()],
                _("SQNR, this matrix (dB)"): [f"{row[2]:.3f}" for row in found.values()],
                _("SQNR, normal numbers (dB)"): [f"{row[3]:.3f}" for row in found.values()],
                _("Below the bound for a normal source (dB)"): [
                    f"{DECIBELS_A_BIT * row[1] - row[3]:.2f}" for row in found.values()
                ],
            }
        )
        st.dataframe(table, hide_index=True)
        x = self.matrix
        worst = max(
            (difference_from_torch(x, quantize(x, row[0]), row[0]) for row in found.values()), default=0.0
        )
        checked_against([Check(_("torch's quantizers and torch.cdist to all levels"), worst, 1e-5)])
        take_with_you(
            self,
            lambda: table,
            lambda: duel_figure(self.source, self.budget),
            snippet(self.source, self.budget),
            own_file(self.source),
        )


@lru_cache(maxsize=8)
def normal_like(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


@lru_cache(maxsize=2_048)
def contest(source: Source, setting: Setting) -> tuple[float, float, float]:
    """Effective bits, SQNR on the matrix, SQNR on normal numbers."""
    x = values(source)
    normal = normal_like(x.shape[0], x.shape[1])
    found = quantize(x, setting)
    return (
        found.effective_bits,
        sqnr(x, found.dequantized),
        sqnr(normal, quantize(normal, setting).dequantized),
    )


def contenders(source: Source, budget: float) -> dict[str, tuple[Setting, float, float, float]]:
    """Who fits the budget: integers of the widest two widths, and every other format."""
    columns = values(source).shape[1]
    fitting = {name: at_budget(setting, budget, columns) for name, setting in CONTENDERS.items()}
    found = {}
    for name, setting in fitting.items():
        is_narrow = setting is not None and setting.nominal_bits < budget - 1.6
        if setting is not None and not is_narrow:
            found[name] = (setting, *contest(source, setting))
    return found


def duel_figure(source: Source, budget: float) -> go.Figure:
    found = contenders(source, budget)
    names = [name + group(setting) for name, (setting, *_rest) in found.items()]
    series = {
        _("this matrix"): np.array([row[2] for row in found.values()]),
        _("normal numbers, seed 0"): np.array([row[3] for row in found.values()]),
    }
    return duel(names, [row[1] for row in found.values()], series, DECIBELS_A_BIT * budget)


def group(setting: Setting) -> str:
    has_one = setting.format in ("int", "nf4", "fp4", "e4m3")
    return f", g={setting.group_size}" if has_one else ""


def snippet(source: Source, budget: float) -> str:
    """Python that repeats the numbers of the table."""
    start, x = matrix_in_python(source)
    return f"""{start}
from models.quantization.error import sqnr
from models.quantization.weight_formats import CONTENDERS, at_budget, quantize

x = {x}
for name, contender in CONTENDERS.items():
    if setting := at_budget(contender, {budget!r}, x.shape[1]):
        found = quantize(x, setting)
        print(name, setting.group_size, found.effective_bits, sqnr(x, found.dequantized))
"""
