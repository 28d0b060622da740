"""Number formats: the bits of a typed value, its neighbours, ranges, and steps that vanish."""

import math

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import choose, whole_number
from components.figures.quantization import (
    EXPONENT,
    INTEGER,
    MANTISSA,
    SIGN,
    bit_fields,
    number_line,
    paths,
    ranges,
)
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.words import _
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
from models.quantization.weight_updates import update_paths

INTEGERS = (8, 4)
LIVE = ("bit_pattern",)
SETTLED = (*LIVE, "value_facts")
MOST_POINTS = 260
STEPS = 200
TORCH = {
    FLOAT32: torch.float32,
    BFLOAT16: torch.bfloat16,
    FLOAT16: torch.float16,
    E4M3: torch.float8_e4m3fn,
    E5M2: torch.float8_e5m2,
    E8M0: torch.float8_e8m0fnu,
}
OVERFLOWS = ("format", "saturate")


def parse_number(text: str) -> float:
    """A typed number; nan and inf are numbers here. Raises InputError on what is none."""
    try:
        return float(text.strip().replace("−", "-").replace("_", "") or "x")
    except ValueError:
        raise InputError(
            "{text} is no number; type one such as 0.1, -3, 1e4, 6e-8, inf or nan.", text=repr(text[:40])
        ) from None


def numbers(page: Page) -> None:
    """Controls, then the live bits and neighbours, the table, ranges, and the vanishing step."""
    typed_value(page)
    update_view(page)


@panel
def typed_value(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            _("Value"),
            page.default("value"),
            key=f"{name}_value",
            bind="query-params",
            max_chars=40,
            width=160,
        )
        custom = st.text_input(
            _("A format of your own"),
            page.default("custom"),
            key=f"{name}_custom",
            bind="query-params",
            max_chars=10,
            width=160,
            help=_("ExMy: exponent and mantissa bits, such as E3M4."),
        )
        overflow = choose(
            _("What is too large"),
            OVERFLOWS,
            f"{name}_overflow",
            lambda kind: _("as the format says") if kind == "format" else _("becomes the largest number"),
            default="format",
            width=240,
        )
        with st.container(width=320):
            live_slider(
                _("Times 2 to the power"),
                f"{name}_power",
                -24,
                24,
                0,
                0.05,
                help=_("Walks through the powers of two: watch exponent and spacing."),
                live=LIVE,
                settled=SETTLED,
            )
    value, own = parse_number(text), float_format(custom)
    bit_pattern(page, value, own, overflow)
    page.note("bits")
    value_facts(page, value, own, overflow)


def value_now(page: Page, typed: float) -> float:
    return typed * 2.0 ** st.session_state.get(f"{page.name}_power", 0.0)


def shown_formats(own: FloatFormat) -> tuple[FloatFormat, ...]:
    return FORMATS if own in FORMATS else (*FORMATS, own)


@live_panel
def bit_pattern(page: Page, typed: float, own: FloatFormat, overflow: str) -> None:
    value = value_now(page, typed)
    forms = shown_formats(own)
    rows, kinds, stored, names = [], [], [], []
    for form in forms:
        names.append(form.name)
        kind = np.repeat([SIGN, EXPONENT, MANTISSA], [form.signed, form.exponent_bits, form.mantissa_bits])
        code, held = _encoded(value, form, overflow)
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
    live_figure(bit_fields(names, rows, kinds, stored), f"{page.name}_fields", alt)
    if math.isfinite(value):
        neighbours(page, value, forms)


def _encoded(value: float, form: FloatFormat, overflow: str) -> tuple[torch.Tensor | None, float | None]:
    if math.isnan(value) and form.nan_code is None:
        return None, None
    code = encode(
        torch.tensor(value, dtype=torch.float64), form, "saturate" if overflow == "saturate" else "format"
    )
    return code, float(decode(code, form))


def neighbours(page: Page, value: float, forms: tuple[FloatFormat, ...]) -> None:
    """One power of two to either side of the value; around zero, what float16 calls subnormal."""
    reach = abs(value) / 2 or 2.0**-14
    window = (value - reach, value + reach)
    found = [values_between(*window, form, MOST_POINTS) for form in forms]
    figure = number_line(
        [form.name for form in forms], [None if v is None else v.numpy() for v in found], value, window
    )
    alt = _("Numbers of every format near {value}").format(value=f"{value:.6g}")
    live_figure(figure, f"{page.name}_line", alt, rest=60)


