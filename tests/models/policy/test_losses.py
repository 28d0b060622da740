"""Policy losses: TRL's own trainers on random batches, published vectors, gradients by two ways."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from models.errors import InputError
from models.policy.group_advantages import METHODS, advantages
from models.policy.losses import (
    AGGREGATIONS,
    ESTIMATORS,
    KINDS,
    PolicyLoss,
    Rollout,
    aggregate,
    entropy_bonus,
    gradients,
    is_clipped,
    kl_penalty,
    kl_terms,
    objective,
    ratios,
    token_gradients,
    token_losses,
    token_weights,
)
from tests.models.policy.trl_policy import grpo_loss, rloo_advantages, rloo_loss

# TRL's name, the kind, the average
TYPES = [
    ("grpo", "clip", "sequence_mean"),
    ("bnpo", "clip", "token_mean"),
    ("dapo", "clip", "token_mean"),
    ("dr_grpo", "clip", "constant"),
    ("luspo", "clip", "sequence_sum"),
    ("cispo", "cispo", "token_mean"),
    ("sapo", "sapo", "sequence_mean"),
    ("vespo", "vespo", "token_mean"),
]


def batch(seed: int, *, distance: float = 0.4) -> Rollout:
    """Answers of random lengths, near or far from the policy that sampled them."""
    generator = torch.Generator().manual_seed(seed)
    answers, tokens = (int(torch.randint(1, 7, (), generator=generator)) for _ in range(2))

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lengths = torch.randint(1, tokens + 1, (answers, 1), generator=generator)
    log_p = -normal(answers, tokens).abs()
    return Rollout(
        log_p,
        log_p + distance * normal(answers, tokens),
        log_p + distance * normal(answers, tokens),
        normal(answers),
        (torch.arange(tokens) < lengths).double(),
    )


def with_gradient(rollout: Rollout) -> Rollout:
    return replace(rollout, log_p=rollout.log_p.clone().requires_grad_())


SETTINGS = st.builds(
    PolicyLoss,
    epsilon_low=st.sampled_from([0.1, 0.2]),
    epsilon_high=st.sampled_from([0.2, 0.28]),
    delta=st.sampled_from([None, 1.5]),
    cap=st.sampled_from([0.2, 1.2, 5.0]),
    longest=st.integers(6, 20),
    beta=st.sampled_from([0.0, 0.04]),
    corrected=st.booleans(),
)


@pytest.mark.parametrize(("name", "kind", "aggregation"), TYPES)
@given(settings=SETTINGS, seed=st.integers(0, 10_000))
def test_every_loss_of_trls_grpo_trainer_and_its_gradient(name, kind, aggregation, settings, seed):
    rollout, loss = batch(seed), replace(settings, kind=kind, aggregation=aggregation)
    theirs = with_gradient(rollout)
    expected = grpo_loss(theirs, loss, name)
    expected.backward()
    parts, policy, kl = gradients(rollout, loss)
    assert_close(parts.total, expected.detach())
    assert_close(policy + kl, theirs.log_p.grad)


@given(settings=SETTINGS, seed=st.integers(0, 10_000))
def test_gspo_is_trls_sequence_level(settings, seed):
    loss = replace(settings, level="sequence", aggregation="sequence_mean", epsilon_high=4e-2)
    rollout = batch(seed, distance=0.1)
    theirs = with_gradient(rollout)
    expected = grpo_loss(theirs, loss, "grpo")
    expected.backward()
    parts, policy, kl = gradients(rollout, loss)
    assert_close(parts.total, expected.detach())
    assert_close(policy + kl, theirs.log_p.grad)


@given(st.integers(0, 10_000))
def test_rloo_is_trls_own(seed):
    rollout = batch(seed, distance=0.1)
    loss = PolicyLoss(level="sequence_sum", aggregation="sequence_mean")
    theirs = with_gradient(rollout)
    expected = rloo_loss(theirs, loss)
    expected.backward()
    parts, policy, _ = gradients(rollout, loss)
    assert_close(parts.total, expected.detach())
    assert_close(policy, theirs.log_p.grad)


@given(st.integers(0, 10_000), st.integers(2, 4))
def test_kl_in_the_reward_is_what_trls_rloo_takes_off(seed, answers):
    rollout = batch(seed)
    if len(rollout.mask) % answers:
        return
    rewards = rollout.advantages.reshape(-1, answers)
    expected = rloo_advantages(rewards, normalize=False, beta=0.05, rollout=rollout)
    shaped = rewards - kl_penalty(rollout, "k1", 0.05).view_as(rewards)
    assert_close(advantages(shaped, METHODS["rloo"]), expected)


@given(st.integers(0, 10_000))
def test_the_entropy_bonus_is_trls(seed):
    rollout, loss = batch(seed), PolicyLoss(entropy=0.03)
    entropies = rollout.log_p.abs()
    without = grpo_loss(rollout, loss, "dapo")
    expected = without - grpo_loss(rollout, loss, "dapo", entropies=entropies)
    assert_close(entropy_bonus(entropies, rollout.mask, loss.entropy), expected)


def one(ratio: float, advantage: float) -> Rollout:
    """A single token."""
    log_p = torch.tensor([[ratio]], dtype=torch.float64).log()
    none = torch.zeros_like(log_p)
    return Rollout(
        log_p, none, none, torch.tensor([advantage], dtype=torch.float64), torch.ones_like(log_p)
    )


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.5, -0.5), (0.8, -0.8), (1.0, -1.0), (1.2, -1.2), (1.5, -1.2)]
)
def test_published_vectors_of_the_clip(ratio, expected):
    assert objective(one(ratio, 1.0), PolicyLoss()).total.item() == pytest.approx(expected)


def test_a_bad_answer_that_became_likelier_is_not_clipped_without_a_third_end():
    assert objective(one(4.0, -1.0), PolicyLoss()).total.item() == pytest.approx(4.0)
    assert objective(one(4.0, -1.0), PolicyLoss(dual_clip=3.0)).total.item() == pytest.approx(3.0)
    assert objective(one(4.0, -1.0), PolicyLoss(delta=2.0)).total.item() == pytest.approx(2.0)


def test_published_vectors_of_the_averages():
    """rlhf-book, chapter 6: two answers of four and seven tokens."""
    first = torch.tensor([1.0, 1, 1, 1, 10]), torch.tensor([1.0] * 9 + [10.0])
    values, mask = torch.zeros(2, 10), torch.zeros(2, 10)
    for row, losses in enumerate(first):
        values[row, : len(losses)], mask[row, : len(losses)] = losses, 1.0
    found = [float(aggregate(values, mask, name, 10)) for name in AGGREGATIONS[:3]]
    assert found == pytest.approx([(2.8 + 1.9) / 2, 33 / 15, 33 / 20])
    mask = (torch.arange(7) < torch.tensor([[4], [7]])).float()
    weights = [2 * token_weights(mask, name, 11)[:, 0] for name in AGGREGATIONS]
    assert weights[0].tolist() == pytest.approx([0.25, 1 / 7])
    assert (11 * weights[1] / 2).tolist() == pytest.approx([1, 1])
    assert weights[2].tolist() == pytest.approx([1 / 11, 1 / 11])
    assert weights[3].tolist() == pytest.approx([1, 1])


@given(st.integers(0, 10_000), st.sampled_from(AGGREGATIONS[:2]))
def test_averages_are_averages(seed, aggregation):
    mask = batch(seed).mask
    assert float(token_weights(mask, aggregation, 512).sum()) == pytest.approx(1)
    assert float(aggregate(torch.full_like(mask, 3.0), mask, aggregation, 512)) == pytest.approx(3)


@given(st.integers(0, 10_000), st.sampled_from(ESTIMATORS))
def test_kl_terms_are_those_of_their_formulas_and_two_of_them_never_negative(seed, estimator):
    rollout = batch(seed)
    ratio = torch.exp(rollout.reference - rollout.log_p)  # r of Schulman's note
    expected = {"k1": -ratio.log(), "k2": ratio.log() ** 2 / 2, "k3": ratio - 1 - ratio.log()}
    found = kl_terms(rollout.log_p, rollout.reference, estimator)
    assert_close(found, expected[estimator])
    assert estimator == "k1" or (found >= 0).all()


@given(st.integers(0, 10_000), st.sampled_from([None, 1.4]), st.sampled_from([None, 1.3]))
def test_a_token_has_no_gradient_exactly_where_the_clip_binds(seed, delta, dual_clip):
    rollout = batch(seed)
    loss = PolicyLoss(delta=delta, dual_clip=dual_clip, aggregation="sequence_sum")
    _, policy, _ = gradients(rollout, loss)
    bound = is_clipped(ratios(rollout, "token"), rollout.advantages, loss) != 0
    assert torch.equal(policy == 0, bound | (rollout.mask == 0))
    assert_close(token_gradients(rollout, loss), policy)


@pytest.mark.parametrize("kind", ["clip", "cispo", "sapo", "vespo", "reinforce"])
@given(seed=st.integers(0, 10_000))
def test_on_policy_all_losses_have_the_gradient_of_reinforce(kind, seed):
    """At ρ = 1 nothing is clipped; VESPO's weight and SAPO's slope are 1 there."""
    rollout = batch(seed, distance=0.0)
    _, policy, _ = gradients(rollout, PolicyLoss(kind=kind))
    assert_close(policy, -rollout.advantages[:, None] * token_weights(rollout.mask, "token_mean", 512))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10_000), aggregation=st.sampled_from(AGGREGATIONS))
def test_the_closed_forms_are_autograds(kind, seed, aggregation):
    rollout, loss = batch(seed), PolicyLoss(kind, cap=1.1, aggregation=aggregation, longest=9)
    assert_close(token_gradients(rollout, loss), gradients(rollout, loss)[1])


@given(st.integers(0, 10_000))
def test_gradients_agree_with_finite_differences(seed):
    rollout = batch(seed, distance=0.1)
    loss = PolicyLoss(beta=0.1, corrected=True, epsilon_low=0.9, epsilon_high=9.0)

    def total(log_p: torch.Tensor) -> torch.Tensor:
        return objective(replace(rollout, log_p=log_p), loss).total

    _, policy, kl = gradients(rollout, loss)
    step = 1e-6
    for place in zip(*torch.where(rollout.mask > 0), strict=True):
        nudge = torch.zeros_like(rollout.log_p)
        nudge[place] = step
        slope = (total(rollout.log_p + nudge) - total(rollout.log_p - nudge)) / (2 * step)
        assert float((policy + kl)[place]) == pytest.approx(float(slope), abs=1e-6)
    assert_close(policy + kl, jacobian(total, rollout.log_p))


def test_verls_cispo_bounds_around_one():
    rollout = one(3.0, 1.0)
    trl, verl = PolicyLoss(kind="cispo", cap=0.2), PolicyLoss(kind="cispo", cap=1.2, floor=0.8)
    assert token_losses(rollout, trl).item() == pytest.approx(-0.2 * torch.log(torch.tensor(3.0)).item())
    assert token_losses(rollout, verl).item() == pytest.approx(-1.2 * torch.log(torch.tensor(3.0)).item())


@pytest.mark.parametrize(
    "settings",
    [
        {"epsilon_low": 1.5},
        {"epsilon_high": -0.1},
        {"beta": float("nan")},
        {"longest": 0},
    ],
)
def test_what_makes_no_loss_is_refused(settings):
    with pytest.raises(InputError):
        objective(one(1.0, 1.0), PolicyLoss(**settings))


def test_the_clip_binds_at_its_own_edge_on_either_side():
    """ε_low and ε_high differ, as in DAPO: each side has its own; a ratio on it is not clipped."""
    loss = PolicyLoss(epsilon_low=0.25, epsilon_high=0.5)
    ratio = torch.tensor([[0.6, 0.75, 0.8, 1.25, 1.3, 1.5, 1.6]])
    up, down = torch.tensor([1.0]), torch.tensor([-1.0])
    assert is_clipped(ratio, up, loss).tolist() == [[0, 0, 0, 0, 0, 0, 1]]
    assert is_clipped(ratio, down, loss).tolist() == [[-1, 0, 0, 0, 0, 0, 0]]
    assert not is_clipped(ratio, torch.tensor([0.0]), loss).any()


@given(st.integers(0, 10_000), st.floats(0.05, 0.6), st.floats(0.05, 0.6))
def test_an_uneven_clip_has_no_gradient_where_it_binds(seed, low, high):
    rollout, loss = batch(seed), PolicyLoss(epsilon_low=low, epsilon_high=high, aggregation="sequence_sum")
    _, policy, _ = gradients(rollout, loss)
    bound = is_clipped(ratios(rollout, "token"), rollout.advantages, loss) != 0
    assert torch.equal(policy == 0, bound | (rollout.mask == 0))
