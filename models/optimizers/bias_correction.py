"""The first steps of Adam: bias correction, RAdam's switch, and warm-up.

m and v begin at 0, so that after t steps of a constant gradient m = (1 − β₁ᵗ)g and v = (1 − β₂ᵗ)g².
Without correction the step is larger by (1 − β₁ᵗ)/√(1 − β₂ᵗ): v lags more than m, so early steps are
too large, not too small (Kingma & Ba 2015, section 3).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.optimizers.schedules import Schedule, factor
from models.optimizers.steps import STEPS, rectification
from models.optimizers.trajectories import Choice

WAYS = ("adam", "uncorrected", "radam", "warmup")


@dataclass(frozen=True)
class Gradients:
    """A stream of gradients: mean, standard deviation (normal), seed, how many."""

    mean: float = 1.0
    deviation: float = 0.0
    steps: int = 100
    seed: int = 0

    def draw(self, rows: int = 1) -> Float[Tensor, "steps rows"]:
        """Raises InputError unless there are 1 to 5,000 steps of finite numbers."""
        if not (1 <= self.steps <= 5_000 and math.isfinite(self.mean) and 0 <= self.deviation < math.inf):
            raise InputError("1 to 5000 gradients with a finite mean and deviation are accepted.")
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(self.steps, rows, generator=generator, dtype=torch.float64)
        return self.mean + self.deviation * noise


def correction_ratio(beta1: float, beta2: float, steps: int) -> Float[Tensor, " steps"]:
    """(1 − β₁ᵗ)/√(1 − β₂ᵗ) for t = 1 … steps: Adam's step without correction over the one with it.

    Raises InputError unless both β are in [0, 1).
    """
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise InputError("β₁ and β₂ must be at least 0 and below 1.")
    t = torch.arange(1, steps + 1, dtype=torch.float64)
    return (1 - beta1**t) / (1 - beta2**t).sqrt()


def radam_factors(beta2: float, steps: int) -> tuple[Float[Tensor, " steps"], Float[Tensor, " steps"]]:
    """ρ_t and r_t for t = 1 … steps; r_t is NaN while ρ_t ≤ 5 and RAdam does not adapt."""
    both = [rectification(t, beta2) for t in range(1, steps + 1)]
    rho = torch.tensor([rho for rho, _ in both], dtype=torch.float64)
    r = torch.tensor([math.nan if r is None else r for _, r in both], dtype=torch.float64)
    return rho, r


def library_steps(kind: str, gradients: Tensor, beta1: float, beta2: float) -> Float[Tensor, "steps rows"]:
    """|Δθ|/η of each step, taken by torch's own class on gradients that are handed to it."""
    choice = Choice(kind, 1.0, (("beta1", beta1), ("beta2", beta2)))
    theta = torch.zeros(gradients.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = choice.build([theta])
    sizes = torch.empty_like(gradients)
    for t, g in enumerate(gradients):
        before = theta.detach().clone()
        theta.grad = g.clone()
        optimizer.step()
        sizes[t] = (theta.detach() - before).abs()
    return sizes


def uncorrected_steps(gradients: Tensor, beta1: float, beta2: float) -> Float[Tensor, "steps rows"]:
    """|Δθ|/η of Adam with its bias correction left out; torch has no such switch."""
    memory: dict[str, Tensor] = {}
    settings = {"beta1": beta1, "beta2": beta2, "eps": 1e-8, "weight_decay": 0.0}
    sizes = torch.empty_like(gradients)
    for t, g in enumerate(gradients):
        STEPS["adam"](memory, g, torch.zeros_like(g), 1.0, t + 1, settings)
        sizes[t] = (memory["m"] / (memory["v"].sqrt() + 1e-8)).abs()
    return sizes


def first_steps(
    stream: Gradients, beta1: float, beta2: float, warmup: int
) -> dict[str, Float[Tensor, " steps"]]:
    """|Δθ|/η for each way, on the same gradients."""
    gradients = stream.draw()
    adam = library_steps("adam", gradients, beta1, beta2)[:, 0]
    schedule = Schedule(warmup=warmup)
    warmed = [factor(schedule, t, stream.steps) for t in range(stream.steps)]
    factors = torch.tensor(warmed, dtype=torch.float64)
    return {
        "adam": adam,
        "uncorrected": uncorrected_steps(gradients, beta1, beta2)[:, 0],
        "radam": library_steps("radam", gradients, beta1, beta2)[:, 0],
        "warmup": adam * factors,
    }


def spread_of_first_steps(
    stream: Gradients, beta1: float, beta2: float, rows: int = 256
) -> Float[Tensor, " steps"]:
    """Standard deviation of Adam's signed step over many streams: how little an early v̂ knows.

    Liu et al. (2020) call this the variance of the adaptive rate; here it is that of the whole step.
    """
    gradients = stream.draw(rows)
    choice = Choice("adam", 1.0, (("beta1", beta1), ("beta2", beta2)))
    theta = torch.zeros(rows, dtype=torch.float64, requires_grad=True)
    optimizer = choice.build([theta])
    spread = torch.empty(len(gradients), dtype=torch.float64)
    for t, g in enumerate(gradients):
        before = theta.detach().clone()
        theta.grad = g.clone()
        optimizer.step()
        spread[t] = (theta.detach() - before).std()
    return spread
