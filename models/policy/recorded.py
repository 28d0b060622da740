"""Real runs that were recorded, so that a page shows what to expect before anybody has waited for one.

``python -m models.policy.recorded`` records them anew, which takes minutes.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.policy.losses import PolicyLoss
from models.policy.real_run import Answers, PolicyRun, train

FOLDER = Path(__file__).parents[2] / "assets" / "recorded"
TENSORS = ("rewards", "advantages", "weights", "ratios", "mask")
NUMBERS = ("step", "loss", "gradient_norm", "kl", "seconds")
PROMPT = 'The old man looked up from his paper and smiled. "My dear boy,'
OPENING = PolicyRun(PROMPT, loss=PolicyLoss(aggregation="sequence_mean", longest=32), steps=12)
FAST = replace(OPENING, learning_rate=1e-3)
RUNS = {  # what the page opens with, and what its lesson leads to
    "policy-opening": OPENING,
    "policy-fast": FAST,
    "policy-fast-held": replace(FAST, loss=replace(FAST.loss, beta=0.5)),
}


def recorded(run: PolicyRun) -> list[Answers] | None:
    """The steps of a run with exactly these settings; None where none was recorded."""
    names = {settings: name for name, settings in RUNS.items()}
    return list(_read(names[run])) if run in names else None


@cache
def _read(name: str) -> tuple[Answers, ...]:
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = dict(file)
    return tuple(_answers(arrays, index) for index in range(len(arrays["step"])))


def _answers(arrays: dict[str, np.ndarray], index: int) -> Answers:
    lengths = arrays["mask"][index].sum(1)
    labels = tuple(
        tuple(map(str, row[: int(length)]))
        for row, length in zip(arrays["labels"][index], lengths, strict=True)
    )
    tensors = {name: torch.from_numpy(arrays[name][index].astype(np.float32)) for name in TENSORS}
    numbers = {name: float(arrays[name][index]) for name in NUMBERS[1:]}
    made: dict[str, Any] = {**tensors, "step": int(arrays["step"][index]), **numbers}
    return Answers(tuple(map(str, arrays["texts"][index])), labels, **made)


def record(name: str, steps: Iterator[Answers]) -> None:
    """Write a run down, whole."""
    taken = list(steps)
    width = taken[0].mask.shape[1]
    labels = [[[*row, *[""] * (width - len(row))] for row in step.labels] for step in taken]
    arrays = {part: np.stack([getattr(step, part).numpy() for step in taken]) for part in TENSORS}
    numbers = {part: np.array([getattr(step, part) for step in taken]) for part in NUMBERS}
    FOLDER.mkdir(exist_ok=True)
    words = {"texts": np.array([step.texts for step in taken]), "labels": np.array(labels)}
    everything: dict[str, Any] = {**words, **arrays, **numbers}
    np.savez_compressed(FOLDER / f"{name}.npz", **everything)


if __name__ == "__main__":
    torch.set_num_threads(1)  # as in the process that serves
    for name, run in RUNS.items():
        record(name, train(run))
