"""Softmax itself: shift, multiply, take it twice; and naive against stable in three precisions."""

import math

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import choose
from components.figures.attention import probability_bars
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.take.attention import softmax
from components.words import _
from models.attention.softmax import (
    SoftmaxEdit,
    edited_softmax,
    jacobian_frobenius_norm,
    largest_safe_logit,
    log_sum_exp,
    softmax_steps,
)
from models.errors import InputError
from models.numerics.comparison import largest_difference
from models.numerics.masked_softmax import masked_softmax

MOST_LOGITS = 16
PRECISIONS = (torch.float16, torch.bfloat16, torch.float32)


def parse_logits(text: str) -> torch.Tensor:
    """Numbers between commas or spaces. Raises InputError on what is no number, or too many."""
    words = text.replace(",", " ").replace("，", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= MOST_LOGITS or not all(map(math.isfinite, numbers)):
        raise InputError(
            "Logits are 1 to {most} finite numbers with commas between them, such as 2, 1, 0, -1.",
            most=MOST_LOGITS,
        )
    return torch.tensor(numbers)


@panel
def softmax_lab(page: Page) -> None:
    left, right = st.columns([1, 2], gap="medium")
    with left:
        text = st.text_input(
            _("Logits z"), "2, 1, 0, -1", key=f"{page.name}_logits", bind="query-params", max_chars=300
        )
        shift = live_slider(_("Add c"), f"{page.name}_shift", -120.0, 120.0, 0.0, 0.5)
        factor = live_slider(
            _("Multiply by k (1/temperature)"), f"{page.name}_factor", 0.1, 20.0, 1.0, log=True
        )
        times = choose(
            _("Softmax"),
            (1, 2),
            f"{page.name}_times",
            lambda times: _("once") if times == 1 else _("twice"),
            default=1,
            style="segments",
        )
    logits = parse_logits(text)
    edited = edited_softmax(logits, SoftmaxEdit(shift=shift, factor=factor, times=times))
    plain = edited_softmax(logits, SoftmaxEdit())
    with right:
        figure = probability_bars({_("softmax(z)"): plain.numpy(), _("after your edit"): edited.numpy()})
        live_figure(figure, f"{page.name}_softmax", _("Probabilities before and after the edit"))
    z = logits * factor + shift
    st.latex(
        r"\begin{aligned}"
        rf"\log\textstyle\sum_i e^{{z_i}}&={float(log_sum_exp(z)):.4f}\\"
        rf"\max_i p_i&={float(edited.max()):.4f}\\"
        rf"\lVert\mathrm{{diag}}(p)-pp^\top\rVert_F&={float(jacobian_frobenius_norm(edited)):.4f}"
        r"\end{aligned}"
    )
    precisions = precision_table(z)
    st.dataframe(precisions, hide_index=True)
    page.note("softmax")
    written_out = z
    for _pass in range(times):
        written_out = masked_softmax(written_out).probabilities
    checked_against([Check("torch.softmax", largest_difference(edited, written_out), 1e-6)])
    take_with_you(
        f"{page.name}_softmax",
        lambda: precisions,
        lambda: figure,
        lambda: softmax(logits, SoftmaxEdit(shift=shift, factor=factor, times=times)),
    )


def precision_table(z: torch.Tensor) -> pd.DataFrame:
    """Naive and stable softmax of the edited logits, as each precision computes them."""
    rows = []
    for dtype in PRECISIONS:
        for stable in (False, True):
            steps = softmax_steps(z, dtype, stable)
            rows.append(
                {
                    _("Precision"): str(dtype).removeprefix("torch."),
                    _("Way"): _("less the maximum") if stable else _("naive"),
                    _("Overflows above"): f"{largest_safe_logit(dtype):.2f}" if not stable else _("never"),
                    _("Largest exponential"): f"{steps.exponentials.max():.4g}",
                    _("Denominator"): f"{steps.denominator:.4g}",
                    _("Probabilities"): "  ".join(f"{p:.4f}" for p in steps.probabilities.float().numpy()),
                }
            )
    return pd.DataFrame(rows).replace(np.nan, "nan")
