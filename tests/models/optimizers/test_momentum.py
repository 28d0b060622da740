"""models.optimizers.momentum against eigenvalues computed by torch, and against runs of torch.optim.SGD."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.momentum import (
    best_gradient_descent,
    best_momentum,
    convergence_map,
    critical_beta,
    library_path,
    spectral_radius,
    stability_edge,
    written_out_path,
)

betas = st.floats(0, 0.999)
rates = st.floats(1e-3, 5)
curvatures = st.floats(0.01, 10)


def matrix(rate, beta, curvature):
    return torch.tensor([[1 - rate * curvature, -rate * beta], [curvature, beta]], dtype=torch.float64)


def radius(rate, beta, curvature):
    return spectral_radius(
        torch.tensor(rate, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64), curvature
    ).item()


@given(rates, betas, curvatures)
def test_the_factor_is_the_largest_eigenvalue(rate, beta, curvature):
    expected = torch.linalg.eigvals(matrix(rate, beta, curvature)).abs().max().item()
    assert radius(rate, beta, curvature) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(rates, betas, curvatures)
def test_it_converges_below_the_edge_and_only_there(rate, beta, curvature):
    edge = stability_edge(torch.tensor([beta], dtype=torch.float64), curvature).item()
    if abs(rate / edge - 1) > 1e-6:
        assert (radius(rate, beta, curvature) < 1) == (rate < edge)


@given(st.floats(0.01, 3.9), curvatures)
def test_at_critical_damping_the_roots_meet(times, curvature):
    rate = times / curvature
    beta = critical_beta(torch.tensor(rate, dtype=torch.float64), curvature).item()
    roots = torch.linalg.eigvals(matrix(rate, beta, curvature))
    assert abs(roots[0] - roots[1]).item() < 1e-5  # a double root: rounding enters by its square root


def test_between_the_critical_curves_the_factor_is_the_root_of_beta_and_not_twice_it():
    assert radius(1.0, 0.81, 1.0) == pytest.approx(0.9)
    assert torch.linalg.eigvals(matrix(1.0, 0.81, 1.0)).abs().max().item() == pytest.approx(0.9)


@pytest.mark.parametrize("condition", [2.0, 20.0, 100.0, 1_000.0])
def test_the_optima_are_the_lowest_points_of_the_map(condition):
    best = best_momentum(condition)
    grid = convergence_map(
        torch.linspace(0.5, 1.5, 41).double() * best.rate, torch.linspace(0, 0.999, 400).double(), condition
    )
    assert radius(best.rate, best.beta, 1.0) == pytest.approx(best.factor, abs=1e-6)
    assert radius(best.rate, best.beta, condition) == pytest.approx(best.factor, abs=1e-6)
    assert grid.min() >= best.factor - 1e-6
    descent = best_gradient_descent(condition)
    line = convergence_map(
        torch.linspace(0.01, 2, 400).double() * descent.rate, torch.zeros(1).double(), condition
    )
    assert line.min() >= descent.factor - 1e-6
    assert max(radius(descent.rate, 0.0, c) for c in (1.0, condition)) == pytest.approx(descent.factor)


def test_the_golden_counts_at_a_condition_of_100():
    """Gradient descent 691 steps to 10⁻⁶, heavy ball 95: not the 69 of its factor alone."""
    for best, golden in ((best_gradient_descent(100.0), 691), (best_momentum(100.0), 95)):
        path = library_path(best.rate, best.beta, 100.0, 1_000)
        assert (path.abs().amax(-1) <= 1e-6).int().argmax().item() == golden
    assert math.log(1e6) / -math.log(best_momentum(100.0).factor) == pytest.approx(69, abs=0.5)


@given(st.floats(1e-4, 0.03), betas, st.floats(1, 100))
def test_the_recursion_is_torchs(rate, beta, condition):
    ours, theirs = (make(rate, min(beta, 0.99), condition, 30) for make in (written_out_path, library_path))
    assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("condition", [0.5, math.nan, math.inf])
def test_conditions_that_are_refused(condition):
    with pytest.raises(InputError, match="condition number"):
        convergence_map(torch.ones(2), torch.zeros(2), condition)
