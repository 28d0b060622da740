"""Formats compared at what they really cost, on this matrix and on normal numbers of its size."""

from functools import lru_cache

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.figures.quantization import duel
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.network.text import Choice
from components.panels.quantization.setting import Source, choose_source, values
from components.words import _
from models.quantization.checks import difference_from_torch
from models.quantization.error import DECIBELS_A_BIT, sqnr
from models.quantization.weight_formats import CONTENDERS, Setting, at_budget, quantize

LIVE = ("live_duel",)


@panel
def equal_bits(page: Page, choice: Choice) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = choose_source(page, choice.network)
        live_slider(
            _("Budget: effective bits a weight"),
            f"{page.name}_budget",
            2.5,
            9.0,
            4.5,
            0.05,
            help=_("Each format takes the smallest group that the budget allows."),
            live=LIVE,
            settled=(*LIVE, "duel_facts"),
        )
    live_duel(page, source)
    page.note("duel")
    duel_facts(page, source)


@lru_cache(maxsize=8)
def normal_like(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


@st.cache_data(max_entries=2_048, show_spinner=False)
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


def duel_figure(source: Source, budget: float):
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


@live_panel
def live_duel(page: Page, source: Source) -> None:
    budget = st.session_state.get(f"{page.name}_budget", 4.5)
    alt = _("SQNR of formats at {bits} effective bits").format(bits=f"{budget:.2f}")
    live_figure(duel_figure(source, budget), f"{page.name}_duel", alt)


@panel
def duel_facts(page: Page, source: Source) -> None:
    budget = st.session_state.get(f"{page.name}_budget", 4.5)
    found = contenders(source, budget)
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
    x = values(source)
    worst = max(difference_from_torch(x, quantize(x, row[0]), row[0]) for row in found.values())
    checked_against([Check(_("torch's quantizers and torch.cdist to all levels"), worst, 1e-5)])
    take_with_you(
        f"{page.name}_duel", lambda: table, lambda: duel_figure(source, budget), snippet(source, budget)
    )


def snippet(source: Source, budget: float) -> str:
    return f"""from models.networks.loading import load
from models.quantization.error import sqnr
from models.quantization.quantized_network import matrix, weights_of
from models.quantization.weight_formats import CONTENDERS, at_budget, quantize

network = load({source.network!r})
weight = next(w for w in weights_of(network) if (w.layer, w.module) == {(source.layer, source.module)!r})
x = matrix(network, weight)
for name, contender in CONTENDERS.items():
    if setting := at_budget(contender, {budget!r}, x.shape[1]):
        found = quantize(x, setting)
        print(name, setting.group_size, found.effective_bits, sqnr(x, found.dequantized))
"""
