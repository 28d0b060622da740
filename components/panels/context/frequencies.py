"""What each method does to each frequency: wavelengths, what is kept, and one pair's arithmetic."""

import math
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import whole_number
from components.figures.context import ratios, wavelengths
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.context.paper import paper_and_library
from components.panels.context.settings import (
    METHODS,
    choose_method,
    factor_now,
    factor_slider,
    method_label,
    settings_of,
)
from components.take.context import frequencies as frequencies_script
from components.words import _
from models.rotary.library import library_rope
from models.rotary.scaling import (
    RopeSettings,
    ScaledRope,
    dynamic_factor,
    ntk_base,
    scaled_rope,
    unscaled_frequencies,
    yarn_ramp,
)

LIVE = ("scaled_frequencies",)
SETTLED = (*LIVE, "pair_arithmetic")


@dataclass(frozen=True)
class Present:
    """The settings that the view's controls stand for."""

    method: str
    width: int
    trained: int
    base: float
    factor: float

    @property
    def target(self) -> int:
        return round(self.factor * self.trained)

    def of(self, method: str) -> RopeSettings:
        return settings_of(
            method,
            self.factor,
            width=self.width,
            base=self.base,
            trained=self.trained,
            target=self.target,
        )

    def scaled(self, method: str) -> ScaledRope:
        return scaled_rope(self.of(method), self.target)


