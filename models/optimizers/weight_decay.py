"""L2 in the loss against decoupled weight decay, on gradients that carry nothing but noise.

With SGD, both shrink θ by ηλ a step. Adam divides what is added to the gradient by √v̂ as well, so
that L2 hardly decays a parameter with large gradients and decays one with small gradients hard
(Loshchilov & Hutter 2019, "Decoupled weight decay regularization", proposition 2).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.optimizers.trajectories import Choice

WAYS = ("sgd_l2", "adam_l2", "adamw")


@dataclass(frozen=True)
class DecayTrial:
    """Parameters that start at 1 and meet gradients of mean 0: only decay moves them on average."""

    deviations: tuple[float, ...] = (10.0, 0.1)  # of each parameter's gradient
    rate: float = 1e-3
    weight_decay: float = 0.1
    steps: int = 2_000
    copies: int = 64  # of each parameter, with noise of their own; their mean is shown
    seed: int = 0

    def __post_init__(self):
        if not (all(0 <= d < math.inf for d in self.deviations) and 1 <= len(self.deviations) <= 8):
            raise InputError("1 to 8 deviations that are finite and not negative are accepted.")
        if not (1 <= self.steps <= 5_000 and 1 <= self.copies <= 1_024):
            raise InputError("1 to 5000 steps and 1 to 1024 copies are accepted.")


@dataclass(frozen=True, eq=False)
class Decayed:
    """Mean over the copies, and their standard deviation, after every step."""

    mean: Float[Tensor, "points deviations"]
    deviation: Float[Tensor, "points deviations"]


def decay_run(trial: DecayTrial, way: str) -> Decayed:
    """Torch's SGD or Adam with weight_decay (L2), or AdamW (decoupled), on the trial's gradients."""
    kind = {"sgd_l2": "sgd", "adam_l2": "adam", "adamw": "adamw"}.get(way)
    if kind is None:
        raise InputError("There is no way of decay called {name}.", name=way)
    shape = (trial.copies, len(trial.deviations))
    generator = torch.Generator().manual_seed(trial.seed)
    deviations = torch.tensor(trial.deviations, dtype=torch.float64)
    theta = torch.ones(shape, dtype=torch.float64, requires_grad=True)
    optimizer = Choice(kind, trial.rate, (("weight_decay", trial.weight_decay),)).build([theta])
    points = torch.empty(trial.steps + 1, *shape, dtype=torch.float64)
    points[0] = 1.0
    for step in range(trial.steps):
        theta.grad = deviations * torch.randn(shape, generator=generator, dtype=torch.float64)
        optimizer.step()
        points[step + 1] = theta.detach()
    return Decayed(points.mean(1), points.std(1, correction=0))


def decay_only(trial: DecayTrial) -> Float[Tensor, " points"]:
    """(1 − ηλ)^t: what decay alone makes of 1."""
    t = torch.arange(trial.steps + 1, dtype=torch.float64)
    return (1 - trial.rate * trial.weight_decay) ** t
