"""What the LoRA page promises: a grid in seconds, batches equal to single runs, a short real run."""

import time

import torch

from models.lora.comparison import grid
from models.lora.fine_tuning import FineTuning, fine_tune
from models.lora.initialisations import INITIALISATIONS
from models.lora.lab import Recipe, Run, Task, train
from tests.benchmarks.figures import Figure, Goal

RATES, SEEDS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), (0, 1, 2)
TASK, RECIPE = Task(width=96), Recipe(steps=200)
ALONE = 9  # runs that are also trained one at a time


def measure() -> list[Figure]:
    torch.set_num_threads(1)  # as in the app
    return [*synthetic(), real()]


def synthetic() -> list[Figure]:
    """The whole grid at once, beside what it would take one run after another."""
    runs = grid(INITIALISATIONS, (8,), RATES, SEEDS)
    losses, seconds, first = timed(runs)
    chosen = [index * len(runs) // ALONE for index in range(ALONE)]
    gaps, alone = [], 0.0
    for index in chosen:
        single, taken, _first = timed((runs[index],))
        alone += taken
        gaps.append(float((single[0] - losses[index]).abs().max()))
    return [
        Figure(
            "lora",
            f"grid of {len(runs)} runs, 200 steps, width 96, beside one at a time",
            seconds,
            "s",
            Goal("value", "<=", 6),
            alone * len(runs) / ALONE,
        ),
        Figure("lora", "first picture of the grid", first, "s", Goal("value", "<=", 1)),
        Figure("lora", "batch against the same runs alone", max(gaps), "", Goal("value", "<=", 1e-5)),
    ]


def timed(runs: tuple[Run, ...]) -> tuple[torch.Tensor, float, float]:
    """The losses, the seconds in all, and those until the first progress could be drawn."""
    begun = time.perf_counter()
    progress = train(TASK, runs, RECIPE, 10)
    next(progress)
    first = time.perf_counter() - begun
    *_progress, last = progress
    return last.losses, time.perf_counter() - begun, first


def real() -> Figure:
    """100 steps of LoRA on the embedded network, held-out losses included."""
    begun = time.perf_counter()
    for _progress in fine_tune(FineTuning(steps=100)):
        pass
    seconds = time.perf_counter() - begun
    return Figure("lora", "real run of 100 steps with peft", seconds, "s", Goal("value", "<=", 30))
