"""Many starts and many learning rates at once, and the learning-rate basin.

For an elementwise optimizer, each number's step depends on its own gradients alone and is
proportional to the learning rate η (decoupled decay included: θ(1 − ηλ) − η·direction). So one
library optimizer with η = 1 and one batched parameter of many rows gives every row's direction, and
the row is moved by its own η. Others (Adafactor, Rprop, L-BFGS, schedule-free) run one at a time.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.errors import InputError
from models.optimizers.schedules import factor
from models.optimizers.surfaces import LossOfRows, Surface, rows_of
from models.optimizers.trajectories import GONE, KINDS, Choice, Run, check_rate, trajectory

MOST_ROWS = 20_000
NUDGE, MOST_MOVED = 1e-12, 1e-6  # of a rate, and of the last loss where rounding does not matter


def batched_paths(
    loss: LossOfRows,
    starts: Float[Tensor, "rows 2"],
    rates: Float[Tensor, " rows"],
    choice: Choice,
    run: Run,
) -> Float[Tensor, "points rows 2"]:
    """The paths of many rows under one elementwise optimizer, each with its own learning rate.

    Every row meets the same noise, as separate runs with one seed would. A row that diverges goes to
    ∞ or NaN and stays there. Raises InputError for an optimizer that is not elementwise.
    """
    if not KINDS[choice.kind].is_elementwise:
        raise InputError("{name} cannot run as one batch.", name=KINDS[choice.kind].label)
    if len(starts) > MOST_ROWS:
        raise InputError("{rows} rows are too many.", rows=len(starts))
    for rate in (rates.min().item(), rates.max().item()):
        check_rate(rate)
    at = starts.double().clone()
    moved = at.clone().requires_grad_(True)
    optimizer = choice.build([moved], rate=1.0)
    noise = run.noise_of(2) if run.noise else None
    paths = torch.empty(run.steps + 1, *at.shape, dtype=torch.float64)
    paths[0] = at
    for step in range(run.steps):
        (gradient,) = torch.autograd.grad(loss(moved).sum(), moved)
        if noise is not None:
            gradient = gradient + noise[step]
        if run.clip < math.inf:
            norms = gradient.norm(dim=-1, keepdim=True)
            gradient = gradient * (run.clip / (norms + 1e-6)).clamp(max=1.0)
        moved.grad = gradient
        optimizer.step()
        with torch.no_grad():
            scale = (rates * factor(run.schedule, step, run.steps))[:, None]
            at = at + scale * (moved - at)
            moved.copy_(at)
        paths[step + 1] = at
    return paths


@dataclass(frozen=True, eq=False)
class Basin:
    """What remains of the loss, for each learning rate; ∞ where the run diverged."""

    rates: Float[Tensor, " rates"]
    losses: Float[Tensor, " rates"]
    diverged: Bool[Tensor, " rates"]

    @property
    def best(self) -> int:
        return int(self.losses.argmin())

    @property
    def best_rate(self) -> float:
        return self.rates[self.best].item()

    def width(self, within: float) -> float:
        """Decades of learning rates whose loss is at most ``within`` times the best one's (or equal).

        Counted in cells of the sweep, each as wide as the distance between two rates.
        """
        good = self.losses <= within * self.losses.min().clamp(min=1e-12)
        decades = math.log10(self.rates[-1] / self.rates[0]) / max(1, len(self.rates) - 1)
        return float(good.sum()) * decades


def rates_between(low: float, high: float, count: int) -> Float[Tensor, " count"]:
    """Learning rates at equal factors. Raises InputError unless 0 < low < high."""
    check_rate(low)
    check_rate(high)
    if not (low < high and 2 <= count <= 400):
        raise InputError("A sweep needs a lower and a higher learning rate, and 2 to 400 between them.")
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)


def basin(
    surface: Surface,
    start: tuple[float, float],
    choice: Choice,
    rates: Float[Tensor, " rates"],
    run: Run,
) -> Basin:
    """The last loss against the learning rate: elementwise optimizers in one batch, others in turn.

    The loss is counted from the surface's lowest value, where that is known.
    """
    if KINDS[choice.kind].is_elementwise:
        starts = torch.tensor([start], dtype=torch.float64).expand(len(rates), 2)
        paths = batched_paths(rows_of(surface), starts, rates, choice, run)
    else:
        runs = [trajectory(surface, start, replace(choice, rate=rate), run) for rate in rates.tolist()]
        paths = torch.stack([one.positions for one in runs], dim=1)
    losses = surface.function(*paths[-1].unbind(-1)) - (surface.lowest or 0.0)
    here = (paths.abs() < GONE).all(dim=-1).all(dim=0)  # who came back from there has diverged all the same
    diverged = ~(losses.isfinite() & here)
    return Basin(rates, losses.masked_fill(diverged, math.inf), diverged)


def is_chaotic(surface: Surface, start: tuple[float, float], choice: Choice, run: Run) -> bool:
    """Whether rounding decides where a run ends: a rate that is 1e-12 larger ends with another loss.

    The rate, since it acts in every step as rounding does: of two starts nothing may be left on the way.
    False for optimizers that are not elementwise: those always run one at a time.
    """
    if not KINDS[choice.kind].is_elementwise:
        return False
    starts = torch.tensor([start, start], dtype=torch.float64)
    rates = torch.tensor([choice.rate, choice.rate * (1 + NUDGE)], dtype=torch.float64)
    ends = batched_paths(rows_of(surface), starts, rates, choice, run)[-1]
    first, second = surface.function(*ends.unbind(-1)).tolist()
    return abs(first - second) > MOST_MOVED


def endpoints(
    surface: Surface, starts: Float[Tensor, "rows 2"], choice: Choice, run: Run
) -> Float[Tensor, "rows 2"]:
    """Where many starts end, under one optimizer and one learning rate."""
    if KINDS[choice.kind].is_elementwise:
        rates = torch.full((len(starts),), choice.rate, dtype=torch.float64)
        return batched_paths(rows_of(surface), starts, rates, choice, run)[-1]
    ends = [trajectory(surface, (x, y), choice, run).positions[-1] for x, y in starts.tolist()]
    return torch.stack(ends)
