"""What conditioning and a rotation of the axes do: steps until the loss is small, per optimizer.

Gradient descent and momentum commute with rotations: turned axes change nothing. An optimizer that
scales every coordinate by itself does not; its axis-aligned ravine is the easiest of all.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.errors import InputError
from models.optimizers.learning_rates import batched_paths
from models.optimizers.surfaces import LossOfRows, ravine_matrix
from models.optimizers.trajectories import Choice, Run

NEVER = -1


@dataclass(frozen=True, eq=False)
class Rotations:
    """One optimizer on the same ravine, turned by each angle, with one learning rate for all."""

    degrees: Float[Tensor, " angles"]
    rate: float
    steps_needed: Int[Tensor, " angles"]  # NEVER where the tolerance was not reached and kept
    paths: Float[Tensor, "points angles 2"]


def loss_of_matrices(matrices: Float[Tensor, "rows 2 2"]) -> LossOfRows:
    """½ θᵀHθ with a Hessian of its own for each row."""
    return lambda points: 0.5 * torch.einsum("ri,rij,rj->r", points, matrices, points)


def turned_start(degrees: Float[Tensor, " angles"]) -> Float[Tensor, "angles 2"]:
    """The point that has coordinates (−2.5, 1) along the ravine's own axes, whatever its angle."""
    angle = torch.deg2rad(degrees.double())
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([-2.5 * cos - sin, -2.5 * sin + cos], dim=-1)


def steps_to_tolerance(losses: Float[Tensor, "points rows"], tolerance: float) -> Int[Tensor, " rows"]:
    """The first step after which the loss stays at or below ``tolerance``; NEVER if there is none."""
    above = ~(losses <= tolerance)  # NaN counts as above
    points = len(losses)
    last_above = torch.where(above.any(0), points - 1 - above.flip(0).int().argmax(0), -1)
    return torch.where(last_above == points - 1, NEVER, last_above + 1)


def rotations(
    choice: Choice,
    condition: float,
    degrees: Float[Tensor, " angles"],
    rates: Float[Tensor, " rates"],
    tolerance: float,
    steps: int,
) -> Rotations:
    """Tune the learning rate where the ravine lies along the axes, then turn the ravine.

    The best rate is the one that needs the fewest steps to ``tolerance`` (failing that, ends
    lowest); from the same point of the ravine, all angles then run as one batch.
    Raises InputError for a tolerance that is not above 0.
    """
    if not tolerance > 0:
        raise InputError(
            "A tolerance of {tolerance} is not accepted; it must be above 0.", tolerance=tolerance
        )
    rate = best_rate(choice, condition, rates, tolerance, steps)
    matrices = torch.stack([ravine_matrix(condition, angle) for angle in degrees.tolist()])
    loss = loss_of_matrices(matrices)
    same = torch.full((len(degrees),), rate, dtype=torch.float64)
    paths = batched_paths(loss, turned_start(degrees), same, choice, Run(steps=steps))
    losses = torch.stack([loss(points) for points in paths])
    return Rotations(degrees, rate, steps_to_tolerance(losses, tolerance), paths)


def best_rate(
    choice: Choice, condition: float, rates: Float[Tensor, " rates"], tolerance: float, steps: int
) -> float:
    """The rate that brings the ravine along the axes to ``tolerance`` soonest."""
    matrices = ravine_matrix(condition, 0.0).expand(len(rates), 2, 2)
    loss = loss_of_matrices(matrices)
    starts = turned_start(torch.zeros(len(rates)))
    paths = batched_paths(loss, starts, rates, choice, Run(steps=steps))
    losses = torch.stack([loss(points) for points in paths])
    needed = steps_to_tolerance(losses, tolerance).double()
    ends = losses[-1].nan_to_num(nan=math.inf)
    needed = torch.where(needed < 0, steps + 1 + ends / (1 + ends), needed)  # unfinished: by their end
    return rates[int(needed.nan_to_num(nan=math.inf).argmin())].item()
