"""The masks page for its tests: opened by address, and what its figures hold."""

import re

import numpy as np
from streamlit.testing.v1 import AppTest

from tests.pages.masks_batch_screen import VIEWS as BATCH_VIEWS
from tests.pages.screen import controls, figures, live, open_page

TEXT = "The keeper lit the lamp, and the keeper slept."
VIEWS = {
    "lab": {"masks_matrix", "masks_maps", "masks_next", "masks_effect"},
    "hiding": {"masks_ways"},
    "order": {"masks_order"},
    "cost": {"masks_kept", "masks_blocks"},
    "code": {"masks_matrix"},
}
ALL_VIEWS = VIEWS | BATCH_VIEWS


CONTROLS = controls("masks")


def masks(**query: str) -> AppTest:
    """The page with the short text, opened by address; names without their prefix."""
    return open_page("masks", **{f"masks_{key}": value for key, value in {"text": TEXT, **query}.items()})


def matrix(screen: AppTest) -> np.ndarray:
    return figures(screen)["masks_matrix"]["data"][0]["z"].astype(bool)


def maps(screen: AppTest) -> tuple[np.ndarray, np.ndarray]:
    """The open head, before and after."""
    first, second = figures(screen)["masks_maps"]["data"]
    return first["z"], second["z"]


def address(screen: AppTest) -> dict[str, str | None]:
    """What the page writes into the address."""
    return live(screen)["masks_history"]["parameters"]


def divergence(screen: AppTest) -> float:
    """KL of the next token, as it is written below its bars."""
    title = figures(screen)["masks_next"]["layout"]["xaxis"]["title"]["text"]
    return float(re.search(r"KL ([\d.]+) nats", title).group(1))
