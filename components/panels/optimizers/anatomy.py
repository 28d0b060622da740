"""One step taken apart: gradient, state, direction, preconditioner, decay and the resulting Δ."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from components import controls
from components.figures.optimizers import parts_of_step
from components.formulas import show_formula
from components.lesson_parts import note
from components.live.figure import live_figure
from components.panels.optimizers.walks import Walk
from components.takeaway import Check, checked_against
from components.words import _
from models.optimizers.steps import Step, difference_from_library, explain_step
from models.optimizers.trajectories import KINDS, Choice

if TYPE_CHECKING:
    from components.panels.optimizers.paths import Paths

TOLERANCE = 1e-6
FORMULAS = {
    "sgd": r"\Delta\theta=-\eta\,(g+\lambda\theta)",
    "momentum": r"b\leftarrow\beta b+(1-\text{dampening})\,g,\qquad\Delta\theta=-\eta\,b",
    "nesterov": r"b\leftarrow\beta b+g,\qquad\Delta\theta=-\eta\,(g+\beta b)",
    "adagrad": r"G\leftarrow G+g^2,\qquad\Delta\theta=-\eta\,\frac{g}{\sqrt G+\varepsilon}",
    "adadelta": r"v\leftarrow\rho v+(1-\rho)g^2,\quad\Delta\theta=-\eta\,\frac{\sqrt{u+\varepsilon}}"
    r"{\sqrt{v+\varepsilon}}\,g,\quad u\leftarrow\rho u+(1-\rho)(\Delta\theta/\eta)^2",
    "rmsprop": r"v\leftarrow\alpha v+(1-\alpha)g^2,\qquad\Delta\theta=-\eta\,\frac{g}{\sqrt v+\varepsilon}",
    "adam": r"\hat m=\frac{m}{1-\beta_1^t},\quad\hat v=\frac{v}{1-\beta_2^t},\qquad"
    r"\Delta\theta=-\eta\,\frac{\hat m}{\sqrt{\hat v}+\varepsilon}",
    "adamw": r"\Delta\theta=-\eta\,\frac{\hat m}{\sqrt{\hat v}+\varepsilon}-\eta\lambda\theta",
    "nadam": r"\Delta\theta=-\frac{\eta}{\sqrt{\hat v}+\varepsilon}\Bigl(\tfrac{1-\mu_t}{1-\prod\mu}\,g+"
    r"\tfrac{\mu_{t+1}}{1-\mu_{t+1}\prod\mu}\,m\Bigr)",
    "radam": r"\Delta\theta=-\eta\,r_t\,\frac{\hat m}{\sqrt{\hat v}+\varepsilon}\ \text{if}\ \rho_t>5,"
    r"\quad\text{else}\ -\eta\,\hat m",
    "adamax": r"u\leftarrow\max(\beta_2u,|g|+\varepsilon),\qquad\Delta\theta=-\eta\,\frac{\hat m}{u}",
    "adafactor": r"v\leftarrow v+t^{-0.8}(g^2-v),\quad\Delta\theta=-\frac{\min(\eta,t^{-1/2})\max"
    r"(\varepsilon_2,\mathrm{rms}\,\theta)}{\max(1,\mathrm{rms}(g/\sqrt v)/d)}\,\frac{g}{\sqrt v}",
    "rprop": r"s\leftarrow s\cdot(\eta^+\ \text{or}\ \eta^-),\qquad\Delta\theta=-s\,\mathrm{sign}(g)",
    "lbfgs": r"\Delta\theta=-\eta\,H g,\qquad H\ \text{from the last}\ (\Delta\theta,\Delta g)",
    "lion": r"\Delta\theta=-\eta\,\bigl(\mathrm{sign}(\beta_1m+(1-\beta_1)g)+\lambda\theta\bigr),\qquad"
    r"m\leftarrow\beta_2m+(1-\beta_2)g",
    "free_sgd": r"y=(1-\beta)z+\beta x,\quad z\leftarrow z-\eta g(y),\quad x\leftarrow(1-c)x+cz",
    "free_adamw": r"y=(1-\beta_1)z+\beta_1x,\quad z\leftarrow z-\eta\tfrac{g(y)}{\sqrt{\hat v}+"
    r"\varepsilon},\quad x\leftarrow(1-c)x+cz",
}


def step_anatomy(view: "Paths", walk: Walk) -> None:
    """The scrubbed step of the optimizer whose settings are open, checked against the library's."""
    kind = walk.choice.kind
    st.markdown("##### " + _("One step of {name}, taken apart").format(name=KINDS[kind].label))
    controls.draw(view, "step", width=140)
    step = min(view.step, max(1, walk.path.last))
    explained = explain_step(walk.path, walk.choice, step)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        show_formula(FORMULAS[kind])
        show_formula(arithmetic(explained))
    with right:
        figure = parts_of_step({"g": explained.gradient.numpy(), **direction_and_delta(explained)})
        live_figure(figure, f"{view.page}_parts", _("Gradient, direction and step, by coordinate"))
    st.dataframe(parts_table(explained), hide_index=True)
    note(view, "anatomy")
    checked_against([step_check(walk, step)])


