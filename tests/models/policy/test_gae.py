"""Generalised advantage estimation against a linear system and published vectors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn.functional import batch_norm

from models.errors import InputError
from models.policy.gae import advantages, temporal_differences, whitened

STEPS = st.integers(1, 20).flatmap(
    lambda count: st.tuples(
        *(arrays.arrays(np.float64, count, elements=st.floats(-9, 9)) for _ in range(2))
    )
)
SHARE = st.floats(0, 1)


def tensors(*values):
    return tuple(torch.from_numpy(value) for value in values)


@given(STEPS, SHARE, SHARE)
def test_it_is_a_discounted_sum_of_temporal_differences(steps, discount, decay):
    """A = δ + γλ·(A one step later): a triangular system, which torch solves as a whole."""
    rewards, values = tensors(*steps)
    deltas = steps[0] + discount * np.append(steps[1][1:], 0.0) - steps[1]
    system = torch.eye(len(deltas), dtype=torch.float64)
    system -= discount * decay * torch.diag(torch.ones(len(deltas) - 1, dtype=torch.float64), 1)
    expected = torch.linalg.solve_triangular(system, torch.from_numpy(deltas)[:, None], upper=True)[:, 0]
    assert temporal_differences(rewards, values, discount).numpy() == pytest.approx(deltas)
    assert advantages(rewards, values, discount, decay).numpy() == pytest.approx(expected.numpy(), abs=1e-9)


@given(STEPS, SHARE)
def test_its_two_ends_are_one_step_and_monte_carlo(steps, discount):
    rewards, values = tensors(*steps)
    one_step = temporal_differences(rewards, values, discount)
    assert torch.equal(advantages(rewards, values, discount, 0.0), one_step)
    returns = [
        sum(discount**k * r for k, r in enumerate(steps[0][start:])) for start in range(len(steps[0]))
    ]
    found = advantages(rewards, values, discount, 1.0)
    assert (found + values).numpy() == pytest.approx(returns, abs=1e-9)


@pytest.mark.parametrize(
    ("decay", "expected"), [(0.0, [0.1, 0.1, 0.3]), (0.95, [0.46575, 0.385, 0.3]), (1.0, [0.5, 0.4, 0.3])]
)
def test_published_vectors(decay, expected):
    rewards, values = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.5, 0.6, 0.7])
    assert advantages(rewards, values, 1.0, decay).tolist() == pytest.approx(expected, abs=1e-6)


@given(arrays.arrays(np.float64, st.integers(2, 30), elements=st.floats(-9, 9)))
def test_whitened_is_torchs_batch_norm_with_the_sample_variance(values):
    if values.std() > 1e-2:  # else ε decides
        population = batch_norm(torch.from_numpy(values)[:, None], None, None, training=True, eps=1e-8)[
            :, 0
        ]
        expected = population.numpy() * np.sqrt((len(values) - 1) / len(values))
        assert whitened(torch.from_numpy(values)).numpy() == pytest.approx(expected, abs=1e-3)
    assert not whitened(torch.ones(1)).any()


@pytest.mark.parametrize(
    ("rewards", "values", "discount", "decay", "words"),
    [
        ([1.0], [0.0, 0.0], 1.0, 1.0, "1 rewards and 2 values"),
        ([], [], 1.0, 1.0, "0 rewards"),
        ([1.0], [float("nan")], 1.0, 1.0, "finite"),
        ([1.0], [0.0], 1.5, 1.0, "between 0 and 1"),
        ([1.0], [0.0], 1.0, float("nan"), "between 0 and 1"),
    ],
)
def test_what_has_no_advantage_is_refused(rewards, values, discount, decay, words):
    with pytest.raises(InputError, match=words):
        advantages(torch.tensor(rewards), torch.tensor(values), discount, decay)
