"""A least-squares problem in a matrix: SGD, Adam and Muon, each with torch's own class.

    f(W) = ‖(W − W*)Sᵀ‖²_F / 2,  S = diag of inputs' scales from 1 down to 1/spread

A matrix of weights meets inputs whose directions differ in strength; the weak ones are where SGD
crawls. The inputs' covariance may be turned, so that it does not lie along the coordinates.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, optim

from models.errors import InputError
from models.optimizers.schedules import CONSTANT, Schedule, factor

OPTIMIZERS = ("sgd", "momentum", "adam", "muon")


@dataclass(frozen=True)
class MatrixProblem:
    """A random target of ``rows`` × ``columns`` and inputs of unequal strength.

    Raises InputError on sizes beyond 2 to 64 and a spread outside 1 to 1,000.
    """

    rows: int = 8
    columns: int = 8
    spread: float = 30.0
    is_turned: bool = True
    seed: int = 0

    def __post_init__(self):
        if not (2 <= self.rows <= 64 and 2 <= self.columns <= 64 and 1 <= self.spread <= 1_000):
            raise InputError("Matrices of 2 to 64 rows and columns and a spread of 1 to 1000 are accepted.")

    def target(self) -> Float[Tensor, "rows columns"]:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(self.rows, self.columns, generator=generator, dtype=torch.float64)

    def inputs(self) -> Float[Tensor, "columns columns"]:
        """Inputs as columns: scales 1 … 1/spread along the axes, or along random directions."""
        scales = torch.logspace(0, -math.log10(self.spread), self.columns, dtype=torch.float64)
        if not self.is_turned:
            return torch.diag(scales)
        generator = torch.Generator().manual_seed(self.seed + 1)
        normal = torch.randn(self.columns, self.columns, generator=generator, dtype=torch.float64)
        return torch.linalg.qr(normal).Q @ torch.diag(scales)

    def loss(self, weights: Float[Tensor, "rows columns"]) -> Float[Tensor, ""]:
        return 0.5 * ((weights - self.target()) @ self.inputs()).square().sum()


@dataclass(frozen=True, eq=False)
class MatrixRun:
    """Loss before each step and after the last, and the update of every step divided by η."""

    losses: Float[Tensor, " points"]
    updates: Float[Tensor, "steps rows columns"]
    gradients: Float[Tensor, "steps rows columns"]


def build(kind: str, parameters: list[Tensor], rate: float) -> optim.Optimizer:
    """Torch's own class, without weight decay. Raises InputError for an unknown kind."""
    if not 0 < rate <= 1e4:
        raise InputError(
            "A learning rate of {rate} is not accepted; it must be above 0 and at most {largest}.",
            rate=f"{rate:g}",
            largest="10000",
        )
    if kind == "sgd":
        return optim.SGD(parameters, rate)
    if kind == "momentum":
        return optim.SGD(parameters, rate, momentum=0.95, nesterov=True)
    if kind == "adam":
        return optim.Adam(parameters, rate)
    if kind == "muon":
        return optim.Muon(parameters, rate, weight_decay=0.0)
    raise InputError("There is no optimizer called {name}.", name=kind)


def matrix_run(
    problem: MatrixProblem, kind: str, rate: float, steps: int, schedule: Schedule = CONSTANT
) -> MatrixRun:
    """From W = 0, ``steps`` steps under a schedule. Raises InputError beyond 1 to 2,000 steps."""
    if not 1 <= steps <= 2_000:
        raise InputError("{steps} steps are not accepted; 1 to {most} are.", steps=steps, most=2_000)
    weights = torch.zeros(problem.rows, problem.columns, dtype=torch.float64, requires_grad=True)
    optimizer = build(kind, [weights], rate)
    target, inputs = problem.target(), problem.inputs()
    losses, updates, gradients = [], [], []
    for step in range(steps):
        now = rate * factor(schedule, step, steps)
        optimizer.param_groups[0]["lr"] = now
        optimizer.zero_grad()
        loss = 0.5 * ((weights - target) @ inputs).square().sum()
        loss.backward()
        assert weights.grad is not None
        losses.append(loss.detach())
        gradients.append(weights.grad.clone())
        before = weights.detach().clone()
        optimizer.step()
        updates.append((weights.detach() - before) / now)
    losses.append(problem.loss(weights.detach()))
    return MatrixRun(torch.stack(losses), torch.stack(updates), torch.stack(gradients))


def momentum_matrix(run: MatrixRun, step: int, momentum: float = 0.95) -> Float[Tensor, "rows columns"]:
    """What Muon orthogonalises at ``step`` (1 is the first): Nesterov's blend of gradient and buffer.

    torch: b ← b + (1 − μ)(g − b), then g + μ(b − g).
    """
    buffer = torch.zeros_like(run.gradients[0])
    for gradient in run.gradients[:step]:
        buffer = buffer.lerp(gradient, 1 - momentum)
    return run.gradients[step - 1].lerp(buffer, momentum)


def best_rate(
    problem: MatrixProblem,
    kind: str,
    rates: Float[Tensor, " rates"],
    steps: int,
    schedule: Schedule = CONSTANT,
) -> float:
    """The learning rate with the lowest last loss, of those whose loss never rose tenfold."""
    runs = (matrix_run(problem, kind, rate, steps, schedule) for rate in rates.tolist())
    ends = torch.stack([_end(run) for run in runs])
    return rates[int(ends.nan_to_num(nan=math.inf).argmin())].item()


def _end(run: MatrixRun) -> Float[Tensor, ""]:
    """The last loss, ∞ for a run that went through much higher ones: a cosine may save it in the end."""
    rose = ~(run.losses.max() <= 10 * run.losses[0])
    return run.losses[-1].masked_fill(rose, math.inf)
