"""Scores of answers against the loss that transformers computes itself."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from models.errors import InputError
from models.networks.loading import load
from models.networks.scoring import MOST_ANSWERS, answer_batch, answer_log_probabilities, score
from models.runtime.settings import settings
from tests.models.networks.tiny_networks import (
    bert_config,
    gpt2_config,
    llama_config,
    mixtral_config,
    neox_config,
)

CONFIGS = {
    "llama": llama_config(),
    "gpt2": gpt2_config(),
    "gpt_neox": neox_config(),
    "mixtral, window of 5": mixtral_config(),
}
PROMPT = "Margery rowed out to the"
ANSWERS = (" bell on the rock.", " river", "茶 and nobody rang it, said the miller.")


@pytest.fixture(params=CONFIGS, scope="module")
def network(request, build):
    return load(str(build(CONFIGS[request.param])))


def transformers_loss(network, prompt: str, answer: str) -> tuple[float, list[int]]:
    """The mean loss of transformers' own loss function, with the prompt left out by −100."""
    model = AutoModelForCausalLM.from_pretrained(network.entry.location, attn_implementation="sdpa").eval()
    first = network.tokenizer(prompt)["input_ids"]
    then = network.tokenizer(answer, add_special_tokens=False)["input_ids"]
    labels = torch.tensor([[-100] * len(first) + then])
    with torch.no_grad():
        return float(model(torch.tensor([first + then]), labels=labels).loss), then


def test_the_mean_is_transformers_own_loss(network):
    for answer, found in zip(ANSWERS, score(network, PROMPT, ANSWERS), strict=True):
        loss, ids = transformers_loss(network, PROMPT, answer)
        assert found.token_ids.tolist() == ids
        assert len(found.labels) == len(found.log_probabilities) == len(ids)
        assert found.mean == pytest.approx(-loss, rel=1e-5)
        assert found.total == pytest.approx(-loss * len(ids), rel=1e-5)
        assert (found.log_probabilities < 0).all()


def test_an_answer_alone_scores_as_among_others(network):
    together = score(network, PROMPT, ANSWERS)
    for answer, found in zip(ANSWERS, together, strict=True):
        (alone,) = score(network, PROMPT, (answer,))
        np.testing.assert_allclose(alone.log_probabilities, found.log_probabilities, atol=1e-5)


def test_two_parts_of_an_answer_add_up(network):
    # the same tokens: the tokenizer splits before a space anyway
    (whole,) = score(network, PROMPT, (" bell on the rock.",))
    (first,) = score(network, PROMPT, (" bell on",))
    (second,) = score(network, PROMPT + " bell on", (" the rock.",))
    assert [*first.token_ids, *second.token_ids] == whole.token_ids.tolist()
    assert whole.total == pytest.approx(first.total + second.total, rel=1e-5)


def test_the_gradient_reaches_a_copy_and_not_the_network(build):
    network = load(str(build(llama_config())))
    copy = AutoModelForCausalLM.from_pretrained(network.entry.location)
    batch = answer_batch(network, PROMPT, ANSWERS)
    answer_log_probabilities(copy, batch).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in copy.parameters())
    assert not any(p.requires_grad for p in network.model.parameters())


def test_nothing_live_comes_back(network):
    (found,) = score(network, PROMPT, (" river",))
    assert isinstance(found.token_ids, np.ndarray)
    assert isinstance(found.log_probabilities, np.ndarray)


@pytest.mark.parametrize(
    ("prompt", "answers", "sentence"),
    [
        ("", (" a",), "The text is empty"),
        ("Margery", (" a", "  "), "Answer 2 is empty"),
        ("Margery", (), "There are 0 answers"),
        ("Margery", (" a",) * (MOST_ANSWERS + 1), "There are 17 answers"),
        ("Margery", (" a", " bell" * 100), "Prompt and answer 2 make"),
        ("Margery", ("\ud83d",), "surrogate"),
    ],
)
def test_what_cannot_be_scored_is_refused(build, prompt, answers, sentence):
    with pytest.raises(InputError, match=sentence):
        score(load(str(build(llama_config()))), prompt, answers)


def test_an_encoder_is_refused(build):
    with pytest.raises(InputError, match="encoder"):
        score(load(str(build(bert_config()))), PROMPT, ANSWERS)


def test_the_settings_bound_the_length(build, monkeypatch):
    network = load(str(build(llama_config())))
    settings.cache_clear()
    monkeypatch.setenv("LOUPE_TEXT_TOKENS", "8")
    with pytest.raises(InputError, match="at most 8"):
        score(network, PROMPT, ANSWERS)
