"""Comparing adapters: whole grids with a learning-rate axis, and seeds to tell noise from merit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.lora.adapter import capacity_floor, scale
from models.lora.initialisations import Initialisation, initialise
from models.lora.lab import Batch, Recipe, Run, Task, check_runs, problem, train


def grid(
    initialisations: tuple[Initialisation, ...],
    ranks: tuple[int, ...],
    learning_rates: tuple[float, ...],
    seeds: tuple[int, ...],
) -> tuple[Run, ...]:
    """Every combination, initialisation by initialisation; odd ranks are left out for ``orthogonal``."""
    return tuple(
        Run(name, rank, rate, seed)
        for name in initialisations
        for rank in ranks
        if not (name == "orthogonal" and rank % 2)
        for rate in learning_rates
        for seed in seeds
    )


def floor_of(task: Task, run: Run, recipe: Recipe) -> float | None:
    """The least loss that a run's rank can reach, from its own base weight (Eckart–Young).

    None with DoRA: its magnitudes stretch the rows of W₀ + s·B·A, so that the change is of any rank.
    """
    if recipe.dora:
        return None
    drawn = problem(task, run.seed)
    s = scale(recipe.alpha, run.rank, recipe.scaling)
    generator = torch.Generator().manual_seed(1_000 + run.seed)
    base = initialise(run.initialisation, drawn.weight, run.rank, s, generator).base  # type: ignore[arg-type]  # not asked for "full"
    missing = drawn.weight + drawn.change - base
    share = capacity_floor(missing, run.rank)
    return float(share * missing.square().sum() / drawn.change.square().sum())


@dataclass(frozen=True, eq=False)
class FirstSteps:
    """Norms of the gradients before each of the first steps, and what they have led to."""

    gradient_a: Float[Tensor, "runs steps"]
    gradient_b: Float[Tensor, "runs steps"]
    change: Float[Tensor, "runs steps"]  # ‖W − W₀‖, before the step
    loss: Float[Tensor, "runs steps"]


def first_steps(task: Task, runs: tuple[Run, ...], recipe: Recipe, steps: int = 3) -> FirstSteps:
    """‖∇A‖, ‖∇B‖, ‖W − W₀‖ and the loss at steps 0, 1, 2, …"""
    batch = Batch(task, runs, recipe)
    start = torch.stack([problem(task, run.seed).weight for run in runs])
    rows = []
    for _step in range(steps):
        loss, (gradient_a, gradient_b, *_magnitude) = batch.gradients()
        moved = (batch.weights() - start).norm(dim=(1, 2))
        rows.append((gradient_a.norm(dim=(1, 2)), gradient_b.norm(dim=(1, 2)), moved, loss))
        batch.step()
    return FirstSteps(*(torch.stack(column, dim=1) for column in zip(*rows, strict=True)))


def summarise(
    final: Float[Tensor, " runs"], runs: tuple[Run, ...]
) -> dict[tuple[str, int], list[tuple[float, float, float]]]:
    """(initialisation, rank) → [(learning rate, mean, sample deviation)], in the order of the grid.

    A loss that is not finite counts as infinite.
    """
    groups: dict[tuple[str, int], dict[float, list[float]]] = {}
    for run, loss in zip(runs, final.nan_to_num(nan=torch.inf, posinf=torch.inf).tolist(), strict=True):
        rates = groups.setdefault((run.initialisation, run.rank), {})
        rates.setdefault(run.learning_rate, []).append(loss)
    return {key: [_mean_and_deviation(r, v) for r, v in rates.items()] for key, rates in groups.items()}


def _mean_and_deviation(rate: float, losses: list[float]) -> tuple[float, float, float]:
    values = torch.tensor(losses, dtype=torch.float64)
    spread = float(values.std()) if len(losses) > 1 and values.isfinite().all() else 0.0
    return rate, float(values.mean()), spread


# Student's t, two-sided 5 %, for n − 1 degrees of freedom
_CRITICAL = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


@dataclass(frozen=True)
class Comparison:
    """Two ways on the same seeds: the mean ratio of their losses, and whether it could be chance."""

    ratio: float  # geometric mean of loss / other loss
    t: float  # of the paired differences of log losses; infinite without any spread
    critical: float

    @property
    def within_noise(self) -> bool:
        return abs(self.t) <= self.critical


def compare(losses: Float[Tensor, " seeds"], others: Float[Tensor, " seeds"]) -> Comparison:
    """Student's paired t-test on log losses, two-sided, at 5 %.

    Raises InputError with fewer than 2 or more than 10 seeds: one run says nothing about noise.
    """
    if len(losses) not in _CRITICAL:
        raise InputError("Noise is judged from 2 to 10 seeds; {count} were given.", count=len(losses))
    difference = (losses.double().clamp_min(1e-12) / others.double().clamp_min(1e-12)).log()
    mean, spread = difference.mean(), difference.std()
    t = mean / (spread / math.sqrt(len(difference))) if spread > 0 else mean.sign() * torch.inf
    return Comparison(float(mean.exp()), float(t.nan_to_num()), _CRITICAL[len(losses)])


@dataclass(frozen=True)
class Grid:
    """Everything a comparison trains: each combination, and full fine-tuning beside them."""

    task: Task
    initialisations: tuple[Initialisation, ...]
    ranks: tuple[int, ...]
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]
    recipe: Recipe

    @property
    def runs(self) -> tuple[Run, ...]:
        return grid(self.initialisations, self.ranks, self.learning_rates, self.seeds)

    @property
    def full_runs(self) -> tuple[Run, ...]:
        return tuple(
            Run("full", self.task.width, rate, seed) for rate in self.learning_rates for seed in self.seeds
        )


@dataclass(frozen=True, eq=False)
class Trained:
    """A comparison so far: losses of the adapters, and of full fine-tuning (trained first)."""

    full: Float[Tensor, "full_runs steps"]
    losses: Float[Tensor, "runs steps"]
    done: int  # steps of the adapters
    steps: int


def train_grid(settings: Grid, every: int = 10) -> Iterator[Trained]:
    """Train full fine-tuning, then all adapters side by side. Raises InputError as ``train`` does."""
    check_runs(settings.task, settings.runs, settings.recipe)
    recipe = replace(settings.recipe, dora=False)
    *_, full = train(settings.task, settings.full_runs, recipe, recipe.steps)
    for progress in train(settings.task, settings.runs, settings.recipe, every):
        yield Trained(full.losses, progress.losses, progress.done, progress.steps)


def final_weights(
    task: Task, run: Run, recipe: Recipe
) -> tuple[Float[Tensor, "out in"], Float[Tensor, "out in"]]:
    """W₀ and W after one run."""
    batch = Batch(task, (run,), recipe)
    for _step in range(recipe.steps):
        batch.step()
    return problem(task, run.seed).weight, batch.weights()[0].detach()


def trained_by_torch(
    task: Task, run: Run, recipe: Recipe, dtype: torch.dtype = torch.float32
) -> Float[Tensor, " steps"]:
    """The losses of one adapter's run by torch's autograd and optimizer: what the batch is checked against.

    Drawn in float32 and computed in ``dtype``. Raises InputError as ``train`` does.
    """
    check_runs(task, (run,), recipe)
    drawn = problem(task, run.seed)
    s = scale(recipe.alpha * run.alpha_factor, run.rank, recipe.scaling)
    generator = torch.Generator().manual_seed(1_000 + run.seed)
    start = initialise(run.initialisation, drawn.weight, run.rank, s, generator)  # type: ignore[arg-type]  # not asked for "full"
    a = (start.a * run.start_factor).to(dtype, copy=True).requires_grad_()
    b = start.b.to(dtype, copy=True).requires_grad_()
    base, weight, change = (part.to(dtype) for part in (start.base, drawn.weight, drawn.change))
    groups: list[dict[str, Any]] = [
        {"params": [a], "lr": run.learning_rate},
        {"params": [b], "lr": run.learning_rate * recipe.ratio},
    ]
    magnitude = drawn.weight.norm(dim=1, keepdim=True).to(dtype, copy=True).requires_grad_()
    if recipe.dora:
        groups[1]["params"].append(magnitude)
    optimizer: torch.optim.Optimizer = torch.optim.SGD(groups)
    if recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, eps=recipe.epsilon)
    losses = []
    for _step in range(recipe.steps + 1):
        adapted = base + s * b @ a
        if recipe.dora:
            adapted = magnitude * adapted / adapted.norm(dim=1, keepdim=True).detach()
        error = adapted - weight - change
        loss = error.square().sum() / change.square().sum()
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.stack(losses)
