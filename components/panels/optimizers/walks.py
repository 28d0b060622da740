"""The paths that are on screen: every chosen optimizer as its sliders stand."""

from dataclasses import dataclass

import streamlit as st

from components.page import Page
from components.panels.optimizers.basin import tuned_rate
from components.panels.optimizers.setup import Setup, choice_now, path_of, with_rate
from models.optimizers.surfaces import SurfaceChoice
from models.optimizers.trajectories import Choice, Trajectory, default


@dataclass(frozen=True, eq=False)
class Walk:
    """One optimizer of the figure: as it was set, and what it did."""

    choice: Choice
    path: Trajectory


def walks(page: Page, setup: Setup) -> list[Walk]:
    """All chosen optimizers, each with the learning rate that the page is set to."""
    found = []
    for kind in setup.kinds:
        choice = choice_now(page, kind)
        if setup.rates == "torch":
            choice = default(kind)
        elif setup.rates == "tuned":
            choice = with_rate(choice, tuned_rate(setup.surface, setup.start, choice, setup.run))
        found.append(Walk(choice, path_of(setup.surface, setup.start, choice, setup.run)))
    return found


def with_sliders(page: Page, setup: Setup) -> Setup:
    """The ravine follows its sliders while they are dragged."""
    if setup.surface.name != "ravine":
        return setup
    condition, degrees = (st.session_state[f"{page.name}_{name}"] for name in ("condition", "degrees"))
    choice = SurfaceChoice("ravine", condition, degrees)
    return Setup(choice, setup.start, setup.kinds, setup.run, setup.rates)


def step_now(page: Page, setup: Setup) -> int:
    """The step that was scrubbed to last."""
    return min(max(1, st.session_state.get(f"{page.name}_step", 20)), setup.run.steps)
