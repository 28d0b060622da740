"""models.optimizers.matrix_problem: runs are torch's, Muon's update is Newton–Schulz of momentum."""

import math

import pytest
import torch
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.learning_rates import rates_between
from models.optimizers.matrix_problem import (
    OPTIMIZERS,
    MatrixProblem,
    best_rate,
    matrix_run,
    momentum_matrix,
)
from models.optimizers.newton_schulz import newton_schulz
from models.optimizers.schedules import Schedule


def test_the_loss_is_least_squares_over_the_inputs():
    problem = MatrixProblem(5, 3, spread=10.0, seed=4)
    weights = torch.randn(5, 3, dtype=torch.float64)
    expected = torch.nn.functional.mse_loss(
        weights @ problem.inputs(), problem.target() @ problem.inputs(), reduction="sum"
    )
    assert_close(problem.loss(weights), expected / 2)
    assert_close(
        torch.linalg.svdvals(problem.inputs()),
        torch.tensor([1.0, 10**-0.5, 0.1]).double(),
        rtol=1e-6,
        atol=0,
    )
    assert problem.loss(problem.target()) == 0


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1)),
        ("momentum", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.95, nesterov=True)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.1)),
        ("muon", lambda p: torch.optim.Muon(p, lr=0.1, weight_decay=0.0)),
    ],
)
def test_a_run_is_a_bare_loop(kind, make):
    problem = MatrixProblem(4, 6, seed=2)
    weights = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    optimizer = make([weights])
    run = matrix_run(problem, kind, 0.1, 12, Schedule())
    for step in range(12):
        optimizer.zero_grad()
        loss = problem.loss(weights)
        loss.backward()
        assert_close(run.losses[step], loss.detach())
        assert_close(run.gradients[step], weights.grad)
        before = weights.detach().clone()
        optimizer.step()
        assert_close(run.updates[step], (weights.detach() - before) / 0.1, rtol=1e-7, atol=1e-9)
    assert_close(run.losses[-1], problem.loss(weights.detach()))


@pytest.mark.parametrize("shape", [(6, 6), (3, 8), (8, 3)])
def test_muons_update_is_newton_schulz_of_its_momentum(shape):
    run = matrix_run(MatrixProblem(*shape, seed=1), "muon", 0.05, 9, Schedule("cosine", 2))
    wide = max(1.0, shape[0] / shape[1]) ** 0.5
    for step in (1, 2, 9):
        orthogonal = newton_schulz(momentum_matrix(run, step), 5, torch.bfloat16).matrices[-1]
        assert_close(run.updates[step - 1], -wide * orthogonal, rtol=1e-3, atol=1e-3)


def test_only_muon_moves_all_directions_alike():
    spreads = {}
    for kind in OPTIMIZERS:
        values = torch.linalg.svdvals(matrix_run(MatrixProblem(), kind, 0.01, 1).updates[0])
        spreads[kind] = (values[0] / values[-2]).item()
    assert spreads["muon"] < 10 < 100 < spreads["sgd"]


def test_the_best_rate_is_the_one_that_ends_lowest():
    rates = rates_between(1e-2, 10.0, 7)
    chosen = best_rate(MatrixProblem(), "sgd", rates, 30)
    runs = [matrix_run(MatrixProblem(), "sgd", rate, 30).losses for rate in rates.tolist()]
    ends = [losses[-1].item() if losses.max() <= 10 * losses[0] else math.inf for losses in runs]
    assert math.inf in ends
    assert chosen == rates[min(range(7), key=ends.__getitem__)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: MatrixProblem(rows=1),
        lambda: MatrixProblem(columns=65),
        lambda: MatrixProblem(spread=0.5),
        lambda: matrix_run(MatrixProblem(), "moon", 0.1, 5),
        lambda: matrix_run(MatrixProblem(), "sgd", 0.0, 5),
        lambda: matrix_run(MatrixProblem(), "sgd", 0.1, 0),
    ],
)
def test_what_is_refused(make):
    with pytest.raises(InputError):
        make()
