"""The small layer: its forward against a loop over tokens, its knobs, and what each balancing reaches."""

import math
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import linear
from torch.testing import assert_close

from models.errors import InputError
from models.moe_training import BATCH, Knobs, LayerSettings, LayerTraining, SmallMixture

SMALL = LayerSettings(experts=8, chosen=2, width=6, hidden=5, clusters=12, seed=1)


def run(knobs: Knobs, steps: int, settings: LayerSettings = SMALL) -> tuple[LayerTraining, list]:
    training = LayerTraining(settings)
    return training, list(training.steps(lambda: knobs, steps))


@given(st.integers(0, 500), st.floats(-2, 2))
def test_the_layer_is_the_weighted_sum_of_its_chosen_experts(seed, push):
    layer = SmallMixture(LayerSettings(experts=5, chosen=2, width=4, hidden=3, seed=seed))
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(seed))
    out, routing = layer(x, push)
    inward = layer.inward.T.reshape(5, 3, 4)
    outward = layer.outward.T.reshape(4, 5, 3).transpose(0, 1)
    for token, experts, weights, result in zip(x, routing.chosen, routing.weights, out, strict=True):
        parts = [
            weight * linear(linear(token, inward[expert]).relu(), outward[expert])
            for expert, weight in zip(experts, weights, strict=True)
        ]
        assert_close(result, torch.stack(parts).sum(0), atol=1e-5, rtol=1e-4)


def test_targets_are_linear_in_their_cluster_and_runs_repeat():
    first, second = LayerTraining(SMALL).task, LayerTraining(SMALL).task
    assert_close(first.validation, second.validation)
    x, y = first.batch(40)
    errors = [((x @ weight - y).norm(dim=1) < 1e-4) for weight in first.maps]
    assert torch.stack(errors).any(0).all()
    one, other = (run(Knobs("sign", bias_rate=0.01), 5)[1][-1] for _ in range(2))
    assert_close(one.load, other.load)
    assert one.loss == other.loss


@pytest.mark.parametrize("balancing", ["none", "loss", "sign", "proportional"])
def test_every_balancing_learns(balancing):
    training, steps = run(Knobs(balancing, bias_rate=0.01), 150)
    assert [step.step for step in steps] == list(range(1, 151))
    assert all(float(step.load.sum()) == BATCH * 2 for step in steps)
    assert sum(step.loss for step in steps[-10:]) < 0.8 * sum(step.loss for step in steps[:10])
    moved = bool(steps[-1].bias.abs().sum() > 0)
    assert moved == (balancing in ("sign", "proportional"))
    outcome = training.outcome()
    assert int(outcome.load.sum()) == 2 * 4_096
    assert outcome.loss < 1


def test_balance_orders_as_published():
    """Bias: far better balance than none, at less cost to the loss than a weight that balances as well."""
    settings = LayerSettings()
    none, bias, weighed = (
        run(knobs, 400, settings)[0].outcome()
        for knobs in (Knobs("none"), Knobs("sign", bias_rate=0.01), Knobs("loss", loss_weight=1.0))
    )
    assert bias.max_violation < 0.5 * none.max_violation
    assert weighed.max_violation < 0.5 * none.max_violation
    assert bias.loss < weighed.loss


def test_knobs_are_read_at_every_step():
    knobs = Knobs("sign", bias_rate=0.01)
    training = LayerTraining(SMALL)
    steps = training.steps(lambda: knobs, 60)
    moving = list(islice(steps, 10))
    assert not torch.equal(moving[-1].bias, moving[-2].bias)
    knobs = Knobs("sign", bias_rate=0.01, frozen=True)
    still = list(islice(steps, 5))
    assert all(torch.equal(step.bias, moving[-1].bias) for step in still)
    knobs = Knobs("none", push=8.0)
    pushed = list(islice(steps, 5))
    assert all(float(step.load[0]) == BATCH for step in pushed)  # every token: collapse on demand
    assert pushed[-1].max_violation == pytest.approx(8 / 2 - 1)


def test_a_large_rate_oscillates():
    late = {}
    for rate in (0.01, 0.3):
        _training, steps = run(Knobs("sign", bias_rate=rate), 200)
        loads = torch.stack([step.load for step in steps[-50:]])
        late[rate] = float((loads.diff(dim=0).abs()).mean())
    assert late[0.3] > 2 * late[0.01]


@pytest.mark.parametrize("change", [{"bias_rate": -1.0}, {"loss_weight": math.nan}, {"push": math.inf}])
def test_bad_knobs_are_refused(change):
    with pytest.raises(InputError):
        Knobs(**change)


def test_more_chosen_than_there_are_is_refused():
    with pytest.raises(InputError, match="9 of 8 experts"):
        LayerSettings(experts=8, chosen=9)


def test_one_expert_is_always_balanced():
    _training, steps = run(Knobs("sign"), 3, LayerSettings(experts=1, chosen=1, width=4, hidden=4))
    assert all(step.max_violation == 0 for step in steps)
