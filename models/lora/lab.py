"""A task for adapters that can be turned: many runs trained side by side, in seconds.

A frozen weight W₀ with singular values 1, 1/2, 1/3, … is to become W₀ + ΔW*, where the rank, the
spectrum and the directions of ΔW* are chosen. Inputs are white, so the expected squared error is
‖W − W₀ − ΔW*‖², here as a share of ‖ΔW*‖²: 1 means nothing learned, 0 everything. It is a toy that
shows mechanisms; it ranks nothing for a language model.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.lora.adapter import Scaling, dora_weight, scale
from models.lora.initialisations import Initialisation, initialise

Optimizer = Literal["adam", "sgd"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
BETAS = (0.9, 0.999)
MOST_NUMBERS = 8_000_000  # runs × width²: a grid larger than this is refused


@dataclass(frozen=True)
class Task:
    """The problem. ``alignment`` 1 puts ΔW* into W₀'s largest directions, −1 its smallest, 0 anywhere."""

    width: int = 96
    target_rank: int = 8
    exponent: float = 1.0  # singular values of ΔW* are 1/iᵖ
    alignment: float = 0.0
    size: float = 1.0  # ‖ΔW*‖ as a share of ‖W₀‖


@dataclass(frozen=True)
class Run:
    """One training run; ``initialisation`` "full" trains W itself."""

    initialisation: Initialisation | Literal["full"]
    rank: int
    learning_rate: float
    seed: int
    alpha_factor: float = 1.0  # this run's α is the recipe's times this
    start_factor: float = 1.0  # A begins this many times larger; kept out of runs that change the base


