"""Why √d_k: what the width of a head does to dot products, softmax and its gradient."""

import numpy as np
import pandas as pd
import streamlit as st

from components.controls import whole_number
from components.figures.attention import histogram, lines
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Page, take_with_you
from components.panels import panel
from components.take.attention import dot_products
from components.words import _
from models.attention.softmax import (
    DotProductStatistics,
    cosine_statistics,
    dot_product_statistics,
    largest_cosine_weight,
)

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SAMPLES, KEYS = 128, 64
WAYS = ("scaled", "plain", "cosine")


def way_labels() -> dict[str, str]:
    return {"scaled": _("divided by √d_k"), "plain": _("not divided"), "cosine": _("divided by the norms")}


def statistics(way: str, width: int, seed: int) -> DotProductStatistics:
    """Random queries and keys of one width, under one way to treat their dot product."""
    if way == "cosine":
        return cosine_statistics(width, SAMPLES, KEYS, seed)
    return dot_product_statistics(width, SAMPLES, KEYS, 0.5 if way == "scaled" else 0.0, seed)


@st.cache_data(max_entries=16, show_spinner=False)
def sweep(seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Largest weight and gradient norm against the width, for each way."""
    found = {}
    for way in WAYS:
        rows = [statistics(way, width, seed) for width in WIDTHS]
        found[way] = {
            name: np.array([getattr(row, name) for row in rows])
            for name in ("largest_weight", "median_gradient_norm")
        }
    return found


@panel
def why_scale(page: Page) -> None:
    left, right = st.columns([3, 1], gap="medium")
    with left:
        width = round(live_slider(_("Width of a head d_k"), f"{page.name}_width", 1, 1024, 64, 1, log=True))
    with right:
        seed = whole_number(_("Seed"), 0, 9_999, f"{page.name}_seed", 0)
    found = {way: statistics(way, width, seed) for way in WAYS}
    first, second, third = st.columns(3, gap="medium")
    with first:
        samples = {way_labels()[way]: found[way].products.flatten().numpy() for way in ("plain", "scaled")}
        figure = histogram(samples, _("Score q·k"), limit=40)
        live_figure(figure, f"{page.name}_products_hist", _("Distribution of scores with and without √d_k"))
    curves = sweep(seed)
    for column, name, title in (
        (second, "largest_weight", _("Largest weight over {keys} keys").format(keys=KEYS)),
        (third, "median_gradient_norm", _("Norm of softmax's Jacobian, median query")),
    ):
        with column:
            figure = lines(
                {way_labels()[way]: (np.array(WIDTHS), curves[way][name]) for way in curves},
                "d_k",
                title,
                x_log=True,
                y_range=(0, 1.02) if name == "largest_weight" else (0, 0.5),
                x_now=width,
            )
            live_figure(figure, f"{page.name}_{name}", title)
    page.note("scale")
    rows = table(found, width)
    st.dataframe(rows, hide_index=True)
    take_with_you(
        f"{page.name}_scale",
        lambda: rows,
        lambda: figure,
        lambda: dot_products(found, width, SAMPLES, KEYS, seed),
    )


def table(found: dict[str, DotProductStatistics], width: int) -> pd.DataFrame:
    """The same three ways in numbers, beside what theory expects."""
    expected = {"scaled": "1", "plain": f"d_k = {width}", "cosine": f"1/d_k = {1 / width:.4g}"}
    return pd.DataFrame(
        {
            _("q·k is"): [way_labels()[way] for way in found],
            _("Variance"): [f"{row.variance:.4g}" for row in found.values()],
            _("Expected variance"): [expected[way] for way in found],
            _("Largest weight"): [f"{row.largest_weight:.4f}" for row in found.values()],
            _("Largest it can be"): ["1", "1", f"{largest_cosine_weight(KEYS):.4f}"],
            _("Norm of the Jacobian, median"): [
                f"{row.median_gradient_norm:.4g}" for row in found.values()
            ],
            _("mean"): [f"{row.gradient_norm:.4g}" for row in found.values()],
            _("Saturated rows (weight > 0.99)"): [f"{row.saturated:.0%}" for row in found.values()],
            _("Entropy (nats)"): [f"{row.entropy:.4g}" for row in found.values()],
        }
    )
