"""What each method does to each frequency: wavelengths, what is kept, and one pair's arithmetic."""

import math
from dataclasses import dataclass, replace

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components import controls
from components.figures.context import ratios, wavelengths
from components.figures.methods import method_label
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.context.paper import paper_and_library
from components.panels.context.settings import METHODS, ChoosesMethod, settings_of
from components.settings import number, slider
from components.stage import Click, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.rotary.library import library_rope
from models.rotary.rope import frequencies
from models.rotary.scaling import RopeSettings, ScaledRope, dynamic_factor, ntk_base, scaled_rope, yarn_ramp


@dataclass(frozen=True)
class Frequencies(ChoosesMethod):
    """Wavelengths of the chosen method, and what every method keeps of each frequency."""

    page, name = "context", "frequencies"
    base: float = slider(100.0, 5e6, 10_000.0, 1.0, log=True, whole=False, label=mark("Base"))
    width: int = number(4, 512, 32, step=2, label=mark("Width of a head d"))  # loupe-llama's
    trained: int = number(16, 1_000_000, 256, label=mark("Trained length L"))
    pair: int = number(
        0,
        lambda view: view.width // 2 - 1,
        lambda view: view.width // 4,
        label=mark("Pair i"),
        place="none",
    )

    @property
    def methods(self) -> tuple[str, ...]:
        return METHODS[1:]

    @property
    def stretch(self) -> float:
        return round(self.factor, 3)

    @property
    def target(self) -> int:
        return round(self.stretch * self.trained)

    def of(self, method: str) -> RopeSettings:
        return settings_of(
            method,
            self.stretch,
            width=self.width,
            base=round(self.base, 2),
            trained=self.trained,
            target=self.target,
        )

    def scaled(self, method: str) -> ScaledRope:
        return scaled_rope(self.of(method), self.target)

    def stage(self) -> Stage:
        def choose_pair(click: Click) -> Frequencies:
            return replace(self, pair=min(self.width // 2 - 1, max(0, round(float(click["x"])))))

        waves = _("Wavelength of every pair, unscaled and scaled")
        kept = _("What every method keeps of each frequency")
        return Stage(
            [
                Plot("wavelengths", wavelength_figure(self), waves, choose_pair),
                Plot("ratios", ratio_figure(self), kept, choose_pair),
            ]
        )

    def below(self) -> None:
        note(self, "frequencies")
        pair_arithmetic(self)
        note(self, "pair")
        paper_and_library(self.of(self.method), self.target)
        checked_against(checks(self))
        take_with_you(self, lambda: table(self), lambda: wavelength_figure(self), snippet(self))


def wavelength_figure(view: Frequencies) -> go.Figure:
    own = scaled_rope(view.of("default")).wavelengths.numpy()
    scaled = view.scaled(view.method).wavelengths.numpy()
    name = method_label(view.method)
    return wavelengths(own, scaled, view.trained, view.target, view.method, name, view.pair)


def ratio_figure(view: Frequencies) -> go.Figure:
    own = scaled_rope(view.of("default"))
    curves = {
        method: (view.scaled(method).inverse_frequencies / own.inverse_frequencies).numpy()
        for method in METHODS
    }
    turned = int((own.turns(view.trained) >= 1).sum())
    return ratios(curves, view.method, turned - 0.5)


def pair_arithmetic(view: Frequencies) -> None:
    """How the chosen pair's scaled frequency comes about."""
    st.markdown("##### " + _("The arithmetic of one pair of dimensions"))
    left, middle, right = st.columns([1, 3, 1], gap="medium")
    with left:
        controls.draw(view, "pair")
    with middle:
        show_formula(r"\begin{aligned}" + r"\\[6pt]".join(steps(view, view.pair)) + r"\end{aligned}")
    with right:
        turns = scaled_rope(view.of("default")).turns(view.trained)
        st.metric(
            _("Pairs that turned in training"),
            f"{int((turns >= 1).sum())} / {len(turns)}",
            help=_(
                "At least one whole turn. The others have shown only a part of their circle: beyond "
                "the trained length they reach angles that the network has never met."
            ),
        )
        st.metric(_("Attention factor"), f"{view.scaled(view.method).attention_factor:.4f}")


def steps(view: Frequencies, pair: int) -> list[str]:
    """The method's formula with the present numbers."""
    d, base, trained = view.width, round(view.base, 2), view.trained
    own = float(frequencies(d, base)[pair])
    new = float(view.scaled(view.method).inverse_frequencies[pair])
    turns, turned = own * trained / (2 * math.pi), _("turns")
    wave = "∞" if new == 0 else f"{2 * math.pi / new:,.1f}"
    return [
        rf"\theta_{{{pair}}}&=b^{{-2i/d}}={base:.10g}^{{-{2 * pair}/{d}}}={own:.6g}",
        rf"L\,\theta/(2\pi)&={trained}\times{own:.4g}/(2\pi)={turns:.4f}\ \text{{{turned}}}",
        *_of_method(view, pair, own, new),
        rf"2\pi/\theta'&=\text{{{wave}}}\ \text{{token}}",
    ]


def _of_method(view: Frequencies, pair: int, own: float, new: float) -> list[str]:
    """From the pair's own frequency to its new one, as the method has it."""
    s, method, settings = view.stretch, view.method, view.of(view.method)
    turns, factor = own * view.trained / (2 * math.pi), view.scaled(method).attention_factor
    if method == "linear":
        return [rf"\theta'&=\theta/s={own:.6g}/{s:.4g}={new:.6g}"]
    if method in ("ntk", "dynamic"):
        return _of_base(view, new)
    if method == "yarn":
        ramp = float(yarn_ramp(settings)[pair])
        return [
            rf"\theta'&=\gamma\,\theta/s+(1-\gamma)\,\theta={ramp:.4f}\times{own / s:.4g}"
            rf"+{1 - ramp:.4f}\times{own:.4g}={new:.6g}",
            rf"\sqrt{{1/t}}&=0.1\ln s+1={factor:.4f}",
        ]
    if method == "llama3":
        smooth = min(1.0, max(0.0, (turns - 1) / 3))
        return [
            rf"\sigma&=\mathrm{{clip}}\!\left(\frac{{L\,\theta/(2\pi)-1}}{{4-1}},0,1\right)={smooth:.4f}",
            rf"\theta'&=(1-\sigma)\,\theta/s+\sigma\,\theta={new:.6g}",
        ]
    if method == "longrope":
        return [
            rf"\theta'&=\theta/\lambda_i={own:.6g}/{settings.long_factor[pair]:.4f}={new:.6g}",
            rf"\sqrt{{1+\ln s/\ln L}}&={factor:.4f}",
        ]
    return [
        rf"a&={settings.cut_below:.4g},\quad b={settings.keep_above:.4g},\quad\rho={settings.constant:.4g}",
        rf"\theta'&={new:.6g}",
    ]


def _of_base(view: Frequencies, new: float) -> list[str]:
    """NTK-aware scaling changes the base; dynamic NTK by a factor that follows the length."""
    d, base, s, trained = view.width, round(view.base, 2), view.stretch, view.trained
    lines, name = [], "s"
    if view.method == "dynamic":
        stretch = dynamic_factor(s, view.target, trained)
        lines.append(
            rf"s_\ell&=s\,\ell/L-(s-1)={s:.4g}\times{view.target}/{trained}-{s - 1:.4g}={stretch:.4g}"
        )
        s, name = stretch, r"s_\ell"
    return [
        *lines,
        rf"b'&=b\,{name}^{{d/(d-2)}}={base:.10g}\times{s:.4g}^{{{d}/{d - 2}}}={ntk_base(base, s, d):.6g}",
        rf"\theta'&=b'^{{-2i/d}}={new:.6g}",
    ]


def checks(view: Frequencies) -> list[Check]:
    """Every method against transformers' own function, at the target length, just view."""
    gaps = []
    for method in METHODS:
        settings = view.of(method)
        ours, theirs = scaled_rope(settings, view.target), library_rope(settings, view.target)
        compared = theirs.inverse_frequencies
        own = ours.inverse_frequencies[: len(compared)]
        relative = ((own - compared).abs() / compared.clamp(min=1e-30)).max() if len(own) else 0.0
        gaps.append(max(float(relative), abs(ours.attention_factor - theirs.attention_factor)))
    name = _("transformers' functions, all methods, relative; of the truncated basis the kept pairs")
    return [Check(name, max(gaps), 1e-6)]


def table(view: Frequencies) -> pd.DataFrame:
    """Frequencies of every method, a row a pair."""
    columns = {name: view.scaled(name).inverse_frequencies.numpy() for name in METHODS}
    return pd.DataFrame(columns).rename_axis("pair")


def snippet(view: Frequencies) -> str:
    """Python that repeats the scaled frequencies."""
    return f"""from models.rotary.scaling import RopeSettings, scaled_rope

settings = {view.of(view.method)!r}
scaled = scaled_rope(settings, {view.target})
print(scaled.inverse_frequencies)
print(scaled.attention_factor)
"""
