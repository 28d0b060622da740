"""Vectors for positions: the sinusoidal encoding, and tables that a network learned."""

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, whole_number
from components.figures.positions import curves, heatmap, horizontal_line, wavelength_points
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.take.positions import learned, sines
from components.take.script import Script
from components.words import _
from models.errors import InputError
from models.networks.catalogue import available
from models.networks.loading import load
from models.networks.positions import learned_table
from models.positions.absolute import cosines_with, nearly_constant, rows, sinusoidal
from models.positions.checks import sinusoidal_difference
from models.rotary.rope import frequencies, turns, wavelengths

LIVE, SETTLED = ("encode_live",), ("encode_live", "encode_numbers")
LONGEST = 1024
WITH_TABLES = ("Bert", "GPT2", "Roberta")


def networks_with_tables() -> list[str]:
    """Names of the available networks whose architecture learns its positions."""
    return [entry.name for entry in available() if (entry.architecture or "").startswith(WITH_TABLES)]


@panel
def encode(page: Page) -> None:
    """Controls, then the figures that follow them, then the numbers of one position."""
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = choose(
            _("Vectors"),
            ("sinusoidal", "learned"),
            f"{name}_source",
            lambda source: _("sinusoidal") if source == "sinusoidal" else _("learned by a network"),
            default="sinusoidal",
            style="segments",
        )
        if source == "sinusoidal":
            whole_number(_("Dimensions d"), 1, 512, f"{name}_width", 64, width=150)
        else:
            names = networks_with_tables()
            if not names:
                raise InputError("No network with a learned table of positions is at hand.")
            choose(_("Learned by"), names, f"{name}_table", str, default=names[0], width=260)
    with st.container(horizontal=True):
        if source == "sinusoidal":
            live_slider(
                _("Base"), f"{name}_base", 2.0, 1_000_000.0, 10_000.0, log=True,
                live=LIVE, settled=SETTLED,
            )  # fmt: skip
        live_slider(
            _("Length (positions)"), f"{name}_length", 2.0, LONGEST, 256.0, 1, live=LIVE, settled=SETTLED
        )
        live_slider(
            _("Compared with position"), f"{name}_position", 0.0, 255.0, 64.0, 1,
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
    encode_live(page, source)
    encode_numbers(page, source)


@st.cache_resource(max_entries=4, show_spinner=False)
def table_of(network: str) -> torch.Tensor:
    """A network's learned table, shared between sessions: nothing may be changed in it."""
    return learned_table(load(network))


def settings(page: Page) -> tuple[int, float, int, int]:
    """Width, base, length, and the position that all are compared with."""
    state, name = st.session_state, page.name
    length = round(state[f"{name}_length"])
    return (
        state.get(f"{name}_width", 64),
        float(state.get(f"{name}_base", 10_000.0)),
        length,
        min(length - 1, round(state[f"{name}_position"])),
    )


def vectors(page: Page, source: str) -> torch.Tensor:
    """The vectors that are looked at, one a position. Raises InputError where they end before."""
    width, base, length, _position = settings(page)
    if source == "sinusoidal":
        return sinusoidal(length, width, base)
    return rows(table_of(st.session_state[f"{page.name}_table"]), length)


@live_panel
def encode_live(page: Page, source: str) -> None:
    """The matrix; beside it the wavelengths and the cosine with one position."""
    width, base, length, position = settings(page)
    table = vectors(page, source)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        live_figure(
            matrix(table, position, extent_of(page, source)),
            f"{page.name}_matrix",
            _("The vector of every position"),
        )
    with right:
        if source == "sinusoidal":
            frequency = frequencies(width, base)
            still = nearly_constant(turns(length, frequency))
            figure = wavelength_points(wavelengths(frequency).numpy(), still.numpy(), length)
            live_figure(
                figure, f"{page.name}_wavelengths", _("Positions to a full turn, by pair"), rest=120
            )
        cosines = cosines_with(table, position).numpy()
        figure = curves(
            {_("cosine"): cosines},
            _("Position"),
            _("Cosine with position {position}").format(position=position),
            x_now=position,
            y_range=(-1.05, 1.05),
            height=270 if source == "sinusoidal" else 520,
        )
        live_figure(
            figure, f"{page.name}_cosines", _("Cosine of one position's vector with all others"), rest=120
        )


def matrix(table: torch.Tensor, position: int, extent: float) -> go.Figure:
    """Positions down, dimensions across, in colours from −extent to extent."""
    title = _("Value") if extent == 1 else _("Value / {extent}").format(extent=f"{extent:.3g}")
    return heatmap(
        table.numpy() / extent,
        _("Dimension"),
        _("Position"),
        title,
        height=520,
        lines=[horizontal_line(position)],
    )


def extent_of(page: Page, source: str) -> float:
    """Where colours end: of a whole learned table, 99 numbers in 100 lie within; outliers are cut."""
    if source == "sinusoidal":
        return 1.0
    return float(table_of(st.session_state[f"{page.name}_table"]).abs().flatten().quantile(0.99))


@panel
def encode_numbers(page: Page, source: str) -> None:
    """One position's numbers in the formula, the comparison, and things to take along."""
    width, base, length, position = settings(page)
    table = vectors(page, source)
    if source == "learned":
        page.note("learned")
    else:
        page.note("encode")
        pair = min(width // 2 - 1, st.session_state.get(f"{page.name}_pair", 4))
        st.latex(formula(width, base, position, pair, table))
        reference = _("sin and cos of transformers' rotary module")
        # an angle of `length` radians is known to about ε·length in float32
        checked_against([Check(reference, sinusoidal_difference(table, base), max(1e-6, 1e-7 * length))])
    take_with_you(
        f"{page.name}_encode",
        lambda: pd.DataFrame(table.numpy()).rename_axis("position").reset_index(),
        lambda: matrix(table, position, extent_of(page, source)),
        python(page, source, table),
    )


def python(page: Page, source: str, table: torch.Tensor) -> Callable[[], Script]:
    width, base, length, position = settings(page)
    if source == "sinusoidal":
        return lambda: sines(width, base, length, position, table)
    network = st.session_state[f"{page.name}_table"]
    return lambda: learned(network, length, position, table)


def formula(width: int, base: float, position: int, pair: int, table: torch.Tensor) -> str:
    """One pair of dimensions at one position."""
    theta = float(frequencies(width, base)[pair])
    sine, cosine = table[position, 2 * pair : 2 * pair + 2].tolist()
    return (
        r"\begin{aligned}"
        rf"\theta_{{{pair}}}&={base:g}^{{-{2 * pair}/{width}}}={theta:.6g}\\"
        rf"\mathrm{{PE}}({position},{2 * pair})&=\sin({position}\cdot{theta:.6g})={sine:.4f}\\"
        rf"\mathrm{{PE}}({position},{2 * pair + 1})&=\cos({position}\cdot{theta:.6g})={cosine:.4f}"
        r"\end{aligned}"
    )
