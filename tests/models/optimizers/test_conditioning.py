"""models.optimizers.conditioning: rotations leave gradient descent alone, and counts are torch's."""

import math

import pytest
import torch
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.conditioning import (
    NEVER,
    best_rate,
    loss_of_matrices,
    rotations,
    steps_to_tolerance,
    turned_start,
)
from models.optimizers.learning_rates import rates_between
from models.optimizers.surfaces import ravine_matrix
from models.optimizers.trajectories import Choice, default

ANGLES = torch.linspace(0, 90, 7)
RATES = rates_between(1e-3, 1.0, 25)


@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov"])
def test_gradient_descent_does_not_notice_a_rotation(kind):
    found = rotations(default(kind), 20.0, ANGLES, RATES, 1e-6, 400)
    assert len(set(found.steps_needed.tolist())) == 1
    assert found.steps_needed[0] != NEVER
    lengths = found.paths.norm(dim=-1)
    assert_close(lengths, lengths[:, :1].expand_as(lengths), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ["adagrad", "adam"])
def test_what_scales_each_coordinate_does(kind):
    found = rotations(default(kind), 20.0, ANGLES, rates_between(1e-2, 10.0, 25), 1e-6, 400)
    steps = found.steps_needed.tolist()
    assert steps[3] > 1.15 * steps[0]  # 45 degrees against 0
    assert steps[0] == pytest.approx(steps[-1], rel=0.02)  # a quarter turn only swaps the axes


def test_the_count_is_that_of_a_bare_loop():
    found = rotations(default("sgd"), 20.0, ANGLES[:1], RATES, 1e-6, 400)
    point = turned_start(ANGLES[:1])[0].clone().requires_grad_(True)
    optimizer = torch.optim.SGD([point], lr=found.rate)
    matrix, losses = ravine_matrix(20.0, 0.0), []
    for _ in range(400):
        optimizer.zero_grad()
        loss = 0.5 * point @ matrix @ point
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert next(k for k, loss in enumerate(losses) if loss <= 1e-6) == found.steps_needed[0]


def test_the_best_rate_of_gradient_descent_is_near_theory():
    rates = torch.linspace(0.01, 0.2, 191, dtype=torch.float64)
    assert best_rate(default("sgd"), 10.0, rates, 1e-8, 300) == pytest.approx(2 / 11, rel=0.03)


def test_the_start_is_the_same_point_of_the_ravine_at_every_angle():
    starts = turned_start(ANGLES)
    losses = loss_of_matrices(torch.stack([ravine_matrix(30.0, a) for a in ANGLES.tolist()]))(starts)
    assert_close(losses, torch.full_like(losses, 0.5 * (2.5**2 + 30.0)), rtol=1e-6, atol=0)


def test_a_loss_must_stay_below_the_tolerance():
    losses = torch.tensor(
        [[9.0, 9.0, 0.0, 9.0], [0.0, 9.0, 0.0, math.nan], [9.0, 9.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]]
    )
    assert steps_to_tolerance(losses, 1.0).tolist() == [3, NEVER, 0, 2]


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.nan])
def test_tolerances_that_are_refused(tolerance):
    with pytest.raises(InputError, match="above 0"):
        rotations(Choice("sgd", 0.1), 20.0, ANGLES, RATES, tolerance, 10)
