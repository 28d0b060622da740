"""Fine-tunings that were recorded, so that the page shows what to expect before anybody has waited for one.

``python -m models.lora.recorded`` records them anew, which takes minutes.
"""

import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import torch

from models.lora.fine_tuning import FineTuning, Tuned, fine_tune
from models.lora.placement import TARGETS

PATH = Path(__file__).parents[2] / "assets" / "recorded" / "lora.json"
OPENING = FineTuning()
RUNS = (  # what the page opens with, each domain's own, and what its lesson leads to
    OPENING,
    replace(OPENING, domain="arithmetic"),
    replace(OPENING, targets=TARGETS[:4]),
    replace(OPENING, targets=TARGETS[4:]),
    FineTuning(method="full", learning_rate=1e-3),
    replace(OPENING, learning_rate=1e-3),
    replace(OPENING, learning_rate=3e-2),
    replace(OPENING, four_bit=True),
)


def recorded(run: FineTuning) -> Tuned | None:
    """What a run of exactly these settings came to: its curves, without its matrices."""
    return _all().get(run)


def nearest(run: FineTuning) -> FineTuning:
    """The run whose record stands for this one: itself, or the first of its domain."""
    return run if run in _all() else replace(OPENING, domain=run.domain)


@cache
def _all() -> dict[FineTuning, Tuned]:
    taken: dict[FineTuning, Tuned] = {}
    for item in json.loads(PATH.read_text(encoding="utf-8")):
        settings = item["settings"]
        steps, new, old = (torch.tensor(item[name]) for name in ("steps", "new", "old"))
        run = FineTuning(**settings | {"targets": tuple(settings["targets"])})
        taken[run] = Tuned(steps, new, old, item["step"], item["trained"], item["seconds"])
    return taken


def record() -> None:
    """Run all of them and write their curves down."""
    taken = []
    for run in RUNS:
        *_, last = fine_tune(run)
        curves = {name: getattr(last, name).tolist() for name in ("steps", "new", "old")}
        numbers = {"step": last.step, "trained": last.trained, "seconds": round(last.seconds, 1)}
        taken.append({"settings": asdict(run)} | curves | numbers)
    PATH.write_text(json.dumps(taken, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)  # as in the process that serves
    record()
