"""The masks page for its tests: opened by address, and what its figures hold."""

import ast
import re

import numpy as np
from streamlit.testing.v1 import AppTest

from tests.pages.screen import ROOT, figures, open_page

TEXT = "The keeper lit the lamp, and the keeper slept."
VIEWS = {
    "lab": {"masks_matrix", "masks_maps", "masks_next", "masks_effect"},
    "hiding": {"masks_ways"},
    "order": {"masks_order"},
    "cost": {"masks_kept", "masks_blocks"},
    "code": set(),
}


def constant(name: str) -> object:
    """A constant of the page, read without running it."""
    tree = ast.parse((ROOT / "pages" / "masks.py").read_text(encoding="utf-8"))
    values = {ast.unparse(s.targets[0]): s.value for s in tree.body if isinstance(s, ast.Assign)}
    value = values[name]
    return ast.literal_eval(value.args[0] if isinstance(value, ast.Call) else value)


DEFAULTS, KEPT = constant("DEFAULTS"), constant("KEPT")


def masks(**query: str) -> AppTest:
    """The page with the short text, opened by address; names without their prefix."""
    return open_page("masks", **{f"masks_{key}": value for key, value in {"text": TEXT, **query}.items()})


def matrix(screen: AppTest) -> np.ndarray:
    return figures(screen)["masks_matrix"]["data"][0]["z"].astype(bool)


def maps(screen: AppTest) -> tuple[np.ndarray, np.ndarray]:
    """The open head, before and after."""
    first, second = figures(screen)["masks_maps"]["data"]
    return first["z"], second["z"]


def divergence(screen: AppTest) -> float:
    """KL of the next token, as it is written below its bars."""
    title = figures(screen)["masks_next"]["layout"]["xaxis"]["title"]["text"]
    return float(re.search(r"KL ([\d.]+) nats", title).group(1))


def captions(screen: AppTest) -> list[str]:
    return [caption.value for caption in screen.caption]
