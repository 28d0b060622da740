"""Why √d_k: what the width of a head does to dot products, softmax and its gradient."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import streamlit as st

from components.figures.attention import histogram, lines
from components.lesson_parts import note
from components.panels.attention.settings import Seeded
from components.settings import slider
from components.stage import Plot, Stage
from components.takeaway import take_with_you
from components.words import _, mark
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


@dataclass(frozen=True)
class WhyScale(Seeded):
    """What the width of a head does to its scores, weights and gradient, under three rules."""

    page, name = "attention", "scale"
    width: int = slider(1, 1024, 64, 1, log=True, label=mark("Width of a head d_k"))

    def found(self) -> dict[str, DotProductStatistics]:
        return statistics_by_way(self.width, self.seed)

    def stage(self) -> Stage:
        found, labels = self.found(), way_labels()
        samples = {labels[way]: found[way].products.flatten().numpy() for way in ("scaled", "plain")}
        scores = histogram(samples, _("Score q·k"), limit=40)
        return Stage(
            [
                Plot("products_hist", scores, _("Distribution of scores with and without √d_k"), rest=60),
                curve_plot(self, "largest_weight", _("Largest weight over {keys} keys").format(keys=KEYS)),
                curve_plot(self, "median_gradient_norm", _("Norm of softmax's Jacobian, median query")),
            ]
        )

    def below(self) -> None:
        note(self, "scale")
        rows = table(self.found(), self.width)
        st.dataframe(rows, hide_index=True)
        take_with_you(
            self,
            lambda: rows,
            lambda: curve_plot(self, "median_gradient_norm", "").made,
            snippet(self.width, self.seed),
        )


@lru_cache(maxsize=8)  # stage and tables of one setting share it
def statistics_by_way(width: int, seed: int) -> dict[str, DotProductStatistics]:
    return {way: statistics(way, width, seed) for way in WAYS}


def curve_plot(view: WhyScale, name: str, title: str) -> Plot:
    """One measure against the width, for each rule, with a line at the present width."""
    curves = sweep(view.seed)
    figure = lines(
        {way_labels()[way]: (np.array(WIDTHS), curves[way][name]) for way in curves},
        "d_k",
        title,
        x_log=True,
        y_range=(0, 1.02) if name == "largest_weight" else (0, 0.5),
        x_now=view.width,
    )
    return Plot(name, figure, title)


def snippet(width: int, seed: int) -> str:
    """Python that repeats the numbers of the table."""
    return f"""from models.attention.softmax import cosine_statistics, dot_product_statistics

for exponent in (0.5, 0.0):
    print(dot_product_statistics({width}, {SAMPLES}, {KEYS}, exponent, {seed}))
print(cosine_statistics({width}, {SAMPLES}, {KEYS}, {seed}))
"""


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
