"""The optimizers page for its tests: opened by address, its views and what each of them shows."""

from tests.pages.screen import (
    figures,
    open_page,
    views,
)

PAGE = {view.name: view for view in views("optimizers")}
VIEWS = {
    "paths": {"contour", "loss", "parts"},
    "basin": {"basin", "runs"},
    "rotation": {"needed", "turned"},
    "first": {"sizes", "factors"},
    "decay": {"decay_0", "decay_1"},
    "momentum": {"map", "errors"},
    "matrices": {"matrix_loss", "values", "schulz", "pictures"},
    "training": {"training_loss", "norms", "sharpness"},
    "depth": {"at_start", "four"},
}
WITHOUT_MINIMUM = {"saddle", "monkey", "typed"}
QUICK = {"steps": "60", "chosen": "sgd,adam"}


def optimizers(**query: str):
    return open_page("optimizers", **{f"optimizers_{name}": value for name, value in query.items()})


def drawn(screen) -> dict:
    return {name.removeprefix("optimizers_"): figure for name, figure in figures(screen).items()}


def lines(figure) -> dict:
    """The curves of a figure by name."""
    return {
        trace["name"]: trace
        for trace in figure["data"]
        if trace["type"] == "scatter" and trace.get("mode") == "lines" and "name" in trace
    }


def panels(figure) -> dict[str, set[str]]:
    """The names of a figure's curves by the y axis that they stand on."""
    found: dict[str, set[str]] = {}
    for trace in figure["data"]:
        if trace.get("mode") == "lines" and "name" in trace:
            found.setdefault(trace.get("yaxis", "y"), set()).add(trace["name"])
    return found


def names_at_ends(figure) -> set[str]:
    """The names that stand at lines' ends, in one row each."""
    named = [trace for trace in figure["data"] if trace.get("mode") == "lines+text"]
    return {trace["text"][1].replace("<br>", " ") for trace in named}


def checks(screen) -> list[str]:
    return [caption.value for caption in screen.caption if "check_circle" in caption.value]
