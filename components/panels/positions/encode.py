"""Vectors for positions: the sinusoidal encoding, and tables that a network learned."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components import controls
from components.figures.positions import curves, heatmap, wavelength_points
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.positions.settings import Based, ExplainsPair
from components.settings import View, number, one_of, slider
from components.stage import Plot, Stack, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.errors import InputError
from models.networks.catalogue import available
from models.networks.loading import load
from models.networks.positions import learned_table
from models.positions.absolute import cosines_with, nearly_constant, rows, sinusoidal
from models.positions.checks import sinusoidal_difference
from models.rotary.rope import frequencies, turns, wavelengths

LONGEST = 1024
SOURCES = ("sinusoidal", "learned")
WITH_TABLES = ("Bert", "GPT2", "Roberta")


def networks_with_tables() -> list[str]:
    """Names of the available networks whose architecture learns its positions."""
    return [entry.name for entry in available() if (entry.architecture or "").startswith(WITH_TABLES)]


def source_label(source: str) -> str:
    return _("sinusoidal") if source == "sinusoidal" else _("learned by a network")


@st.cache_resource(max_entries=4, show_spinner=False)
def table_of(network: str) -> torch.Tensor:
    """A network's learned table, shared between sessions: nothing may be changed in it."""
    return learned_table(load(network))


@st.cache_resource(max_entries=4, show_spinner=False)
def extent_of(network: str) -> float:
    """Where colours end: of a whole learned table, 99 numbers in 100 lie within; outliers are cut."""
    return float(table_of(network).abs().flatten().quantile(0.99))


def is_sinusoidal(view: "Vectors") -> bool:
    return view.source == "sinusoidal"


@dataclass(frozen=True)
class Vectors(View):
    """Which vectors stand for positions."""

    source: str = one_of(SOURCES, label=mark("Vectors"), label_of=source_label, style="radio")
    table: str = one_of(
        lambda view: networks_with_tables() or [""],
        label=mark("Learned by"),
        shown=lambda view: view.source == "learned",
    )
    width: int = number(2, 512, 64, label=mark("Dimensions d"), shown=is_sinusoidal)
    length: int = slider(2, LONGEST, 256, 1, label=mark("Length (positions)"))
    position: int = slider(0, lambda view: view.length - 1, 64, 1, label=mark("Compared with position"))


@dataclass(frozen=True)
class AddedVectors(ExplainsPair, Vectors, Based):
    """The vector of every position, how fast each pair turns, and how alike positions are."""

    page, name = "positions", "encode"

    @property
    def pairs(self) -> int:
        return max(1, self.width // 2)

    @property
    def vectors(self) -> torch.Tensor:
        """The vectors that are looked at, one a position. Raises InputError where they end before."""
        if is_sinusoidal(self):
            return sinusoidal(self.length, self.width, self.base)
        if not self.table:
            raise InputError("No network with a learned table of positions is at hand.")
        return rows(table_of(self.table), self.length)

    def stage(self) -> Stage:
        alike = Plot(
            "cosines",
            likeness(self),
            _("Cosine of one position's vector with all others"),
            rest=120,
        )
        vectors = Plot("matrix", matrix(self), _("The vector of every position"), width=1.4)
        if not is_sinusoidal(self):
            return Stage([vectors, alike])
        turning = Plot("wavelengths", full_turns(self), _("Positions to a full turn, by pair"), rest=120)
        return Stage([vectors, Stack([turning, alike])])

    def below(self) -> None:
        note(self, "encode") if is_sinusoidal(self) else note(self, "learned")
        if is_sinusoidal(self):
            table = self.vectors
            left, right = st.columns([1, 3], gap="medium")
            with left:
                controls.draw(self, "pair")
            with right:
                show_formula(formula(self, table))
            reference = _("sin and cos of transformers' rotary module")
            # an angle of `length` radians is known to about ε·length in float32
            allowed = max(1e-6, 1e-7 * self.length)
            checked_against([Check(reference, sinusoidal_difference(table, self.base), allowed)])
        take_with_you(
            self,
            lambda: pd.DataFrame(self.vectors.numpy()).rename_axis("position"),
            lambda: matrix(self),
            snippet(self),
        )


def matrix(view: AddedVectors) -> go.Figure:
    """Positions down, dimensions across, in colours from −extent to extent."""
    extent = 1.0 if is_sinusoidal(view) else extent_of(view.table)
    title = _("Value") if extent == 1 else _("Value / {extent}").format(extent=f"{extent:.3g}")
    values = view.vectors.numpy() / extent
    return heatmap(values, _("Dimension"), _("Position"), title, row_now=view.position)


def full_turns(view: AddedVectors) -> go.Figure:
    """Positions to a full turn for each pair of the sinusoidal encoding."""
    frequency = frequencies(view.width, view.base)
    still = nearly_constant(turns(view.length, frequency))
    return wavelength_points(wavelengths(frequency).numpy(), still.numpy(), view.length)


def likeness(view: AddedVectors) -> go.Figure:
    """Cosine of the chosen position's vector with those of all positions."""
    return curves(
        {_("cosine"): cosines_with(view.vectors, view.position).numpy()},
        _("Position"),
        _("Cosine with the chosen position"),
        x_now=view.position,
        now=str(view.position),
        y_range=(-1.05, 1.05),
    )


def formula(view: AddedVectors, table: torch.Tensor) -> str:
    """One pair of dimensions at one position."""
    pair, position = view.pair, view.position
    theta = float(frequencies(view.width, view.base)[pair])
    sine, cosine = table[position, 2 * pair : 2 * pair + 2].tolist()
    return (
        r"\begin{aligned}"
        rf"\theta_{{{pair}}}&={view.base:.10g}^{{-{2 * pair}/{view.width}}}={theta:.6g}\\"
        rf"\mathrm{{PE}}({position},{2 * pair})&=\sin({position}\cdot{theta:.6g})={sine:.4f}\\"
        rf"\mathrm{{PE}}({position},{2 * pair + 1})&=\cos({position}\cdot{theta:.6g})={cosine:.4f}"
        r"\end{aligned}"
    )


def snippet(view: AddedVectors) -> str:
    """Python that repeats the numbers of the matrix."""
    if is_sinusoidal(view):
        return f"""from models.positions.absolute import cosines_with, sinusoidal

table = sinusoidal({view.length}, {view.width}, {view.base!r})
print(table)
print(cosines_with(table, {view.position}))
"""
    return f"""from models.networks.loading import load
from models.networks.positions import learned_table
from models.positions.absolute import cosines_with, rows

table = rows(learned_table(load({view.table!r})), {view.length})
print(table)
print(cosines_with(table, {view.position}))
"""
