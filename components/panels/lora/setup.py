"""What several views of the LoRA page share: names, the task's sliders, settings read from the controls."""

from collections.abc import Sequence

import streamlit as st

from components.controls import choose
from components.live.slider import live_slider, slider_value
from components.page import Page
from components.words import _
from models.lora.adapter import SCALINGS, Scaling
from models.lora.initialisations import INITIALISATIONS, Initialisation
from models.lora.lab import Task

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
WIDTHS = (32, 64, 96)
ALIGNMENT, TARGET, EXPONENT, SIZE = (-1.0, 1.0, 0.0), (1.0, 32.0, 8.0), (0.0, 2.0, 1.0), (0.1, 3.0, 1.0)


def initialisation_label(name: str) -> str:
    return {
        "kaiming": _("A random, B zero"),
        "gaussian": _("A Gaussian, B zero"),
        "zero": _("both zero"),
        "random": _("both random"),
        "b_random": _("A zero, B random"),
        "orthogonal": _("orthogonal"),
        "pissa": "PiSSA",
        "milora": "MiLoRA",
        "olora": "OLoRA",
        "full": _("full fine-tuning"),
    }[name]


def place_of(name: str) -> int:
    """Colour and dash of an initialisation, the same in every view."""
    return INITIALISATIONS.index(name) if name in INITIALISATIONS else len(INITIALISATIONS)


def scaling_label(rule: Scaling) -> str:
    return "α/r" if rule == "alpha/r" else "α/√r (rsLoRA)"


def choose_initialisation(page: Page, key: str, default: Initialisation = "kaiming") -> Initialisation:
    return choose(
        _("Initialisation"),
        INITIALISATIONS,
        f"{page.name}_{key}",
        initialisation_label,
        default=default,
        width=190,
    )


def choose_scaling(page: Page) -> Scaling:
    return choose(
        _("Scale s"), SCALINGS, f"{page.name}_scaling", scaling_label, default="alpha/r", style="segments"
    )


def task_sliders(page: Page, live: Sequence[str], settled: Sequence[str]) -> None:
    """Four dials of the synthetic task: where ΔW* lies, its rank, its spectrum, its size."""
    name = page.name
    with st.container(horizontal=True):
        live_slider(
            _("ΔW* lies in W₀'s … (−1 smallest, 0 any, 1 largest directions)"),
            f"{name}_alignment", *ALIGNMENT, 0.05, live=live, settled=settled,
        )  # fmt: skip
        live_slider(_("Rank of ΔW*"), f"{name}_target", *TARGET, 1.0, live=live, settled=settled)
        live_slider(
            _("Decay p of its singular values 1/iᵖ"),
            f"{name}_exponent", *EXPONENT, 0.05, live=live, settled=settled,
        )  # fmt: skip
        live_slider(_("‖ΔW*‖ as part of ‖W₀‖"), f"{name}_size", *SIZE, log=True, live=live, settled=settled)


def task_now(page: Page, width: int) -> Task:
    """The task that the dials describe."""
    name = page.name
    return Task(
        width,
        min(round(slider_value(f"{name}_target", *TARGET)), width),
        slider_value(f"{name}_exponent", *EXPONENT),
        slider_value(f"{name}_alignment", *ALIGNMENT),
        slider_value(f"{name}_size", *SIZE),
    )


def choose_rate(page: Page, key: str, default: float = 1e-2) -> float:
    """One of the grid's learning rates; the address holds it as it is written here."""
    labels = {f"{rate:g}": rate for rate in RATES}
    chosen = choose(
        _("Learning rate"), list(labels), f"{page.name}_{key}", str, default=f"{default:g}", width=130
    )
    return labels[chosen]
