"""Why weights are not updated in 16 bits: a step smaller than half the spacing is rounded away."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError

MOST_STEPS = 2_000


@dataclass(frozen=True, eq=False)
class UpdatePaths:
    """One weight after 0, 1, 2, … equal steps, kept in four ways; all in float32."""

    float32: Float[Tensor, " steps"]
    float16: Float[Tensor, " steps"]
    bfloat16: Float[Tensor, " steps"]
    stochastic: Float[Tensor, " steps"]  # bfloat16, rounded up or down at random


def update_paths(weight: float, step: float, steps: int, seed: int) -> UpdatePaths:
    """Add ``step`` to ``weight`` again and again.

    The step itself is float32; the weight is rounded after each addition. Stochastic rounding goes
    up with a probability that is the distance to the lower neighbour in units of the spacing, so
    that the mean is right (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision").
    Raises InputError for numbers that are not finite and for more than MOST_STEPS steps.
    """
    if not torch.tensor([weight, step]).isfinite().all() or not 1 <= steps <= MOST_STEPS:
        raise InputError(
            "Weight and step are finite numbers, and 1 to {most} steps are taken.", most=MOST_STEPS
        )
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 2**16, (steps,), generator=generator, dtype=torch.int32)
    return UpdatePaths(
        _path(weight, step, steps, torch.float32),
        _path(weight, step, steps, torch.float16),
        _path(weight, step, steps, torch.bfloat16),
        _stochastic_path(weight, step, noise),
    )


def _path(weight: float, step: float, steps: int, dtype: torch.dtype) -> Float[Tensor, " steps"]:
    now, change = torch.tensor(weight).to(dtype), torch.tensor(step)
    path = [now]
    for _ in range(steps):
        now = (now.float() + change).to(dtype)
        path.append(now)
    return torch.stack(path).float()


def _stochastic_path(weight: float, step: float, noise: Tensor) -> Float[Tensor, " steps"]:
    now, change = torch.tensor(weight).to(torch.bfloat16).float(), torch.tensor(step)
    path = [now]
    for dither in noise:
        now = round_stochastically(now + change, dither)
        path.append(now)
    return torch.stack(path)


def round_stochastically(values: Float[Tensor, "*shape"], noise: Tensor) -> Float[Tensor, "*shape"]:
    """Float32 values rounded to bfloat16's: ``noise``, 0 to 65,535, is added to the bits that go."""
    bits = values.contiguous().view(torch.int32)
    return ((bits + noise) & -65536).view(torch.float32)
