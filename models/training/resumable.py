"""A training run that can be stopped at any moment and goes on from its last checkpoint."""

import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm


def warmup_and_cosine(step: int, warmup: int, steps: int) -> float:
    """Linear warm-up to 1, then a cosine down to 0.02: a factor of the learning rate."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Resumable:
    """Network, optimizers, random state and step; subclasses add a recipe and ``train_step``."""

    recipe: Any  # a frozen dataclass with warmup and steps
    folder: Path
    device: str
    network: nn.Module
    optimizers: list[torch.optim.Optimizer]
    generator: torch.Generator
    kept: tuple[str, ...] = ()  # further attributes that a checkpoint holds

    def begin(self) -> None:
        """Start from step 0; called at the end of a subclass's ``__init__``."""
        self.step = 0
        self.seconds = 0.0
        self.smooth_losses: dict[str, float] = {}

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write beside, then rename: a stop in the middle leaves the last checkpoint whole."""
        state = {
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
            "recipe": self.recipe,
            **{name: getattr(self, name) for name in ("step", "seconds", "smooth_losses", *self.kept)},
        }
        beside = self.checkpoint.with_suffix(".new")
        torch.save(state, beside)
        os.replace(beside, self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one. Raises ValueError on another recipe's."""
        if not self.checkpoint.exists():
            return False
        with torch.serialization.safe_globals([type(self.recipe)]):
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["recipe"] != self.recipe:
            raise ValueError(f"{self.checkpoint} belongs to another recipe; move it away to start anew.")
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.generator.set_state(state["generator"].cpu())
        for name in ("step", "seconds", "smooth_losses", *self.kept):
            setattr(self, name, state[name])
        return True

    def set_rates(self) -> None:
        """Put the learning rates where the schedule has them at this step, and clear the gradients."""
        factor = warmup_and_cosine(self.step, self.recipe.warmup, self.recipe.steps)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("peak", group["lr"]) * factor
            optimizer.zero_grad()

    def note_loss(self, kind: str, loss: float) -> None:
        """Keep a running mean of a loss."""
        self.smooth_losses[kind] = 0.95 * self.smooth_losses.get(kind, loss) + 0.05 * loss

    def train_step(self) -> None:
        raise NotImplementedError

    def progress(self) -> dict[str, str]:
        """What the progress bar says."""
        return {name: f"{loss:.3f}" for name, loss in self.smooth_losses.items()}


def train(run: Resumable, checkpoint_every: int) -> None:
    """Run to the last step, with a progress bar."""
    run.resume()
    with tqdm(total=run.recipe.steps, initial=run.step, unit="step", mininterval=5) as bar:
        while run.step < run.recipe.steps:
            began = time.perf_counter()
            run.train_step()
            run.seconds += time.perf_counter() - began
            bar.set_postfix(run.progress(), refresh=False)
            bar.update()
            if run.step % checkpoint_every == 0 or run.step == run.recipe.steps:
                run.save()
