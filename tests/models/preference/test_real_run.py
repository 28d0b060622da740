"""Real preference steps against TRL's loss, torch.optim and the network that must stay as it is."""

import math

import numpy as np
import pytest
import torch

from models.errors import InputError
from models.networks.catalogue import DEFAULT
from models.networks.loading import fresh_copy, load
from models.networks.scoring import answer_batch, answer_log_probabilities, score
from models.preference.losses import LossSettings
from models.preference.real_run import Duel, train_on_pair
from tests.models.networks.tiny_networks import bert_config, llama_config
from tests.models.preference.trl_preference import trl_dpo_loss

PROMPT, CHOSEN, REJECTED = "Margery rowed out to the", " bell on the rock.", " river"


@pytest.fixture(scope="module")
def name(build):
    return str(build(llama_config()))


def by_trl_and_torch(duel: Duel) -> list[tuple[float, float, float]]:
    """The same run: TRL's loss code on the policy's log-probabilities, torch.optim.AdamW."""
    network = load(duel.network)
    batch = answer_batch(network, duel.prompt, (duel.chosen, duel.rejected))
    policy = fresh_copy(duel.network).requires_grad_(True)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=duel.learning_rate, weight_decay=0.0)
    reference = answer_log_probabilities(fresh_copy(duel.network), batch).detach()
    found = []
    for _ in range(duel.steps + 1):
        log_p = answer_log_probabilities(policy, batch)
        loss, _ = trl_dpo_loss(log_p, reference, batch.is_answer[:, 1:], (duel.loss,), duel.settings)
        found.append((loss.item(), *log_p.sum(1).tolist()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "apo_zero", "robust"])
def test_a_run_is_that_of_trls_loss(name, loss):
    duel = Duel(name, PROMPT, CHOSEN, REJECTED, loss, LossSettings(smoothing=0.1), 4, 1e-3)
    *_, last = train_on_pair(duel)
    expected = np.array(by_trl_and_torch(duel))
    ours = np.stack([last.losses, last.chosen, last.rejected], axis=1)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
    assert last.step == 4


def test_dpo_begins_at_ln_2_and_learns_the_preference(name):
    *_, last = train_on_pair(Duel(name, PROMPT, CHOSEN, REJECTED, steps=8, learning_rate=1e-3))
    assert last.losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert last.losses[-1] < last.losses[0]
    assert last.chosen[-1] - last.rejected[-1] > last.chosen[0] - last.rejected[0]


def test_what_the_tokens_get(name):
    beta = 0.3
    first = next(train_on_pair(Duel(name, PROMPT, CHOSEN, REJECTED, settings=LossSettings(beta=beta))))
    chosen, rejected = first.pulls
    np.testing.assert_allclose(chosen.by_log_probability, -beta / 2, rtol=1e-4)
    np.testing.assert_allclose(rejected.by_log_probability, beta / 2, rtol=1e-4)
    # ‖∂L/∂logits‖ = |∂L/∂log π| ‖onehot − p‖, with p from transformers' own pass
    network = load(name)
    batch = answer_batch(network, PROMPT, (CHOSEN,))
    p = network.model(batch.token_ids).logits[0, :-1].softmax(-1)
    onehot = torch.nn.functional.one_hot(batch.token_ids[0, 1:], p.shape[1])
    expected = beta / 2 * (onehot - p).norm(dim=1)[batch.is_answer[0, 1:]]
    np.testing.assert_allclose(chosen.by_logits, expected.numpy(), rtol=1e-3, atol=1e-6)


def test_the_network_of_all_sessions_stays_as_it_is(name):
    network = load(name)
    before = {key: value.clone() for key, value in network.model.state_dict().items()}
    list(train_on_pair(Duel(name, PROMPT, CHOSEN, REJECTED, steps=2, learning_rate=0.1, noise=0.5)))
    assert all(torch.equal(value, before[key]) for key, value in network.model.state_dict().items())


def test_a_noisy_reference_is_another_and_the_same_again(name):
    def reference(noise: float, seed: int) -> float:
        return (
            next(train_on_pair(Duel(name, PROMPT, CHOSEN, REJECTED, noise=noise, seed=seed)))
            .reference[0]
            .total
        )

    (plain, _) = score(load(name), PROMPT, (CHOSEN, REJECTED))
    assert reference(0.0, 0) == pytest.approx(plain.total)
    assert reference(0.2, 0) == reference(0.2, 0)
    assert reference(0.2, 0) != reference(0.2, 1)
    assert reference(0.2, 0) != pytest.approx(plain.total, abs=1e-3)


def test_the_greedy_continuation_is_that_of_transformers(name):
    first = next(train_on_pair(Duel(name, PROMPT, CHOSEN, REJECTED)))
    network = load(name)
    ids = torch.tensor([network.tokenizer(PROMPT)["input_ids"]])
    generated = fresh_copy(name).generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16, pad_token_id=0
    )
    assert first.continuation == network.tokenizer.decode(generated[0, ids.shape[1] :])


def test_one_step_on_the_network_that_ships():
    steps = list(train_on_pair(Duel(DEFAULT, "The bell", " rang.", " sang.", steps=1)))
    assert len(steps) == 2
    assert len(steps[-1].pulls[0].by_logits) == len(steps[-1].pulls[0].score.labels)


@pytest.mark.parametrize(
    "bad",
    [
        {"loss": "aot"},
        {"loss": "no such"},
        {"steps": -1},
        {"steps": 10_000},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"noise": 2.0},
        {"noise": math.nan},
    ],
)
def test_runs_that_are_none(name, bad):
    with pytest.raises(InputError):
        Duel(name, PROMPT, CHOSEN, REJECTED, **bad)


def test_an_encoder_and_empty_answers_are_refused_before_any_work(name, build):
    with pytest.raises(InputError, match="encoder"):
        next(train_on_pair(Duel(str(build(bert_config())), PROMPT, CHOSEN, REJECTED)))
    with pytest.raises(InputError, match="Answer 2"):
        next(train_on_pair(Duel(name, PROMPT, CHOSEN, "")))