def direction_and_delta(step: Step) -> dict[str, np.ndarray]:
    scaled = step.preconditioner * step.direction
    return {
        _("direction"): step.direction.numpy(),
        _("scaled direction"): scaled.numpy(),
        "Δθ/η": (step.delta / step.rate).numpy(),
    }


def arithmetic(step: Step) -> str:
    """Δ of the first coordinate, with the numbers put in."""
    values = [float(part[0]) for part in (step.preconditioner, step.direction, step.decay, step.pull)]
    preconditioner, direction, decay, pull = (tex(value) for value in values)
    terms = rf"-{tex(step.rate)}\times {preconditioner}\times({direction})"
    if values[2]:
        terms += rf"+({decay})"
    if values[3]:
        terms += rf"+({pull})"
    return (
        r"\begin{aligned}\Delta_x&=-\eta\cdot\text{preconditioner}\cdot\text{direction}"
        + (r"+\text{decay}" if values[2] else "")
        + (r"+\text{pull}" if values[3] else "")
        + rf"\\&={terms}\\&={tex(float(step.delta[0]))}\end{{aligned}}"
    )


def tex(value: float) -> str:
    """A number as TeX writes it: 1.2e-05 becomes 1.2·10⁻⁵."""
    mantissa, _e, exponent = f"{value:.4g}".partition("e")
    return mantissa if not exponent else rf"{mantissa}\cdot10^{{{int(exponent)}}}"


def parts_table(step: Step) -> pd.DataFrame:
    """Every part in the order in which it is computed."""
    rows = {_("gradient g"): step.gradient, **step.state}
    rows |= {
        _("direction"): step.direction,
        _("preconditioner"): step.preconditioner,
        _("learning rate η"): step.rate * (step.gradient * 0 + 1),
        _("decay"): step.decay,
        _("pull towards z"): step.pull,
        "Δθ": step.delta,
    }
    if not step.pull.any():
        del rows[_("pull towards z")]
    return pd.DataFrame(
        {
            _("Part"): list(rows),
            "x": [f"{float(row[0]):.6g}" for row in rows.values()],
            "y": [f"{float(row[1]):.6g}" for row in rows.values()],
        }
    )


def step_check(walk: Walk, step: int) -> Check:
    return Check(library_of(walk.choice), difference_from_library(walk.path, walk.choice, step), TOLERANCE)


def library_of(choice: Choice) -> str:
    """The class whose step was taken just now."""
    return {
        "lion": "lion_pytorch.Lion",
        "free_sgd": "schedulefree.SGDScheduleFree",
        "free_adamw": "schedulefree.AdamWScheduleFree",
        "lbfgs": "torch.optim.LBFGS (max_iter=1)",
        "sgd": "torch.optim.SGD",
        "momentum": "torch.optim.SGD",
        "nesterov": "torch.optim.SGD (nesterov)",
    }.get(choice.kind, f"torch.optim.{KINDS[choice.kind].label}")
