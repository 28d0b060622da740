"""The positions page for its tests: opened by address, and the figures of its views."""

import numpy as np
from streamlit.testing.v1 import AppTest

from tests.pages.screen import controls, figures, open_page, views

TEXT = "The keeper lit the lamp, and the keeper slept."
CLASSES, CONTROLS = views("positions"), controls("positions")
VIEWS = {
    "shuffle": {"positions_change", "positions_shuffled"},
    "encode": {"positions_matrix", "positions_wavelengths", "positions_cosines"},
    "rotate": {"positions_circles", "positions_pairs", "positions_curve"},
    "decay": {"positions_decay", "positions_phases"},
    "layout": {"positions_trained", "positions_swapped", "positions_next"},
    "compare": {"positions_tiles", "positions_profiles"},
}
CHECKS = {"shuffle": 1, "encode": 1, "rotate": 3, "decay": 1, "layout": 2, "compare": 4}


def positions(**query: str | list[str]) -> AppTest:
    """The page with the short text, opened by address; names without their prefix."""
    return open_page(
        "positions", **{f"positions_{key}": value for key, value in {"text": TEXT, **query}.items()}
    )


def figures_of(query: dict) -> set[str]:
    """The figures that controls, named as in the address, should show."""
    view = query.get("positions_view", "rotate")
    if view == "encode" and query.get("positions_source") == "learned":
        return VIEWS["encode"] - {"positions_wavelengths"}
    return VIEWS[view]


def pair_values(screen: AppTest) -> np.ndarray:
    """What each pair adds to the score, as the microscope's bars show it: a trace for each sign."""
    above, below = figures(screen)["positions_pairs"]["data"][:2]
    return above["y"] + below["y"]


def losses(screen: AppTest) -> tuple[float, float]:
    """The losses in the headings of the two maps: as trained, and in the other layout."""
    drawn = figures(screen)
    own, other = (
        drawn[f"positions_{name}"]["layout"]["annotations"][0]["text"].split("loss ")[1].split(" ")[0]
        for name in ("trained", "swapped")
    )
    return float(own), float(other)
