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
from models.moe.layer_training import (
    BALANCINGS,
    BATCH,
    SEQUENCES,
    VALIDATION,
    Knobs,
    LayerSettings,
    LayerTraining,
    SmallMixture,
    balancing_loss,
)

SMALL = LayerSettings(experts=8, chosen=2, width=6, hidden=5, clusters=12, seed=1)


def run(knobs: Knobs, steps: int, settings: LayerSettings = SMALL) -> tuple[LayerTraining, list]:
    training = LayerTraining(settings)
    return training, list(training.steps(lambda: knobs, steps))


@given(st.integers(0, 500), st.floats(-2, 2), st.sampled_from(["sigmoid", "softmax", "hash"]))
def test_the_layer_is_the_weighted_sum_of_its_chosen_experts(seed, push, router):
    layer = SmallMixture(LayerSettings(experts=5, chosen=2, width=4, hidden=3, seed=seed))
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(seed))
    passed = layer(x, torch.zeros(7, dtype=torch.long), Knobs(push=push, router=router))
    out, routing = passed.out, passed.routing
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
    x, y, cluster = first.batch(40)
    assert_close(torch.stack([token @ first.maps[c] for token, c in zip(x, cluster, strict=True)]), y)
    assert torch.equal(cluster, cluster.sort().values)
    one, other = (run(Knobs("sign", bias_rate=0.01), 5)[1][-1] for _ in range(2))
    assert_close(one.load, other.load)
    assert one.loss == other.loss


@pytest.mark.slow
@pytest.mark.parametrize("balancing", BALANCINGS)
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
    assert outcome.left_out == 0


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_large_rate_oscillates():
    late = {}
    for rate in (0.01, 0.3):
        _training, steps = run(Knobs("sign", bias_rate=rate), 200)
        loads = torch.stack([step.load for step in steps[-50:]])
        late[rate] = float((loads.diff(dim=0).abs()).mean())
    assert late[0.3] > 2 * late[0.01]


@pytest.mark.parametrize(
    "change", [{"bias_rate": -1.0}, {"z_weight": -0.1}, {"loss_weight": math.nan}, {"push": math.inf}]
)
def test_bad_knobs_are_refused(change):
    with pytest.raises(InputError):
        Knobs(**change)


def test_more_chosen_than_there_are_is_refused():
    with pytest.raises(InputError, match="9 of 8 experts"):
        LayerSettings(experts=8, chosen=9)


def test_one_expert_is_always_balanced():
    _training, steps = run(Knobs("sign"), 3, LayerSettings(experts=1, chosen=1, width=4, hidden=4))
    assert all(step.max_violation == 0 for step in steps)


def test_experts_that_choose_are_even_and_leave_tokens_out():
    """Each of 8 experts takes the 128 tokens of 512 that score highest with it."""
    knobs = Knobs("none", router="expert_choice")
    training, steps = run(knobs, 30)
    assert all(step.load.tolist() == [BATCH * 2 / 8] * 8 for step in steps)
    assert steps[-1].max_violation == 0 < steps[-1].left_out
    outcome = training.outcome(knobs)
    assert outcome.load.tolist() == [VALIDATION * 2 // 8] * 8
    x, _y, cluster = training.task.validation
    passed = training.layer(x, cluster, knobs)
    scores = passed.logits.softmax(-1)
    for expert in range(8):
        taken = passed.gate[:, expert] > 0
        assert scores[taken, expert].min() >= scores[~taken, expert].max()
        assert_close(passed.gate[taken, expert], scores[taken, expert])
    assert outcome.left_out == pytest.approx(float((passed.gate.sum(1) == 0).float().mean()))


def test_a_hash_sends_a_cluster_always_to_the_same_experts_and_learns_no_router():
    knobs = Knobs("sign", router="hash", bias_rate=0.01)
    training = LayerTraining(SMALL)
    router, bias = training.layer.router.detach().clone(), training.layer.bias.clone()
    steps = list(training.steps(lambda: knobs, 20))
    assert torch.equal(training.layer.router.detach(), router)
    assert torch.equal(training.layer.bias, bias)
    assert steps[-1].loss < steps[0].loss  # its experts learn all the same
    x, _y, cluster = training.task.validation
    chosen = training.layer(x, cluster, knobs).routing.chosen
    for number in range(SMALL.clusters):
        assert len(chosen[cluster == number].unique(dim=0)) <= 1


def test_losses_by_sequence_and_device_are_those_of_their_parts():
    training = LayerTraining(SMALL)
    x, _y, cluster = training.task.batch(64)
    passed = training.layer(x, cluster, Knobs())
    part = 64 // SEQUENCES
    pieces = [
        balancing_loss(training.layer(x[at : at + part], cluster[at : at + part], Knobs()), "loss", 1)
        for at in range(0, 64, part)
    ]
    assert_close(balancing_loss(passed, "sequence", 1), torch.stack(pieces).mean())
    assert_close(balancing_loss(passed, "device", 8), balancing_loss(passed, "loss", 1))
    assert balancing_loss(passed, "device", 1).item() == pytest.approx(1)
    assert balancing_loss(passed, "sign", 1).item() == 0


@pytest.mark.slow
def test_a_loss_by_device_evens_devices_and_not_their_experts():
    settings = LayerSettings()
    by_expert, by_device, nothing = (
        run(Knobs(balancing, loss_weight=1.0), 400, settings)[0].outcome()
        for balancing in ("loss", "device", "none")
    )
    assert by_device.device_violation < 0.5 * nothing.device_violation
    assert by_device.max_violation > 2 * by_expert.max_violation


def test_a_z_loss_holds_logits_small():
    free, held = (run(Knobs("none", router="softmax", z_weight=z), 150)[1][-1] for z in (0.0, 0.1))
    assert held.z < 0.7 * free.z


@pytest.mark.slow
def test_a_softmax_router_is_evened_by_its_bias():
    free, even = (
        run(Knobs(b, bias_rate=0.01, router="softmax"), 300, LayerSettings())[0].outcome(
            Knobs(router="softmax")
        )
        for b in ("none", "sign")
    )
    assert even.max_violation < 0.5 * free.max_violation
