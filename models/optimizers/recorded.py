"""Trainings that ship with Loupe, to be seen before anybody has started one.

models/training/optimizer_runs.py made them with ``train``: whoever starts the same settings gets the same
numbers, up to the rounding of another machine.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from models.optimizers.schedules import Schedule
from models.optimizers.training_lab import NORMS, Progress, Training

ROOT = Path(__file__).parents[2]
FILE = ROOT / "assets" / "runs" / "optimizers.npz"
SHARPNESS_EVERY = 10  # steps between measurements in a training that is looked at by itself
DEPTH_STEPS, DEPTH_WARMUP = 100, 50


def four_of(layers: int, rate: float, seed: int) -> tuple[Training, ...]:
    """Pre-LN and Post-LN under Adam, each without warm-up and with it."""
    return tuple(
        Training(
            "adam",
            rate,
            norm,
            layers,
            DEPTH_STEPS,
            Schedule(warmup=warmup),
            seed=seed,
        )
        for norm in NORMS
        for warmup in (0, DEPTH_WARMUP)
    )


FIRST = Training(sharpness_every=SHARPNESS_EVERY)
FIRST_FOUR = four_of(8, 3e-3, 0)
RECORDED = (
    FIRST,
    Training("sgd", 0.5, fixed_batch=True, sharpness_every=SHARPNESS_EVERY),
    Training("sgd", 0.1, sharpness_every=SHARPNESS_EVERY),
    Training(fixed_batch=True, sharpness_every=SHARPNESS_EVERY),
    Training(norm="post", layers=8, sharpness_every=SHARPNESS_EVERY),
    *FIRST_FOUR,
    *four_of(12, 3e-3, 0),
)


def recorded(training: Training) -> list[Progress] | None:
    """Every step of a training that ships with Loupe; None for any other."""
    return _all().get(training)


@lru_cache(maxsize=1)
def _all() -> dict[Training, list[Progress]]:
    with np.load(FILE) as file:
        return {
            training: unpacked({name: file[f"{name}_{number}"] for name in PARTS})
            for number, training in enumerate(RECORDED)
        }


PARTS = ("losses", "norms", "rates", "sharpness")


def packed(steps: list[Progress]) -> dict[str, np.ndarray]:
    """A training as arrays; NaN where no sharpness was measured."""
    return {
        "losses": np.array([step.loss for step in steps], dtype=np.float32),
        "norms": torch.stack([step.gradient_norms for step in steps]).numpy().astype(np.float32),
        "rates": np.array([step.rate for step in steps], dtype=np.float32),
        "sharpness": np.array(
            [np.nan if step.sharpness is None else step.sharpness for step in steps], dtype=np.float32
        ),
    }


def unpacked(arrays: dict[str, np.ndarray]) -> list[Progress]:
    """The steps again; the last one of a training that diverged has a loss that is no finite number."""
    losses, sharpness = arrays["losses"].tolist(), arrays["sharpness"].tolist()
    return [
        Progress(
            step,
            loss,
            torch.from_numpy(arrays["norms"][step].astype(np.float64)),
            float(arrays["rates"][step]),
            None if np.isnan(sharpness[step]) else sharpness[step],
            diverged=not np.isfinite(loss),
        )
        for step, loss in enumerate(losses)
    ]
