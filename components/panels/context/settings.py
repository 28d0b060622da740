"""The methods of the context page: their names, and their settings from the page's controls."""

import math
from typing import Any

import streamlit as st

from components.controls import choose
from components.live.slider import live_slider
from components.page import Page
from components.words import _
from models.context.long_attention import EVERYTHING, Reach
from models.context.long_context import LONGEST_TEXT, Way
from models.context.long_factors import long_factors
from models.networks.catalogue import DEFAULT
from models.networks.loading import load
from models.rotary.scaling import RopeSettings

NETWORK = DEFAULT
SINKS = 4
METHODS = ("default", "linear", "ntk", "dynamic", "yarn", "llama3", "longrope", "truncated")
REACHES = ("window", "lambda", "lambda_text")
LENGTHS = (512, 1_024, 2_048)


def method_label(method: str) -> str:
    return {
        "default": _("unscaled"),
        "linear": _("PI (linear)"),
        "ntk": "NTK-aware",
        "dynamic": _("dynamic NTK"),
        "yarn": "YaRN",
        "llama3": "Llama 3",
        "longrope": "LongRoPE",
        "truncated": _("truncated basis"),
        "window": _("sliding window"),
        "lambda": _("Λ: sinks and window"),
        "lambda_text": _("Λ, sinks at true distance"),
    }[method]


def settings_of(
    method: str, factor: float, *, width: int, base: float, trained: int, target: int
) -> RopeSettings:
    """A method's settings as a config would have them.

    dynamic stretches from max_position_embeddings, so that this is the trained length there. The
    truncated basis keeps what turns within the trained length, drops what does not turn within the
    target, and levels what lies between; its paper leaves the bounds open.
    """
    common: dict[str, Any] = {"head_dim": width, "rope_theta": base, "trained": trained, "factor": factor}
    longest = trained if method == "dynamic" else target
    if method == "llama3":
        return RopeSettings(method, **common, longest=longest, low_freq_factor=1.0, high_freq_factor=4.0)
    if method == "longrope":
        divisors = divisors_for(width // 2)
        short = (1.0,) * len(divisors)
        return RopeSettings(method, **common, longest=longest, short_factor=short, long_factor=divisors)
    if method == "truncated":
        return RopeSettings(
            method,
            **common,
            longest=longest,
            keep_above=2 * math.pi / trained,
            cut_below=min(2 * math.pi / target, 2 * math.pi / trained),
            constant=2 * math.pi / target,
        )
    return RopeSettings(method, **common, longest=longest)


def divisors_for(pairs: int) -> tuple[float, ...]:
    """The divisors that were searched for the embedded network, stretched over another width."""
    searched = long_factors()
    if pairs == len(searched):
        return searched
    places = [i * (len(searched) - 1) / max(pairs - 1, 1) for i in range(pairs)]
    lower = [min(int(place), len(searched) - 2) for place in places]
    return tuple(
        searched[i] + (place - i) * (searched[i + 1] - searched[i])
        for i, place in zip(lower, places, strict=True)
    )


def way_of(method: str, factor: float, window: int) -> Way:
    """A method on the embedded network, at the length that is measured up to."""
    network = load(NETWORK)
    rope = method if method in METHODS else "default"
    settings = settings_of(
        rope,
        factor,
        width=network.head_width,
        base=network.model.config.rope_parameters["rope_theta"],
        trained=network.context,
        target=LONGEST_TEXT,
    )
    return Way(settings, reach_of(method, window))


def reach_of(method: str, window: int) -> Reach:
    """Windows hold as many tokens in all, sinks included, so that they can be compared."""
    if method == "window":
        return Reach(window)
    if method in ("lambda", "lambda_text"):
        return Reach(max(1, window - SINKS), SINKS, cache_positions=method == "lambda")
    return EVERYTHING


def choose_method(page: Page, methods: tuple[str, ...], default: str = "yarn") -> str:
    return choose(_("Method"), methods, f"{page.name}_method", method_label, default=default, width=240)


def factor_slider(page: Page, live: tuple[str, ...] = (), settled: tuple[str, ...] = ()) -> float:
    return live_slider(
        _("Factor s"),
        f"{page.name}_factor",
        1.0,
        64.0,
        page.default("factor"),
        log=True,
        help=_("How many times the trained length is asked for."),
        live=live,
        settled=settled,
    )


def factor_now(page: Page) -> float:
    return round(float(st.session_state.get(f"{page.name}_factor", page.default("factor"))), 3)
