"""The ways to read a text that is longer than any in training: their names, and one look for each of them.

A method has the same colour, dash and marker in every figure of the page.
"""

from typing import Any

from components.figures.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SKY
from components.words import _

Look = tuple[str, str, str]  # colour, dash, marker
LOOKS: dict[str, Look] = {
    "default": (GREY, "solid", "circle"),
    "linear": (SKY, "dash", "square"),
    "ntk": (GREEN, "dot", "diamond"),
    "dynamic": (PURPLE, "dashdot", "triangle-up"),
    "yarn": (ORANGE, "longdash", "cross"),
    "llama3": (RED, "longdashdot", "x"),
    "longrope": (BLUE, "dash", "circle"),
    "truncated": (INK, "dot", "square"),
    "window": (GREEN, "dash", "x"),
    "lambda": (PURPLE, "solid", "diamond"),
    "lambda_text": (BLUE, "longdashdot", "square"),
}
OTHER: Look = (RED, "solid", "square")  # what a config may name besides


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
    }.get(method, method)


def look(method: str, is_chosen: bool = False) -> dict[str, Any]:
    """Line and marker of a method; the chosen one is wider, nothing else."""
    colour, dash, symbol = LOOKS.get(method, OTHER)
    return {
        "line": {"color": colour, "dash": dash, "width": 4 if is_chosen else 2},
        "marker": {"color": colour, "symbol": symbol, "size": 9 if is_chosen else 6},
    }
