"""Spectral autopsy: the singular values of ΔW, and whether W has directions that W₀ did not have."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, whole_number
from components.figures.curves import Curve, curves
from components.figures.lora import cosines
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.lora.finished import FINISHED
from components.panels.lora.setup import (
    choose_initialisation,
    choose_rate,
    initialisation_label,
    task_now,
    task_sliders,
)
from components.words import _
from models.errors import InputError
from models.lora.adapter import Spectrum, intruders, spectrum
from models.lora.comparison import final_weights
from models.lora.lab import Recipe, Run, Task, problem

SOURCES = ("task", "network")
WIDTH, STEPS, TOP = 64, 200, 24
EPSILON, LEADING = (0.0, 1.0, 0.5), (1.0, 24.0, 10.0)


@panel
def autopsy(page: Page) -> None:
    """What was trained (in the lab, or in the network's last runs), and its two figures."""
    name = page.name
    source = choose(
        _("Weights of"),
        SOURCES,
        f"{name}_source",
        lambda source: _("the synthetic task") if source == "task" else _("the real network"),
        default="task",
        style="segments",
    )
    pairs = task_pairs(page) if source == "task" else network_pairs(page)
    live, settled = ("cosine_figure",), ("cosine_figure", "spectrum_words")
    with st.container(horizontal=True):
        live_slider(
            _("ε: foreign below this |cos|"), f"{name}_epsilon", *EPSILON, 0.01, live=live, settled=settled
        )
        live_slider(
            _("among the leading directions"), f"{name}_leading", *LEADING, 1.0, live=live, settled=settled
        )
    live_figure(value_figure(pairs), f"{name}_values", _("Singular values of ΔW"))
    cosine_figure(page, pairs)
    page.note("spectrum")
    spectrum_words(page, pairs)


def task_pairs(page: Page) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(W₀, W) of one adapter and of full fine-tuning on the task of the first view."""
    name = page.name
    task_sliders(page, live=(), settled=("autopsy",))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = choose_initialisation(page, "spectrum_start")
        rank = whole_number(_("Rank"), 0, 128, f"{name}_spectrum_rank", 4, width=110)
        rate = choose_rate(page, "spectrum_rate", 1e-2)
        seed = whole_number(_("First seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    task = task_now(page, WIDTH)
    drawn = problem(task, seed)
    return {
        initialisation_label(chosen): trained(task, Run(chosen, rank, rate, seed)),
        _("full fine-tuning"): trained(task, Run("full", WIDTH, 3e-3, seed)),
        _("the task's own ΔW*"): (drawn.weight, drawn.weight + drawn.change),
    }


@st.cache_resource(max_entries=64, show_spinner=False)
def trained(task: Task, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    return final_weights(task, run, Recipe(steps=STEPS))


def network_pairs(page: Page) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """One matrix of the finished runs. Raises InputError while there are none."""
    runs = FINISHED.latest()
    if not runs:
        raise InputError("No run on the real network has finished yet; train one in its own view first.")
    names = list(next(iter(runs.values())).before)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        matrix = choose(
            _("Matrix"), names, f"{page.name}_matrix", str, default=names[len(names) // 2], width=340
        )
    return {
        f"{number}. {run.method} r={run.rank} {run.initialisation} {run.domain}": (
            tuned.before[matrix],
            tuned.after[matrix],
        )
        for number, (run, tuned) in enumerate(runs.items(), 1)
    }


def value_figure(pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> go.Figure:
    """σᵢ(ΔW) of everything that was trained, from the largest on."""
    shown = []
    for place, (name, (before, after)) in enumerate(pairs.items()):
        values = torch.linalg.svdvals(after - before).clamp_min(1e-7).numpy()
        shown.append(Curve(name, place, np.arange(1, len(values) + 1), values, markers=True))
    largest = max(float(curve.y.max()) for curve in shown)
    return curves(
        shown,
        _("Number of the singular value, largest first"),
        _("Singular value of ΔW"),
        y_range=(1e-6 * largest, 2 * largest),
        y_log=True,
        height=360,
    )


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs={torch.Tensor: id})
def found(before: torch.Tensor, after: torch.Tensor) -> Spectrum:
    """The spectrum of one pair; the tensors are kept with it, so that their ids stay theirs."""
    return spectrum(before, after)


def limits(page: Page) -> tuple[int, float]:
    leading = slider_value(f"{page.name}_leading", *LEADING)
    return round(leading), slider_value(f"{page.name}_epsilon", *EPSILON)


@live_panel
def cosine_figure(page: Page, pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """The leading directions of W against those of W₀, for the first two of the trained weights."""
    top, epsilon = limits(page)
    shown = list(pairs.items())[:2]
    for column, (place, (name, pair)) in zip(st.columns(2, gap="medium"), enumerate(shown), strict=False):
        with column:
            cosine = found(*pair).cosine
            foreign = intruders(cosine, min(top, len(cosine)), epsilon).tolist()
            figure = cosines(cosine[:TOP, :TOP].numpy(), foreign)
            figure.layout.title = {
                "text": name + " · " + _("{count} foreign").format(count=len(foreign)),
                "font": {"size": 14}, "x": 0.02,
            }  # fmt: skip
            figure.layout.margin.t = 40
            live_figure(
                figure,
                f"{page.name}_cosines_{place}",
                _("Cosines between directions before and after"),
                rest=60 * place,
            )


@panel
def spectrum_words(page: Page, pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Numerical rank, size, and foreign directions of each; the check by another decomposition."""
    top, epsilon = limits(page)
    rows, checks = [], []
    for name, pair in pairs.items():
        one = found(*pair)
        squares = one.delta.double().square()
        rows.append(
            {
                _("Weights of"): name,
                "‖ΔW‖ / ‖W₀‖": f"{one.delta.norm() / one.before.norm():.3g}",
                _("rank of ΔW (σ > σ₁/1000)"): int((one.delta > one.delta[0] / 1000).sum()),
                _("stable rank ‖ΔW‖²/σ₁²"): f"{squares.sum() / squares[0].clamp_min(1e-30):.3g}",
                _("foreign directions"): len(intruders(one.cosine, min(top, len(one.cosine)), epsilon)),
            }
        )
        gram = torch.linalg.eigvalsh((pair[1] - pair[0]).double() @ (pair[1] - pair[0]).double().T)
        largest = gram.clamp_min(0).sqrt().max()
        checks.append(float((largest - one.delta[0]).abs() / largest.clamp_min(1e-30)))
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    checked_against(
        [Check(_("σ₁(ΔW) as an eigenvalue of ΔW·ΔWᵀ, torch.linalg.eigvalsh, relative"), max(checks), 1e-4)]
    )
    take_with_you(
        f"{page.name}_spectrum",
        lambda: pd.DataFrame(
            {name: torch.linalg.svdvals(w - w0).numpy() for name, (w0, w) in pairs.items()}
        ),
        lambda: value_figure(pairs),
        snippet(page),
    )


def snippet(page: Page) -> str:
    """Python that repeats the singular values and the foreign directions of the lab."""
    state, name = st.session_state, page.name
    run = Run(
        state.get(f"{name}_spectrum_start", "kaiming"),
        state.get(f"{name}_spectrum_rank", 4),
        float(state.get(f"{name}_spectrum_rate", "0.01")),
        state.get(f"{name}_seed", 0),
    )
    top, epsilon = limits(page)
    return f"""from models.lora.adapter import intruders, spectrum
from models.lora.comparison import final_weights
from models.lora.lab import Recipe, Run, Task

before, after = final_weights({task_now(page, WIDTH)!r}, {run!r}, Recipe(steps={STEPS}))
found = spectrum(before, after)
print(found.delta, intruders(found.cosine, {top}, {epsilon!r}))
"""
