"""models.optimizers.newton_schulz against torch's own iteration and the singular value decomposition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim._muon import _zeropower_via_newtonschulz
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.newton_schulz import (
    COEFFICIENTS,
    EPSILON,
    nearest_orthogonal,
    newton_schulz,
    polynomial,
)

sizes = st.integers(1, 9)
seeds = st.integers(0, 2**20)


def normal(rows, columns, seed):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(sizes, sizes, seeds, st.integers(0, 8))
def test_in_bfloat16_it_is_torchs_bit_by_bit(rows, columns, seed, steps):
    matrix = normal(rows, columns, seed)
    theirs = _zeropower_via_newtonschulz(matrix, COEFFICIENTS, steps, EPSILON)
    ours = newton_schulz(matrix, steps, torch.bfloat16).matrices[-1]
    assert_close(ours, theirs.double(), rtol=0, atol=0)


@given(sizes, sizes, seeds)
def test_each_step_is_a_polynomial_of_the_singular_values(rows, columns, seed):
    found = newton_schulz(normal(rows, columns, seed), 5)
    for k in range(6):
        expected = polynomial(found.singular_values[0], k)
        assert_close(found.singular_values[k], expected, rtol=1e-7, atol=1e-9)
        theirs = torch.linalg.svdvals(found.matrices[k])
        assert_close(found.singular_values[k].sort(descending=True).values, theirs, rtol=1e-7, atol=1e-8)


def test_five_steps_lift_what_is_not_too_small_to_between_two_thirds_and_one_and_a_quarter():
    values = torch.linspace(0.01, 1, 2_000, dtype=torch.float64)
    lifted = polynomial(values, 5)
    assert 0.66 < lifted.min() < lifted.max() < 1.25
    assert polynomial(torch.tensor(1e-4), 5) < 0.1  # 3.4445⁵ = 485: the very small ones stay small


def test_the_nearest_orthogonal_matrix_is_orthogonal_and_the_iteration_comes_near_it():
    matrix = normal(6, 4, 3)
    exact = nearest_orthogonal(matrix)
    assert_close(exact.T @ exact, torch.eye(4, dtype=torch.float64))
    found = newton_schulz(matrix, 5).matrices
    distances = torch.stack([torch.linalg.matrix_norm(point - exact, ord=2) for point in found])
    assert distances[-1] < 0.35 < distances[0]


def test_the_golden_update_of_a_single_number():
    """Muon on a 1 × 1 matrix takes 0.6875 of its learning rate, in bfloat16."""
    assert newton_schulz(torch.ones(1, 1), 5, torch.bfloat16).matrices[-1].item() == pytest.approx(
        0.6875, abs=0.01
    )
    weights = torch.zeros(1, 1, requires_grad=True)
    weights.grad = torch.ones(1, 1)
    torch.optim.Muon([weights], lr=1.0, weight_decay=0.0).step()
    assert weights.item() == pytest.approx(-0.6875)


@pytest.mark.parametrize(
    ("matrix", "steps"),
    [(torch.zeros(2, 2), 5), (torch.full((2, 2), torch.inf), 5), (torch.ones(2, 2), 51)],
)
def test_what_is_refused(matrix, steps):
    with pytest.raises(InputError):
        newton_schulz(matrix, steps)
