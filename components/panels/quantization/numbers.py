"""Number formats: the bits of a typed value, its neighbours, what is stored, and ranges."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.quantization import (
    EXPONENT,
    INTEGER,
    MANTISSA,
    SIGN,
    bit_fields,
    number_line,
    ranges,
)
from components.formulas import show_formula
from components.lesson_parts import note
from components.live.figure import live_figure
from components.settings import View, one_of, slider, text
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.errors import InputError
from models.quantization.number_formats import (
    BFLOAT16,
    E4M3,
    E5M2,
    E8M0,
    FLOAT16,
    FLOAT32,
    FORMATS,
    FloatFormat,
    Overflow,
    bits_of,
    decode,
    encode,
    encode_integer,
    facts,
    float_format,
    round_to,
    spacing,
    values_between,
)
from models.tables import typed_number

INTEGERS = (8, 4)
MOST_POINTS = 260
TORCH = {
    FLOAT32: torch.float32,
    BFLOAT16: torch.bfloat16,
    FLOAT16: torch.float16,
    E4M3: torch.float8_e4m3fn,
    E5M2: torch.float8_e5m2,
    E8M0: torch.float8_e8m0fnu,
}
OVERFLOWS: tuple[Overflow, ...] = ("format", "torch", "saturate")


def overflow_label(kind: str) -> str:
    return {
        "format": _("as the format says"),
        "torch": _("as torch casts"),
        "saturate": _("becomes the largest number"),
    }[kind]


def parse_number(text: str) -> float:
    """A typed number; nan and inf are numbers here. Raises InputError on what is none."""
    try:
        return typed_number(text.strip().replace("−", "-"))
    except ValueError:
        raise InputError(
            "{text} is no number; type one such as 0.1, -3, 1e4, 6e-8, inf or nan.", text=repr(text[:40])
        ) from None


@dataclass(frozen=True)
class Numbers(View):
    """One number in every format: its bits, and the numbers that lie beside it."""

    page, name = "quantization", "numbers"
    power: float = slider(
        -24,
        24,
        0.0,
        0.05,
        label=mark("Times 2 to the power"),
        help=mark("Walks through the powers of two: watch exponent and spacing."),
    )
    typed: str = text("0.1", key="value", label=mark("Value"), most=40)
    custom: str = text(
        "E3M4",
        label=mark("A format of your own"),
        help=mark("ExMy: exponent and mantissa bits, such as E3M4."),
        most=10,
    )
    overflow: str = one_of(OVERFLOWS, label=mark("What is too large"), label_of=overflow_label)

    @property
    def value(self) -> float:
        """The typed number times the slider's power of two. Raises InputError."""
        return parse_number(self.typed) * 2.0**self.power

    @property
    def own_format(self) -> FloatFormat:
        """Raises InputError."""
        return float_format(self.custom)

    @property
    def formats(self) -> tuple[FloatFormat, ...]:
        return FORMATS if self.own_format in FORMATS else (*FORMATS, self.own_format)

    def stage(self) -> Stage:
        parts = [fields_plot(self)]
        if math.isfinite(self.value):
            parts.append(line_plot(self))
        return Stage(parts)

    def below(self) -> None:
        note(self, "bits")
        table = facts_table(self.value, self.formats, self.overflow)
        left, right = st.columns([3, 2], gap="medium")
        with left:
            st.dataframe(table, hide_index=True, height=38 + 35 * len(table))
        with right:
            arithmetic(self.value, FLOAT16 if self.own_format in FORMATS else self.own_format)
        figure = ranges_figure(self.formats)
        alt = _("Range of every format, subnormal numbers apart")
        live_figure(figure, "quantization_ranges", alt)
        note(self, "ranges")
        if self.overflow != "saturate":
            checked_against(casts(self.value))
        take_with_you(self, lambda: table, lambda: figure, snippet(self.value))


def fields_plot(view: Numbers) -> Plot:
    """The bits in every format, and what is stored."""
    value, names, rows, kinds, stored = view.value, [], [], [], []
    for form in view.formats:
        names.append(form.name)
        kind = np.repeat([SIGN, EXPONENT, MANTISSA], [form.signed, form.exponent_bits, form.mantissa_bits])
        code, held = encoded(value, form, view.overflow)
        bits = np.zeros(0, bool) if code is None else bits_of(code, form.bits).numpy()
        rows.append(bits)
        kinds.append(kind[: len(bits)])
        stored.append(_("has no NaN") if held is None else f"{held:.9g}")
    for width in INTEGERS:
        names.append(f"int{width}")
        code = None if math.isnan(value) else encode_integer(torch.tensor(value), width)
        rows.append(np.zeros(0, bool) if code is None else bits_of(code, width).numpy())
        kinds.append(np.full(len(rows[-1]), INTEGER))
        stored.append(_("has no NaN") if code is None else str(int(code)))
    alt = _("The bits of {value} in every format").format(value=f"{value:.6g}")
    return Plot("fields", bit_fields(names, rows, kinds, stored), alt, width=1.5, least=330)


