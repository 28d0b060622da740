"""The KL-constrained optimum against torch's distributions, random policies and gradient ascent."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, kl_divergence

from models.errors import InputError
from models.preference.kl_objective import checked_distribution, cross_entropy, entropy, kl, optimum

weights = st.lists(st.floats(0.01, 10), min_size=2, max_size=8)


@given(weights, st.data())
def test_the_optimum_beats_every_policy_and_gives_the_reward_back(values, data):
    reward = torch.tensor(
        data.draw(st.lists(st.floats(-5, 5), min_size=len(values), max_size=len(values))),
        dtype=torch.float64,
    )
    beta = data.draw(st.floats(0.05, 10))
    reference = checked_distribution(torch.tensor(values, dtype=torch.float64))
    best = optimum(reference, reward, beta)
    assert best.objective == pytest.approx(beta * best.log_partition, abs=1e-8)
    torch.testing.assert_close(
        best.implicit_reward + beta * best.log_partition, reward, rtol=1e-9, atol=1e-9
    )
    generator = torch.Generator().manual_seed(len(values))
    for _ in range(5):
        other = checked_distribution(torch.rand(len(values), generator=generator) + 1e-3)
        assert float((other * reward).sum()) - beta * kl(other, reference) <= best.objective + 1e-9


def test_gradient_ascent_finds_the_same_policy():
    reference = checked_distribution(torch.tensor([5.0, 3.0, 1.0, 0.5]))
    reward = torch.tensor([0.0, 1.0, 2.0, -1.0], dtype=torch.float64)
    logits = reference.log().clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

    def loss():
        optimizer.zero_grad()
        policy = Categorical(logits=logits)
        value = -(policy.probs * reward).sum() + 0.7 * kl_divergence(policy, Categorical(probs=reference))
        value.backward()
        return value

    optimizer.step(loss)
    torch.testing.assert_close(
        logits.detach().softmax(0), optimum(reference, reward, 0.7).policy, atol=1e-6, rtol=0
    )


@given(weights, st.data())
def test_entropies_against_torch(values, data):
    other = data.draw(st.lists(st.floats(0.01, 10), min_size=len(values), max_size=len(values)))
    p, q = (checked_distribution(torch.tensor(x, dtype=torch.float64)) for x in (values, other))
    assert kl(p, q) == pytest.approx(float(kl_divergence(Categorical(p), Categorical(q))), abs=1e-9)
    assert entropy(p) == pytest.approx(float(Categorical(p).entropy()))
    assert cross_entropy(p, q) == pytest.approx(float(torch.nn.functional.cross_entropy(q.log(), p)))


@pytest.mark.parametrize(
    ("reference", "reward", "beta"),
    [
        ([1.0], [1.0], 1.0),
        ([1.0] * 13, [1.0] * 13, 1.0),
        ([1.0, 0.0], [1.0, 2.0], 1.0),
        ([1.0, float("nan")], [1.0, 2.0], 1.0),
        ([1.0, 1.0], [1.0], 1.0),
        ([1.0, 1.0], [1.0, float("inf")], 1.0),
        ([1.0, 1.0], [1.0, 2.0], 0.0),
        ([1.0, 1.0], [1.0, 2.0], float("nan")),
    ],
)
def test_what_is_no_problem_is_refused(reference, reward, beta):
    with pytest.raises(InputError):
        optimum(torch.tensor(reference), torch.tensor(reward), beta)