@panel
def value_facts(page: Page, typed: float, own: FloatFormat, overflow: str) -> None:
    """The same in numbers: what is stored, how far off, the spacing there; range and precision."""
    value = value_now(page, typed)
    forms = shown_formats(own)
    table = facts_table(value, forms, overflow)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.dataframe(table, hide_index=True, height=38 + 35 * len(table))
    with right:
        arithmetic(value, own if own not in FORMATS else FLOAT16)
    everything = [facts(form) for form in forms]
    figure = ranges(
        [form.name for form in forms],
        np.array([fact.smallest_subnormal or fact.smallest_normal for fact in everything]),
        np.array([fact.smallest_normal for fact in everything]),
        np.array([fact.largest for fact in everything]),
        [_("{digits} digits").format(digits=f"{fact.decimal_digits:.1f}") for fact in everything],
    )
    live_figure(figure, f"{page.name}_ranges", _("Range of every format, subnormal numbers apart"))
    page.note("ranges")
    if overflow == "format":
        checked_against(casts(value))
    take_with_you(f"{page.name}_numbers", lambda: table, lambda: figure, snippet(value))


def facts_table(value: float, forms: tuple[FloatFormat, ...], overflow: str) -> pd.DataFrame:
    rows = []
    for form in forms:
        _code, held = _encoded(value, form, overflow)
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
    code, held = _encoded(value, form, "format")
    if code is None or held is None or not math.isfinite(held):
        return
    magnitude = int(code) & (2 ** (form.bits - 1) - 1)
    field, mantissa = magnitude >> form.mantissa_bits, magnitude & (2**form.mantissa_bits - 1)
    sign = "-" if int(code) >> (form.bits - 1) else "+"
    whole, exponent = (1, f"{field}-{form.bias}") if field else (0, f"1-{form.bias}")
    st.latex(
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


# Why weights are not updated in 16 bits


@panel
def update_view(page: Page) -> None:
    name = page.name
    st.markdown("##### " + _("Why weights are not updated in 16 bits"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        live_slider(
            _("Learning rate × gradient"),
            f"{name}_step",
            1e-7,
            1e-1,
            1e-3,
            0.01,
            log=True,
            live=("updates",),
            settled=("updates", "update_facts"),
        )
        live_slider(
            _("Weight at the start"),
            f"{name}_weight",
            1e-3,
            8.0,
            1.0,
            0.01,
            log=True,
            live=("updates",),
            settled=("updates", "update_facts"),
        )
        with st.container(width=130):
            seed = whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0)
    updates(page, seed)
    update_facts(page)
    page.note("updates")


@live_panel
def updates(page: Page, seed: int) -> None:
    state = st.session_state
    weight, step = state.get(f"{page.name}_weight", 1.0), state.get(f"{page.name}_step", 1e-3)
    found = update_paths(weight, step, STEPS, seed)
    curves = {
        _("float32 (master weight)"): found.float32,
        "float16": found.float16,
        "bfloat16": found.bfloat16,
        _("bfloat16, stochastic rounding"): found.stochastic,
    }
    figure = paths(
        {name: (path - path[0]).numpy() for name, path in curves.items()}, _("Change of the weight")
    )
    live_figure(figure, f"{page.name}_updates", _("A weight under equal steps in several precisions"))


@panel
def update_facts(page: Page) -> None:
    """Half the spacing at the weight against the step: below it, the step is lost."""
    state = st.session_state
    weight, step = state.get(f"{page.name}_weight", 1.0), state.get(f"{page.name}_step", 1e-3)
    rows = [
        rf"\text{{{form.name}}}:\quad \tfrac12\,\text{{ulp}}({weight:.4g})&={spacing(weight, form) / 2:.3g}"
        rf"&{'>' if spacing(weight, form) / 2 > step else '<'}&\ {step:.3g}"
        for form in (FLOAT32, FLOAT16, BFLOAT16)
    ]
    st.latex(r"\begin{aligned}" + r"\\".join(rows) + r"\end{aligned}")
