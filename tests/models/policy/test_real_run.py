"""Real GRPO steps: TRL's loss and torch's optimizer move a copy of the network in the same way."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from models.errors import InputError
from models.networks.catalogue import DEFAULT
from models.networks.loading import fresh_copy, load
from models.networks.sampling import generate
from models.policy.losses import PolicyLoss, Rollout
from models.policy.real_run import GRADIENT_NORM, PolicyRun, check_run, reward_of, train
from tests.models.policy.trl_policy import grpo_advantages, grpo_loss

PROMPT = 'He smiled. "My dear boy,'
RUN = PolicyRun(PROMPT, answers=4, new_tokens=12, steps=2, reward="lipogram", learning_rate=1e-4)


def log_probabilities(model, prompt, tokens, temperature):
    """Plain log_softmax and gather."""
    ids = torch.cat([prompt.expand(len(tokens), -1), tokens], dim=1)
    scores = (model(ids).logits[:, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
    return scores.gather(-1, tokens[..., None])[..., 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": PolicyLoss(aggregation="token_mean", beta=0.1, longest=12), "updates": 2},
        {"temperature": 1.3, "loss": PolicyLoss(aggregation="constant", longest=12)},
    ],
)
def test_the_first_step_is_trls(changes):
    run = replace(RUN, **changes)
    seen = next(train(run))
    found = generate(load(DEFAULT), PROMPT, 4, 12, run.temperature, run.seed)
    assert found.texts == seen.texts  # the first answers are those of the network as it ships
    prompt, tokens = torch.tensor(found.prompt_ids), torch.tensor(found.token_ids)
    mask = torch.ones(4, 12)
    made = grpo_advantages(seen.rewards[None], "group")[0]
    assert_close(seen.advantages, made)
    model = fresh_copy(DEFAULT).requires_grad_()
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.learning_rate, weight_decay=0.0)
    old = log_probabilities(model, prompt, tokens, run.temperature).detach()
    name = {"sequence_mean": "grpo", "token_mean": "dapo", "constant": "dr_grpo"}[run.loss.aggregation]
    for update in range(run.updates):
        log_p = log_probabilities(model, prompt, tokens, run.temperature)
        loss = grpo_loss(Rollout(log_p, old, old, made, mask), run.loss, name)
        if update == 0:
            assert seen.loss == pytest.approx(float(loss.detach()), abs=1e-6)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        optimizer.step()
    after = log_probabilities(model, prompt, tokens, run.temperature).detach()
    assert_close(seen.ratios, (after - old).exp(), rtol=2e-3, atol=2e-3)


def test_nothing_shared_is_touched_and_a_run_repeats_itself():
    before = {name: weight.clone() for name, weight in load(DEFAULT).model.named_parameters()}
    first, again = list(train(RUN)), list(train(RUN))
    for name, weight in load(DEFAULT).model.named_parameters():
        assert torch.equal(weight, before[name])
    for one, other in zip(first, again, strict=True):
        assert one.texts == other.texts
        assert_close(one.weights, other.weights)
    assert first[0].texts != first[1].texts


@pytest.mark.slow
def test_the_reward_rises():
    run = replace(RUN, steps=8, answers=8, learning_rate=1e-3)
    seen = list(train(run))
    assert seen[-1].rewards.mean() > seen[0].rewards.mean() + 0.1
    assert seen[0].kl == pytest.approx(0, abs=1e-6)
    assert seen[-1].kl > 0.1


def test_on_policy_the_loss_is_zero_and_the_gradient_is_not():
    seen = next(train(RUN))
    assert abs(seen.loss) < 1e-6
    assert seen.gradient_norm > 0.1
    assert_close(seen.weights.sum(1), seen.advantages / 4)


def test_a_group_that_agrees_moves_nothing():
    seen = next(train(replace(RUN, reward="word", word="zzzz")))
    assert not seen.rewards.any()
    assert not seen.weights.any()
    assert_close(seen.ratios, torch.ones_like(seen.ratios), rtol=1e-4, atol=1e-4)


@given(st.text(max_size=40))
def test_rewards_lie_between_nothing_and_one(text):
    for name in ("quote", "word", "lipogram"):
        assert 0 <= reward_of(text, name, "sea") <= 1


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ('" said he.', "quote", 1.0),
        ("”", "quote", 1.0),
        ("no end", "quote", 0.0),
        ("By the Sea.", "word", 1.0),
        ("A dry land", "word", 0.0),
        ("One two three four", "lipogram", 0.5),
        ("", "lipogram", 0.0),
    ],
)
def test_what_earns_a_reward(text, name, expected):
    assert reward_of(text, name, "sea") == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answers": 1}, "2 to 16"),
        ({"steps": 0}, "steps"),
        ({"learning_rate": float("nan")}, "learning rate"),
        ({"temperature": 0.0}, "temperature"),
        ({"reward": "word", "word": " "}, "word"),
        ({"prompt": ""}, "empty"),
        ({"new_tokens": 300}, "room"),
        ({"network": "all-MiniLM-L6-v2"}, "encoder"),
        ({"loss": PolicyLoss(beta=-1.0)}, "β"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(changes, words):
    with pytest.raises(InputError, match=words):
        check_run(replace(RUN, **changes))