def encoded(value: float, form: FloatFormat, overflow: str) -> tuple[torch.Tensor | None, float | None]:
    """Code and stored number; neither for a NaN in a format that has none."""
    if math.isnan(value) and form.nan_code is None:
        return None, None
    kind = next(kind for kind in OVERFLOWS if kind == overflow)
    code = encode(torch.tensor(value, dtype=torch.float64), form, kind)
    return code, float(decode(code, form))


def line_plot(view: Numbers) -> Plot:
    """One power of two to either side of the value; around zero, what float16 calls subnormal."""
    value = view.value
    reach = abs(value) / 2 or 2.0**-14
    window = (value - reach, value + reach)
    inside = [values_between(*window, form, MOST_POINTS) for form in view.formats]
    shown = [None if values is None else values.numpy() for values in inside]
    figure = number_line([form.name for form in view.formats], shown, value, window)
    alt = _("Numbers of every format near {value}").format(value=f"{value:.6g}")
    return Plot("line", figure, alt, rest=60)


@lru_cache(maxsize=8)
def _ranges_of(formats: tuple[FloatFormat, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """Smallest number, smallest normal one, largest one and decimal digits of each format."""
    every = [facts(form) for form in formats]
    return (
        np.array([fact.smallest_subnormal or fact.smallest_normal for fact in every]),
        np.array([fact.smallest_normal for fact in every]),
        np.array([fact.largest for fact in every]),
        [fact.decimal_digits for fact in every],
    )


def ranges_figure(formats: tuple[FloatFormat, ...]) -> go.Figure:
    smallest, normal, largest, digits = _ranges_of(formats)
    words = [_("{digits} digits").format(digits=f"{count:.1f}") for count in digits]
    return ranges([form.name for form in formats], smallest, normal, largest, words)


def facts_table(value: float, forms: tuple[FloatFormat, ...], overflow: str) -> pd.DataFrame:
    rows = []
    for form in forms:
        _code, held = encoded(value, form, overflow)
        fact = facts(form)
        off = None if held is None else held - value
        rows.append(
            {
                _("Format"): form.name,
                _("Bits"): fact.bits,
                _("Stored"): "–" if held is None else f"{held:.9g}",
                _("Error"): "–" if off is None or not math.isfinite(off) else f"{off:.3g}",
                _("Spacing here"): f"{spacing(value, form):.3g}" if math.isfinite(value) else "–",
                _("Largest"): f"{fact.largest:.4g}",
                _("Smallest normal"): f"{fact.smallest_normal:.4g}",
                _("Smallest subnormal"): "–"
                if fact.smallest_subnormal is None
                else f"{fact.smallest_subnormal:.4g}",
                "ε": f"{fact.epsilon:.4g}",
            }
        )
    return pd.DataFrame(rows)


def arithmetic(value: float, form: FloatFormat) -> None:
    """The fields put into the formula."""
    code, held = encoded(value, form, "format")
    if code is None or held is None or not math.isfinite(held):
        return
    magnitude = int(code) & (2 ** (form.bits - 1) - 1)
    field, mantissa = magnitude >> form.mantissa_bits, magnitude & (2**form.mantissa_bits - 1)
    sign = "-" if int(code) >> (form.bits - 1) else "+"
    whole, exponent = (1, f"{field}-{form.bias}") if field else (0, f"1-{form.bias}")
    show_formula(
        rf"\begin{{aligned}}&\text{{{form.name}}}\\&{sign}\left({whole}+\tfrac{{{mantissa}}}"
        rf"{{2^{{{form.mantissa_bits}}}}}\right)\cdot 2^{{{exponent}}}\\&={held:.9g}\end{{aligned}}"
    )


def casts(value: float) -> list[Check]:
    """Torch's own casts of this value, and of numbers around it, just now."""
    around = torch.tensor([value, value * 1.03, -value, 0.1, 1e4, 61_440.0, 6e-8], dtype=torch.float32)
    checks = []
    for form, dtype in TORCH.items():
        usable = (
            around[around.abs() >= torch.finfo(torch.float32).smallest_normal] if form is E8M0 else around
        )
        theirs, ours = usable.to(dtype).double(), round_to(usable, form)
        same = (theirs == ours) | (theirs.isnan() & ours.isnan())
        differences = torch.where(same, 0.0, (theirs - ours).abs())
        checks.append(Check(str(dtype), float(differences.max()) if len(usable) else 0.0, 0.0))
    return checks


def snippet(value: float) -> str:
    """Python that repeats the stored numbers."""
    return f"""import torch

from models.quantization.number_formats import FORMATS, facts, round_to

value = torch.tensor(float("{value!r}"), dtype=torch.float64)
for form in FORMATS:
    if form.nan_code is not None or not value.isnan():
        print(form.name, float(round_to(value, form)), facts(form))
"""
