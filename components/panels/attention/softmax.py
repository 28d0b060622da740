"""Softmax itself: shift, multiply, take it twice; and naive against stable in three precisions."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.attention import probability_bars
from components.formulas import show_formula
from components.lesson_parts import note
from components.settings import View, one_of, slider, text
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
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
from models.tables import typed_number

MOST_LOGITS, LARGEST_LOGIT = 16, 3_000  # times 20 and plus 120 that is a number in float16 too
PRECISIONS = (torch.float16, torch.bfloat16, torch.float32)


def times_label(times: int) -> str:
    return _("once") if times == 1 else _("twice")


def parse_logits(text: str) -> torch.Tensor:
    """Numbers between commas or spaces.

    Raises InputError on what is no number, too many, or so large that an edit leaves float16's range.
    """
    words = text.replace(",", " ").replace("，", " ").split()
    try:
        numbers = [typed_number(word) for word in words]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= MOST_LOGITS or not all(map(math.isfinite, numbers)):
        raise InputError(
            "Logits are 1 to {most} finite numbers with commas between them, such as 2, 1, 0, -1.",
            most=MOST_LOGITS,
        )
    if max(map(abs, numbers)) > LARGEST_LOGIT:
        raise InputError("Logits from −{most} to {most} are accepted here.", most=LARGEST_LOGIT)
    return torch.tensor(numbers)


@dataclass(frozen=True)
class SoftmaxItself(View):
    """Shift, multiply, take it twice; and naive against stable in three precisions."""

    page, name = "attention", "softmax"
    shift: float = slider(-120.0, 120.0, 0.0, 0.5, label=mark("Add c"))
    factor: float = slider(0.1, 20.0, 1.0, log=True, label=mark("Multiply by k (1/temperature)"))
    logits: str = text("2, 1, 0, -1", label=mark("Logits z"), most=300)
    times: int = one_of((1, 2), label=mark("Softmax"), label_of=times_label, style="segments")

    @property
    def edit(self) -> SoftmaxEdit:
        return SoftmaxEdit(shift=self.shift, factor=self.factor, times=self.times)

    def figure(self) -> go.Figure:
        logits = parse_logits(self.logits)
        plain, edited = edited_softmax(logits, SoftmaxEdit()), edited_softmax(logits, self.edit)
        return probability_bars({_("softmax(z)"): plain.numpy(), _("after your edit"): edited.numpy()})

    def stage(self) -> Stage:
        return Stage(Plot("softmax", self.figure(), _("Probabilities before and after the edit")))

    def below(self) -> None:
        note(self, "softmax")
        logits = parse_logits(self.logits)
        edited = edited_softmax(logits, self.edit)
        z = logits * self.factor + self.shift
        show_formula(
            r"\begin{aligned}"
            rf"\log\textstyle\sum_i e^{{z_i}}&={float(log_sum_exp(z)):.4f}\\"
            rf"\max_i p_i&={float(edited.max()):.4f}\\"
            rf"\lVert\mathrm{{diag}}(p)-pp^\top\rVert_F&={float(jacobian_frobenius_norm(edited)):.4f}"
            r"\end{aligned}"
        )
        precisions = precision_table(z)
        st.dataframe(precisions, hide_index=True)
        written_out = z
        for _pass in range(self.times):
            written_out = masked_softmax(written_out).probabilities
        checked_against([Check("torch.softmax", largest_difference(edited, written_out), 1e-6)])
        take_with_you(self, lambda: precisions, self.figure, snippet(logits, self.edit))


def snippet(logits: torch.Tensor, edit: SoftmaxEdit) -> str:
    """Python that repeats the numbers of the bars."""
    return f"""import torch

from models.attention.softmax import SoftmaxEdit, edited_softmax

print(edited_softmax(torch.tensor({logits.tolist()!r}), {edit!r}))
"""


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