@dataclass(frozen=True)
class Recipe:
    """What all runs of a grid share."""

    alpha: float = 8.0
    scaling: Scaling = "alpha/r"
    steps: int = 200
    optimizer: Optimizer = "adam"
    ratio: float = 1.0  # LoRA+: B, and DoRA's magnitudes, learn this many times faster than A
    dora: bool = False
    epsilon: float = 1e-8  # Adam's


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a grid has come: relative losses before every step so far, and after the last."""

    losses: Float[Tensor, "runs steps"]
    done: int
    steps: int


@dataclass(frozen=True, eq=False)
class Problem:
    """W₀ and ΔW* of one seed."""

    weight: Float[Tensor, "width width"]
    change: Float[Tensor, "width width"]


def problem(task: Task, seed: int) -> Problem:
    """Draw W₀ and ΔW*. Raises InputError on sizes that make no task."""
    _check_task(task)
    generator = torch.Generator().manual_seed(seed)
    left, right, left_other, right_other = (
        torch.linalg.qr(torch.randn(task.width, task.width, generator=generator))[0] for _ in range(4)
    )
    values = 1 / torch.arange(1, task.width + 1)
    weight = left * values @ right.T
    rank = task.target_rank
    at = slice(rank) if task.alignment >= 0 else slice(task.width - rank, None)
    part = abs(task.alignment)
    target_left, target_right = (
        _between(random[:, :rank], own[:, at], part)
        for own, random in ((left, left_other), (right, right_other))
    )
    target_values = torch.arange(1, rank + 1).float() ** -task.exponent
    change = target_left * target_values @ target_right.T
    return Problem(weight, change * (task.size * weight.norm() / change.norm()))


def _check_task(task: Task) -> None:
    if not (2 <= task.width <= 512 and 1 <= task.target_rank <= task.width):
        raise InputError(
            "A task of width {width} cannot have a target of rank {rank}; the width is 2 to 512 and the "
            "rank at most the width.",
            width=task.width,
            rank=task.target_rank,
        )
    if not (-1 <= task.alignment <= 1 and 0 < task.size < 1e3 and 0 <= task.exponent <= 4):
        raise InputError(
            "The task's alignment lies between −1 and 1, its size above 0, its exponent in 0 to 4."
        )


def _between(start: Tensor, end: Tensor, part: float) -> Tensor:
    """Orthonormal columns on the way from one set of directions to another; each keeps its number."""
    if part in (0.0, 1.0):
        return end if part else start
    angle = part * math.pi / 2
    mixed, upper = torch.linalg.qr(math.cos(angle) * start + math.sin(angle) * end)
    return mixed * upper.diagonal().sign()


def train(
    task: Task,
    runs: tuple[Run, ...],
    recipe: Recipe,
    every: int = 20,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Progress]:
    """Train all runs at once, and say every few steps how far they are.

    Runs of different ranks share one batch: missing rows of A and columns of B are zero, get a gradient
    of zero and stay zero. What is drawn at random is drawn in float32, whatever the steps are computed
    in. Raises InputError on runs that cannot be, before any work.
    """
    batch = Batch(task, runs, recipe, dtype)
    losses = torch.full((len(runs), recipe.steps + 1), torch.nan, dtype=dtype)
    for step in range(recipe.steps + 1):
        losses[:, step] = batch.step() if step < recipe.steps else batch.loss()
        if step % every == 0 or step == recipe.steps:
            yield Progress(losses.clone(), step, recipe.steps)


class Batch:
    """The state of many runs: A and B (and DoRA's magnitudes), or W itself; and Adam's moments."""

    def __init__(
        self, task: Task, runs: tuple[Run, ...], recipe: Recipe, dtype: torch.dtype = torch.float32
    ):
        check_runs(task, runs, recipe)
        self.recipe, self.count = recipe, 0
        problems = {seed: problem(task, seed) for seed in {run.seed for run in runs}}
        changes = [problems[run.seed].change.to(dtype) for run in runs]
        self.full = runs[0].initialisation == "full"
        targets = [problems[run.seed].weight + change for run, change in zip(runs, changes, strict=True)]
        self.size = torch.stack([change.square().sum() for change in changes])
        rates = torch.tensor([run.learning_rate for run in runs], dtype=dtype)[:, None, None]
        if self.full:
            self.parameters = [torch.stack([problems[run.seed].weight for run in runs])]
            self.target, self.rates = torch.stack(targets), [rates]
        else:
            self._adapters(task, runs, problems)
            self.target, self.rates = torch.stack(targets), [rates, rates * recipe.ratio]
            if recipe.dora:
                self.parameters.append(self.weight.norm(dim=-1)[..., None])
                self.rates.append(rates * recipe.ratio)  # as peft's LoRA+, with all that is no matrix
        self._convert(dtype)
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]

    def _adapters(self, task: Task, runs: tuple[Run, ...], problems: dict[int, Problem]) -> None:
        most = max(run.rank for run in runs)
        a, b = torch.zeros(len(runs), most, task.width), torch.zeros(len(runs), task.width, most)
        bases, self.weight = [], torch.stack([problems[run.seed].weight for run in runs])
        scales = []
        for index, run in enumerate(runs):
            s = scale(self.recipe.alpha * run.alpha_factor, run.rank, self.recipe.scaling)
            # the draw depends on the run alone, so that it is the same in every grid
            generator = torch.Generator().manual_seed(1_000 + run.seed)
            start = initialise(run.initialisation, problems[run.seed].weight, run.rank, s, generator)  # type: ignore[arg-type]  # "full" was told apart before
            a[index, : run.rank] = start.a * run.start_factor
            b[index, :, : run.rank] = start.b
            bases.append(start.base)
            scales.append(s)
        self.base = torch.stack(bases)
        self.scales = torch.tensor(scales, dtype=self.size.dtype)[:, None, None]
        self.parameters = [a, b]

    def _convert(self, dtype: torch.dtype) -> None:
        self.parameters = [parameter.to(dtype) for parameter in self.parameters]
        if not self.full:
            self.base = self.base.to(dtype)

    def weights(self) -> Float[Tensor, "runs width width"]:
        """W of every run as it now is."""
        if self.full:
            return self.parameters[0]
        a, b = self.parameters[:2]
        if self.recipe.dora:
            return dora_weight(self.base, self.scales * (b @ a), self.parameters[2][..., 0])
        return torch.baddbmm(self.base, self.scales * b, a)

    def loss(self) -> Float[Tensor, " runs"]:
        """‖W − W₀ − ΔW*‖² / ‖ΔW*‖²."""
        return (self.weights() - self.target).square().sum((1, 2)) / self.size

    def gradients(self) -> tuple[Float[Tensor, " runs"], list[Tensor]]:
        """The loss, and its gradient for each parameter: with G = ∂L/∂W, ∇A = s·BᵀG and ∇B = s·G·Aᵀ."""
        if self.recipe.dora and not self.full:
            with torch.enable_grad():
                leaves = [p.detach().requires_grad_() for p in self.parameters]
                self.parameters = leaves
                loss = self.loss()
                gradients = list(torch.autograd.grad(loss.sum(), leaves))
            self.parameters = [p.detach() for p in leaves]
            return loss.detach(), gradients
        error = self.weights() - self.target
        loss = error.square().sum((1, 2)) / self.size
        gradient = error.mul_(2 / self.size[:, None, None])
        if self.full:
            return loss, [gradient]
        a, b = self.parameters
        return loss, [
            self.scales * (b.transpose(1, 2) @ gradient),
            self.scales * (gradient @ a.transpose(1, 2)),
        ]

    def step(self) -> Float[Tensor, " runs"]:
        """One step of the optimizer; returns the losses before it."""
        loss, gradients = self.gradients()
        self.count += 1
        for parameter, rate, gradient, moments in zip(
            self.parameters, self.rates, gradients, self.moments, strict=True
        ):
            if self.recipe.optimizer == "sgd":
                parameter.sub_(rate * gradient)
            else:
                self._adam(parameter, rate, gradient, *moments)
        return loss

    def _adam(
        self, parameter: Tensor, rate: Tensor, gradient: Tensor, first: Tensor, second: Tensor
    ) -> None:
        """Kingma & Ba 2015, algorithm 1, in place."""
        one, two = BETAS
        first.mul_(one).add_(gradient, alpha=1 - one)
        second.mul_(two).addcmul_(gradient, gradient, value=1 - two)
        root = (second / (1 - two**self.count)).sqrt_().add_(self.recipe.epsilon)
        parameter.sub_(rate / (1 - one**self.count) * (first / root))


def check_runs(task: Task, runs: tuple[Run, ...], recipe: Recipe) -> None:
    """Raises InputError, in one sentence, on a grid that is empty, mixed or too large."""
    if not runs:
        raise InputError("Nothing is chosen to compare; choose at least one initialisation and one rank.")
    if len({run.initialisation == "full" for run in runs}) > 1:
        raise InputError("Full fine-tuning and adapters are trained in separate grids.")
    if len(runs) * task.width**2 > MOST_NUMBERS:
        raise InputError(
            "{runs} runs of width {width} are too many at once; choose fewer ranks or initialisations.",
            runs=len(runs),
            width=task.width,
        )
    if not (1 <= recipe.steps <= 2_000 and recipe.ratio > 0 and all(run.learning_rate > 0 for run in runs)):
        raise InputError("A run takes 1 to 2,000 steps, and learning rates are greater than 0.")
