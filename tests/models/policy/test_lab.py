"""The small policy: torch's own distributions, TRL's loss and optimizer give the same steps."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical
from torch.testing import assert_close

from models.errors import InputError
from models.policy.lab import (
    ALGORITHMS,
    LENGTH_BONUS,
    LONGEST,
    PROMPTS,
    REWARDS,
    WORDS,
    Lab,
    answer_mask,
    check,
    first_logits,
    log_probabilities,
    own_word,
    reward_of,
    sample,
    train,
)
from models.policy.losses import Rollout
from tests.models.policy.trl_policy import grpo_advantages, grpo_loss

SMALL = Lab(algorithms=("GRPO", "RLOO"), answers=4, seeds=2, steps=3, epochs=2)
TRL_NAMES = {"GRPO": "grpo", "Dr. GRPO": "dr_grpo", "CISPO": "cispo", "SAPO": "sapo"}


def drawn(seed: int, answers: int = 4):
    """Logits of one algorithm and seed, and answers that they gave."""
    logits = first_logits(seed, "right")[None, None]
    uniform = torch.rand(1, PROMPTS, answers, LONGEST, generator=torch.Generator().manual_seed(seed))
    return logits, sample(logits, uniform)


def categorical(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of answers [prompts, answers, tokens], by torch."""
    before = torch.cat([torch.zeros_like(tokens[..., :1]), tokens[..., :-1]], dim=-1)
    return Categorical(logits=logits[torch.arange(PROMPTS)[:, None, None], before]).log_prob(tokens)


@given(st.integers(0, 1_000))
def test_log_probabilities_are_those_of_torchs_categorical(seed):
    logits, tokens = drawn(seed)
    expected = categorical(logits[0, 0], tokens[0, 0])
    assert_close(log_probabilities(logits, tokens)[0, 0], expected)


def test_tokens_come_as_often_as_their_probabilities_say():
    logits = first_logits(0, "right")[None, None]
    uniform = torch.rand(1, PROMPTS, 20_000, 1, generator=torch.Generator().manual_seed(1))
    counts = torch.nn.functional.one_hot(sample(logits, uniform)[0, 0, :, :, 0], WORDS + 1).float().mean(1)
    expected = logits[0, 0, :, 0].softmax(-1)
    assert ((counts - expected).abs() < 5 * (expected * (1 - expected) / 20_000).sqrt() + 1e-6).all()


@given(st.integers(0, 1_000))
def test_after_its_end_an_answer_only_repeats_it(seed):
    _, tokens = drawn(seed)
    mask = answer_mask(tokens)
    assert not tokens[~mask].any()
    for row, kept in zip(tokens.reshape(-1, LONGEST), mask.reshape(-1, LONGEST), strict=True):
        ends = (row == 0).nonzero()
        assert kept.sum() == (int(ends[0]) + 1 if len(ends) else LONGEST)


def test_an_answer_is_right_if_it_ends_in_the_prompts_own_word():
    tokens = torch.zeros(1, 1, PROMPTS, 3, LONGEST, dtype=torch.long)
    for prompt in range(PROMPTS):
        own = own_word(prompt)
        other = 1 + own % WORDS
        tokens[0, 0, prompt, 0, :2] = torch.tensor([other, own])
        tokens[0, 0, prompt, 1, :2] = torch.tensor([own, other])
        tokens[0, 0, prompt, 2, :] = own  # never ends
    rewards, right = reward_of(tokens, answer_mask(tokens), "right")
    assert torch.equal(rewards, right)
    assert torch.equal(right[0, 0], torch.tensor([[1.0, 0.0, 0.0]] * PROMPTS))
    hackable, _ = reward_of(tokens, answer_mask(tokens), "hackable")
    assert_close((hackable - right)[0, 0, 0], LENGTH_BONUS * torch.tensor([3.0, 3.0, LONGEST]) / LONGEST)


@pytest.mark.parametrize("name", TRL_NAMES)
def test_two_steps_are_those_of_trls_loss_and_torchs_adam(name):
    """The same answers, with TRL's advantages and loss on each, and torch's optimizer."""
    lab = Lab(algorithms=(name,), answers=4, seeds=1, steps=3, epochs=2)
    algorithm = ALGORITHMS[name]
    logits = first_logits(0, "right").clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=lab.rate)
    generator = torch.Generator().manual_seed(lab.seed)
    for seen in train(lab):
        uniform = torch.rand(1, PROMPTS, lab.answers, LONGEST, generator=generator)
        tokens = sample(logits.detach()[None, None], uniform)
        mask = answer_mask(tokens)[0, 0].float().flatten(0, 1)
        rewards, right = reward_of(tokens, answer_mask(tokens), "right")
        assert_close(seen.right[0, 0], right.mean())
        scale = "none" if name == "Dr. GRPO" else "group"
        made = grpo_advantages(rewards[0, 0], scale).flatten()
        old = categorical(logits, tokens[0, 0]).flatten(0, 1).detach()
        for _epoch in range(lab.epochs):
            log_p = categorical(logits, tokens[0, 0]).flatten(0, 1)
            optimizer.zero_grad()
            grpo_loss(Rollout(log_p, old, old, made, mask), algorithm.loss, TRL_NAMES[name]).backward()
            optimizer.step()


def test_algorithms_of_a_batch_do_not_touch_each_other_and_share_their_random_numbers():
    together = list(train(SMALL))
    for place, name in enumerate(SMALL.algorithms):
        alone = list(train(replace(SMALL, algorithms=(name,))))
        for step, single in zip(together, alone, strict=True):
            assert_close(step.right[place], single.right[0])
            assert_close(step.kl[place], single.kl[0])
    first = together[0]
    assert torch.equal(first.right[0], first.right[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_learns_the_task(name):
    steps = list(train(Lab(algorithms=(name,), seeds=2, steps=70)))
    assert steps[-1].right.mean() > steps[0].right.mean() + 0.4


def test_a_reward_that_likes_length_makes_wrong_answers_longer():
    steps = list(train(Lab(algorithms=("GRPO",), reward="hackable", seeds=2, steps=80)))
    assert steps[-1].wrong_length.nanmean() > steps[0].wrong_length.nanmean() + 2
    assert steps[-1].reward.mean() > steps[-1].right.mean()


def test_kl_holds_the_policy_back_and_the_entropy_bonus_keeps_it_random():
    free, held, random = (
        list(train(replace(SMALL, steps=40, beta=beta, entropy=entropy)))[-1]
        for beta, entropy in ((0.0, 0.0), (1.0, 0.0), (0.0, 0.3))
    )
    assert held.kl.mean() < free.kl.mean() / 2
    assert random.entropy.mean() > free.entropy.mean()


def test_hard_prompts_leave_groups_dead():
    first = next(train(replace(SMALL, reward="hard")))
    assert first.dead.mean() > 0.9
    assert set(REWARDS) == {"right", "hackable", "hard"}


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithms": ()},
        {"algorithms": ("PPO!",)},
        {"answers": 1},
        {"steps": 10_000},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"epochs": 0},
        {"beta": -1.0},
    ],
)
def test_what_cannot_be_run_is_refused(changes):
    with pytest.raises(InputError):
        check(replace(SMALL, **changes))