def frequencies(page: Page) -> None:
    """Controls, the two live figures, and below them the arithmetic of one pair."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = choose_method(page, METHODS[1:])
        width = whole_number(_("Width of a head d"), 4, 512, f"{page.name}_width", 32, step=2, width=150)
        trained = whole_number(_("Trained length L"), 16, 1_000_000, f"{page.name}_trained", 256, width=170)
    with st.container(horizontal=True):
        factor_slider(page, LIVE, SETTLED)
        live_slider(
            _("Base"), f"{page.name}_base", 100.0, 5e6, page.default("base"), 1.0,
            log=True, live=LIVE, settled=SETTLED,
        )  # fmt: skip
    present(page, method, width, trained).of(method)  # refused here once, not in every panel below
    scaled_frequencies(page, method, width, trained)
    page.note("frequencies")
    pair_arithmetic(page, method, width, trained)


def present(page: Page, method: str, width: int, trained: int) -> Present:
    base = float(st.session_state.get(f"{page.name}_base", page.default("base")))
    return Present(method, width, trained, round(base, 2), factor_now(page))


def chosen_pair(page: Page, pairs: int) -> int:
    """The chosen pair, at first from the address; the middle one while none is chosen."""
    state, key = st.session_state, f"{page.name}_pair"
    if key not in state:
        asked = st.query_params.get(key, "")
        state[key] = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else -1
    if not 0 <= state[key] < pairs:
        state[key] = pairs // 2
    return state[key]


@live_panel
def scaled_frequencies(page: Page, method: str, width: int, trained: int) -> None:
    """Wavelengths of the chosen method, and what every method keeps of each frequency."""
    now = present(page, method, width, trained)
    own = scaled_rope(now.of("default"))
    pair = chosen_pair(page, len(own.inverse_frequencies))
    left, right = st.columns(2, gap="medium")

    def choose_pair(click: dict) -> None:
        st.session_state[f"{page.name}_pair"] = round(float(click["x"]))
        st.rerun(SETTLED)

    with left:
        figure = wavelengths(
            own.wavelengths.numpy(),
            now.scaled(method).wavelengths.numpy(),
            trained,
            now.target,
            method_label(method),
            pair,
        )
        live_figure(figure, f"{page.name}_wavelengths", _("Wavelength of every pair, unscaled and scaled"),
                    choose_pair)  # fmt: skip
    with right:
        curves = {
            method_label(name): (now.scaled(name).inverse_frequencies / own.inverse_frequencies).numpy()
            for name in METHODS
        }
        turned = int((own.turns(trained) >= 1).sum())
        figure = ratios(curves, method_label(method), turned - 0.5)
        live_figure(
            figure, f"{page.name}_ratios", _("What every method keeps of each frequency"), choose_pair
        )


@panel
def pair_arithmetic(page: Page, method: str, width: int, trained: int) -> None:
    """How one pair's scaled frequency comes about; then the comparisons and what to take along."""
    now = present(page, method, width, trained)
    st.markdown("##### " + _("The arithmetic of one pair of dimensions"))
    chosen_pair(page, width // 2)
    pair = whole_number(_("Pair i"), 0, width // 2 - 1, f"{page.name}_pair", width // 2 // 2, width=150)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.latex(r"\begin{aligned}" + r"\\[6pt]".join(steps(now, pair)) + r"\end{aligned}")
    with right:
        own = scaled_rope(now.of("default"))
        turns = own.turns(trained)
        st.metric(
            _("Pairs that turned in training"),
            f"{int((turns >= 1).sum())} / {len(turns)}",
            help=_("At least one whole turn. The others have shown only a part of their circle: beyond "
                   "the trained length they reach angles that the network has never met."),
        )  # fmt: skip
        st.metric(_("Attention factor"), f"{now.scaled(method).attention_factor:.4f}")
    page.note("pair")
    paper_and_library(now.of(method), now.target)
    checked_against(checks(now))
    rows = table(now)
    take_with_you(
        f"{page.name}_frequencies",
        lambda: rows,
        lambda: whole_figure(now, pair),
        lambda: frequencies_script(now.of(now.method), now.target),
    )


def steps(now: Present, pair: int) -> list[str]:
    """The method's formula with the present numbers."""
    d, base, s, trained = now.width, now.base, now.factor, now.trained
    own = float(unscaled_frequencies(d, base)[pair])
    new = float(now.scaled(now.method).inverse_frequencies[pair])
    turns, turned = own * trained / (2 * math.pi), _("turns")
    lines = [
        rf"\theta_{{{pair}}}&=b^{{-2i/d}}={base:.6g}^{{-{2 * pair}/{d}}}={own:.6g}",
        rf"L\,\theta/2\pi&={trained}\times{own:.4g}/2\pi={turns:.4f}\ \text{{{turned}}}",
    ]
    settings = now.of(now.method)
    if now.method == "linear":
        lines.append(rf"\theta'&=\theta/s={own:.6g}/{s:.4g}={new:.6g}")
    elif now.method in ("ntk", "dynamic"):
        stretch = dynamic_factor(s, now.target, trained) if now.method == "dynamic" else s
        if now.method == "dynamic":
            lines.append(
                rf"s_\ell&=s\,\ell/L-(s-1)={s:.4g}\times{now.target}/{trained}-{s - 1:.4g}={stretch:.4g}"
            )
        lines.append(
            rf"b'&=b\,s^{{d/(d-2)}}={base:.6g}\times{stretch:.4g}^{{{d}/{d - 2}}}"
            rf"={ntk_base(base, stretch, d):.6g}"
        )
        lines.append(rf"\theta'&=b'^{{-2i/d}}={new:.6g}")
    elif now.method == "yarn":
        ramp = float(yarn_ramp(settings)[pair])
        lines.append(
            rf"\theta'&=\gamma\,\theta/s+(1-\gamma)\,\theta={ramp:.4f}\times{own / s:.4g}"
            rf"+{1 - ramp:.4f}\times{own:.4g}={new:.6g}"
        )
        lines.append(rf"\sqrt{{1/t}}&=0.1\ln s+1={now.scaled('yarn').attention_factor:.4f}")
    elif now.method == "llama3":
        smooth = min(1.0, max(0.0, (turns - 1) / 3))
        lines.append(
            rf"\sigma&=\mathrm{{clip}}\!\left(\frac{{L\theta/2\pi-1}}{{4-1}},0,1\right)={smooth:.4f}"
        )
        lines.append(rf"\theta'&=(1-\sigma)\,\theta/s+\sigma\,\theta={new:.6g}")
    elif now.method == "longrope":
        divisor = settings.long_factor[pair]
        lines.append(rf"\theta'&=\theta/\lambda_i={own:.6g}/{divisor:.4f}={new:.6g}")
        lines.append(rf"\sqrt{{1+\ln s/\ln L}}&={now.scaled('longrope').attention_factor:.4f}")
    else:
        lines.append(
            rf"a&={settings.cut_below:.4g},\quad b={settings.keep_above:.4g},"
            rf"\quad\rho={settings.constant:.4g}"
        )
        lines.append(rf"\theta'&={new:.6g}")
    wave = "∞" if new == 0 else f"{2 * math.pi / new:,.1f}"
    return [*lines, rf"2\pi/\theta'&=\text{{{wave}}}\ \text{{token}}"]


def checks(now: Present) -> list[Check]:
    """Every method against transformers' own function, at the target length, just now."""
    found = []
    for method in METHODS:
        settings = now.of(method)
        ours, theirs = scaled_rope(settings, now.target), library_rope(settings, now.target)
        compared = theirs.inverse_frequencies
        own = ours.inverse_frequencies[: len(compared)]
        relative = ((own - compared).abs() / compared.clamp(min=1e-30)).max() if len(own) else 0.0
        found.append(max(float(relative), abs(ours.attention_factor - theirs.attention_factor)))
    name = _("transformers' functions, all methods, relative; of the truncated basis the kept pairs")
    return [Check(name, max(found), 1e-6)]


def table(now: Present) -> pd.DataFrame:
    """Frequencies of every method, a row a pair."""
    columns = {name: now.scaled(name).inverse_frequencies.numpy() for name in METHODS}
    return pd.DataFrame(columns).rename_axis("pair").reset_index()


def whole_figure(now: Present, pair: int) -> go.Figure:
    own = scaled_rope(now.of("default")).wavelengths.numpy()
    scaled = now.scaled(now.method).wavelengths.numpy()
    return wavelengths(own, scaled, now.trained, now.target, method_label(now.method), pair)
