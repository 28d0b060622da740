"""Which loss, with which conventions: the controls that several views of the page share."""

from collections.abc import Sequence

import streamlit as st

from components.controls import choose
from components.live.slider import live_slider, slider_value
from components.page import Page
from components.words import _
from models.preference.losses import DIVERGENCES, LossSettings
from models.preference.relatives import LOSSES, WITH_DIVERGENCE, WITH_SMOOTHING

BETA, SMOOTHING, ALPHA, TAU = (0.005, 5.0, 0.1), (0.0, 0.49, 0.1), (-1.0, 2.0, 0.5), (0.01, 1.0, 0.05)
GAMMA, ODDS, KL, WEIGHT = (0.0, 3.0, 1.0), (0.0, 2.0, 0.1), (0.0, 10.0, 0.0), (0.1, 3.0, 1.0)
FIRST = 1e-3  # ε of exo_pair at ε = 0, where it is infinite
NAMES = {
    "sigmoid": "DPO · sigmoid",
    "hinge": "SLiC · hinge",
    "ipo": "IPO · ipo",
    "exo_pair": "EXO · exo_pair",
    "nca_pair": "NCA · nca_pair",
    "robust": "rDPO · robust",
    "bco_pair": "BCO · bco_pair",
    "sppo_hard": "SPPO · sppo_hard",
    "aot": "AOT · aot",
    "aot_unpaired": "AOT · aot_unpaired",
    "apo_zero": "APO · apo_zero",
    "apo_down": "APO · apo_down",
    "discopop": "DiscoPOP · discopop",
    "sft": "SFT · sft",
    "sigmoid_norm": "DPO · sigmoid_norm",
    "cdpo": "cDPO",
    "simpo": "SimPO",
    "orpo": "ORPO",
    "kto": "KTO",
}
DIVERGENCE_NAMES = {
    "reverse_kl": "reverse KL",
    "forward_kl": "forward KL",
    "js_divergence": "Jensen–Shannon",
    "alpha_divergence": "α",
}


def loss_label(name: str) -> str:
    return NAMES[name]


def chosen_loss(page: Page) -> str:
    name: str = st.session_state.get(f"{page.name}_loss", page.default("loss"))
    return name


def choose_loss(page: Page, options: Sequence[str] = tuple(LOSSES)) -> str:
    return choose(_("Loss"), options, f"{page.name}_loss", loss_label, default="sigmoid", width=230)


def loss_controls(
    page: Page, live: Sequence[str], settled: Sequence[str], options: Sequence[str] = tuple(LOSSES)
) -> str:
    """The loss, β, and the conventions that this loss reads; returns the loss."""
    page_name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = choose_loss(page, options)
        if name in WITH_DIVERGENCE:
            choose(
                _("f-divergence"), DIVERGENCES, f"{page_name}_divergence", DIVERGENCE_NAMES.__getitem__,
                default="reverse_kl", width=170,
            )  # fmt: skip
        if name == "ipo":
            choose(
                _("Δ of an answer"), ("token", "sum"), f"{page_name}_ipo",
                lambda way: _("mean by token (TRL)") if way == "token" else _("sum (paper)"),
                default="token", width=210,
            )  # fmt: skip
        _slider(page, "β", "beta", BETA, live, settled, log=True)
        if name in WITH_SMOOTHING:
            _slider(page, _("ε: share of wrong labels"), "smoothing", SMOOTHING, live, settled, 0.001)
        if name in WITH_DIVERGENCE and _chosen(page, "divergence") == "alpha_divergence":
            _slider(page, _("α of the divergence"), "alpha", ALPHA, live, settled)
        if name == "discopop":
            _slider(page, "τ", "tau", TAU, live, settled, log=True)
        if name == "simpo":
            _slider(page, _("γ: target margin"), "gamma", GAMMA, live, settled)
        if name == "orpo":
            _slider(page, _("λ: weight of the odds ratio"), "odds", ODDS, live, settled)
        if name == "kto":
            _slider(page, _("z₀: KL to the reference"), "kl", KL, live, settled)
            _slider(page, _("λ_D: weight of chosen"), "desirable", WEIGHT, live, settled)
            _slider(page, _("λ_U: weight of rejected"), "undesirable", WEIGHT, live, settled)
    return name


def _slider(
    page: Page,
    label: str,
    name: str,
    span: tuple[float, float, float],
    live: Sequence[str],
    settled: Sequence[str],
    step: float = 0.01,
    log: bool = False,
) -> None:
    with st.container(width=210):
        live_slider(label, f"{page.name}_{name}", *span, step, log=log, live=live, settled=settled)


def _chosen(page: Page, name: str) -> str:
    value: str = st.session_state.get(f"{page.name}_{name}", page.default(name))
    return value


def settings_now(page: Page) -> LossSettings:
    """What the controls say; each is kept while the loss that reads it is not on screen."""

    def now(name: str, span: tuple[float, float, float]) -> float:
        return slider_value(f"{page.name}_{name}", *span)

    smoothing = now("smoothing", SMOOTHING)
    return LossSettings(
        beta=now("beta", BETA),
        smoothing=max(FIRST, smoothing) if chosen_loss(page) == "exo_pair" else smoothing,
        divergence=_chosen(page, "divergence"),  # type: ignore[arg-type]  # choose() lets nothing else in
        alpha=now("alpha", ALPHA),
        ipo_by_token=_chosen(page, "ipo") == "token",
        tau=now("tau", TAU),
        gamma=now("gamma", GAMMA),
        odds_weight=now("odds", ODDS),
        kl=now("kl", KL),
        desirable=now("desirable", WEIGHT),
        undesirable=now("undesirable", WEIGHT),
    )
