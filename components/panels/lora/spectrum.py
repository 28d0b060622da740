"""Spectral autopsy: the singular values of ΔW, and whether W has directions that W₀ did not have."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.curves import Curve, curves
from components.figures.lora import cosines
from components.lesson_parts import note
from components.panels.lora.finished import FINISHED
from components.panels.lora.settings import RATES, OnTask, initialisation_label
from components.settings import number, one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.errors import InputError
from models.lora.adapter import Spectrum, intruders, spectrum
from models.lora.comparison import final_weights
from models.lora.initialisations import INITIALISATIONS, Initialisation
from models.lora.lab import Recipe, Run, Task, problem

SOURCES = ("task", "network")
WIDTH, STEPS, TOP = 64, 200, 24
Weights = dict[str, tuple[torch.Tensor, torch.Tensor]]


def source_label(source: str) -> str:
    return _("the synthetic task") if source == "task" else _("the real network")


def on_task(view: "Autopsy") -> bool:
    return view.source == "task"


def matrices(view: "Autopsy") -> list[str]:
    """Names of the trained matrices; one that is empty while no run has finished."""
    runs = FINISHED.latest()
    return list(next(iter(runs.values())).before) if runs else [""]


def middle_matrix(view: "Autopsy") -> str:
    names = matrices(view)
    return names[len(names) // 2]


@dataclass(frozen=True)
class Autopsy(OnTask):
    """The singular values of ΔW, and whether W has directions that W₀ did not have."""

    page, name = "lora", "spectrum"
    epsilon: float = slider(0.0, 1.0, 0.5, label=mark("ε: foreign below this |cos|"))
    leading: int = slider(1, TOP, 10, 1, label=mark("among the leading directions"))
    source: str = one_of(SOURCES, label=mark("Weights of"), label_of=source_label, style="radio")
    spectrum_start: Initialisation = one_of(
        INITIALISATIONS, label=mark("Initialisation"), label_of=initialisation_label, shown=on_task
    )
    spectrum_rank: int = number(0, 128, 4, label=mark("Rank"), shown=on_task)
    spectrum_rate: str = one_of(
        tuple(f"{rate:g}" for rate in RATES),
        "0.01",
        label=mark("Learning rate"),
        beside=True,
        shown=on_task,
    )
    matrix: str = one_of(
        matrices, middle_matrix, label=mark("Matrix"), shown=lambda view: view.source == "network"
    )

    @property
    def run(self) -> Run:
        return Run(self.spectrum_start, self.spectrum_rank, float(self.spectrum_rate), self.seed)

    def weights(self) -> Weights:
        """(W₀, W) of all that is shown. Raises InputError while no run on the network has finished."""
        return network_weights(self.matrix) if self.source == "network" else self.task_weights()

    def task_weights(self) -> Weights:
        """One adapter, full fine-tuning, and the task itself."""
        task = self.task(WIDTH)
        drawn = problem(task, self.seed)
        return {
            initialisation_label(self.spectrum_start): trained(task, self.run),
            _("full fine-tuning"): trained(task, Run("full", WIDTH, 3e-3, self.seed)),
            _("the task's own ΔW*"): (drawn.weight, drawn.weight + drawn.change),
        }

    def stage(self) -> Stage:
        weights = self.weights()
        alt = _("Cosines between directions before and after")
        maps = [
            Plot(f"cosines_{place}", cosine_figure(self, name, pair), alt, rest=60 * place)
            for place, (name, pair) in enumerate(list(weights.items())[:2])
        ]
        return Stage([*maps, Plot("values", value_figure(weights), _("Singular values of ΔW"), rest=60)])

    def below(self) -> None:
        """Numerical rank, size, and foreign directions of each; the check by another decomposition."""
        note(self, "spectrum")
        weights = self.weights()
        st.dataframe(spectrum_table(self, weights), hide_index=True, width="stretch")
        what = _("σ₁(ΔW) as an eigenvalue of ΔW·ΔWᵀ, torch.linalg.eigvalsh, relative")
        checked_against([Check(what, max(map(eigenvalue_gap, weights.values())), 1e-4)])
        take_with_you(
            self,
            lambda: pd.DataFrame(
                {
                    name: torch.linalg.svdvals(after - base).numpy()
                    for name, (base, after) in weights.items()
                }
            ).rename_axis("direction"),
            lambda: value_figure(weights),
            snippet(self.task(WIDTH), self.run, self.leading, self.epsilon),
        )


@st.cache_resource(max_entries=64, show_spinner=False)
def trained(task: Task, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    return final_weights(task, run, Recipe(steps=STEPS))


def network_weights(matrix: str) -> Weights:
    """One matrix of the finished runs. Raises InputError while there are none."""
    runs = FINISHED.latest()
    if not runs:
        raise InputError("No run on the real network has finished yet; train one in its own view first.")
    return {
        f"{number}. {run.method} r={run.rank} {run.initialisation} {run.domain}": (
            tuned.before[matrix],
            tuned.after[matrix],
        )
        for number, (run, tuned) in enumerate(runs.items(), 1)
        if matrix in tuned.before
    }


def value_figure(pairs: Weights) -> go.Figure:
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


def foreign(view: Autopsy, spectra: Spectrum) -> list[int]:
    """Leading directions of W that no direction of W₀ comes near."""
    return intruders(spectra.cosine, min(view.leading, len(spectra.cosine)), view.epsilon).tolist()


def cosine_figure(view: Autopsy, name: str, pair: tuple[torch.Tensor, torch.Tensor]) -> go.Figure:
    """The leading directions of W against those of W₀."""
    spectra = found(*pair)
    marked = foreign(view, spectra)
    figure = cosines(spectra.cosine[:TOP, :TOP].numpy(), marked)
    figure.layout.title = {
        "text": name + " · " + _("{count} foreign").format(count=len(marked)),
        "font": {"size": 14},
        "x": 0.02,
    }
    figure.layout.margin.t = 40
    return figure


def singular_values(weights: Weights) -> pd.DataFrame:
    """A column each, from the largest on."""
    values = {name: torch.linalg.svdvals(after - base).numpy() for name, (base, after) in weights.items()}
    return pd.DataFrame(values).rename_axis("direction")


def spectrum_table(view: Autopsy, weights: Weights) -> pd.DataFrame:
    rows = []
    for name, pair in weights.items():
        spectra = found(*pair)
        squares = spectra.delta.double().square()
        rows.append(
            {
                _("Weights of"): name,
                "‖ΔW‖ / ‖W₀‖": f"{spectra.delta.norm() / spectra.before.norm():.3g}",
                _("rank of ΔW (σ > σ₁/1000)"): int((spectra.delta > spectra.delta[0] / 1000).sum()),
                _("stable rank ‖ΔW‖²/σ₁²"): f"{squares.sum() / squares[0].clamp_min(1e-30):.3g}",
                _("foreign directions"): len(foreign(view, spectra)),
            }
        )
    return pd.DataFrame(rows)


def eigenvalue_gap(pair: tuple[torch.Tensor, torch.Tensor]) -> float:
    """σ₁ of ΔW against the root of the largest eigenvalue of ΔW·ΔWᵀ, relative."""
    change = (pair[1] - pair[0]).double()
    largest = torch.linalg.eigvalsh(change @ change.T).clamp_min(0).sqrt().max()
    return float((largest - found(*pair).delta[0]).abs() / largest.clamp_min(1e-30))


def snippet(task: Task, run: Run, top: int, epsilon: float) -> str:
    """Python that repeats the singular values and the foreign directions of the lab."""
    return f"""from models.lora.adapter import intruders, spectrum
from models.lora.comparison import final_weights
from models.lora.initialisations import INITIALISATIONS, Initialisation
from models.lora.lab import Recipe, Run, Task

before, after = final_weights({task!r}, {run!r}, Recipe(steps={STEPS}))
found = spectrum(before, after)
print(found.delta, intruders(found.cosine, {top}, {epsilon!r}))
"""
