"""Sampled answers: transformers' own generate finds the same, and one pass gives the same numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from models.errors import InputError
from models.networks.catalogue import DEFAULT
from models.networks.loading import load
from models.networks.sampling import answer_lengths, generate
from tests.models.networks.tiny_networks import gpt2_config, llama_config, mixtral_config, neox_config

PROMPT = '"Who rang it?" asked the boy. "Nobody'
CONFIGS = {"llama": llama_config, "gpt2": gpt2_config, "neox": neox_config, "mixtral": mixtral_config}


@pytest.fixture(params=[*CONFIGS, DEFAULT])
def network(request, build):
    name = request.param
    return load(DEFAULT if name == DEFAULT else str(build(CONFIGS[name]())))


def test_the_likeliest_tokens_are_those_of_transformers(network):
    found = generate(network, PROMPT, 2, 12, temperature=0.0, seed=0)
    prompt = torch.tensor(found.prompt_ids)[None]
    theirs = network.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=0,
    )[0, prompt.shape[1] :]
    for row, length in zip(found.token_ids, found.lengths, strict=True):
        assert row[:length].tolist() == theirs.tolist()[:length]


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, 2.5])
def test_log_probabilities_are_those_of_one_pass_without_a_cache(network, temperature):
    found = generate(network, PROMPT, 3, 10, temperature, seed=5)
    tokens = torch.tensor(found.token_ids)
    prompt = torch.tensor(found.prompt_ids).expand(3, -1)
    with torch.no_grad():
        logits = network.model(torch.cat([prompt, tokens], dim=1), use_cache=False).logits
    scores = logits[:, len(found.prompt_ids) - 1 : -1].float() / (temperature or 1.0)
    expected = -torch.nn.functional.cross_entropy(scores.transpose(1, 2), tokens, reduction="none")
    is_answer = torch.arange(10) < torch.tensor(found.lengths)[:, None]
    assert_close(
        torch.tensor(found.log_probabilities), torch.where(is_answer, expected, 0.0), atol=2e-4, rtol=1e-4
    )


def test_a_seed_repeats_the_answers_and_another_one_does_not():
    network = load(DEFAULT)
    first, again, other = (generate(network, PROMPT, 4, 16, 1.0, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.token_ids, again.token_ids)
    assert first.texts == again.texts
    assert not np.array_equal(first.token_ids, other.token_ids)
    assert len(set(first.texts)) > 1


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    generate(load(DEFAULT), PROMPT, 2, 4, 1.0, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_tokens_come_as_often_as_the_network_says():
    """4,096 first tokens against softmax of the logits, within five standard deviations."""
    network = load(DEFAULT)
    rows = [generate(network, PROMPT, 64, 1, 1.3, seed).token_ids for seed in range(64)]
    counts = np.bincount(np.concatenate(rows)[:, 0], minlength=network.vocabulary)
    with torch.no_grad():
        ids = torch.tensor(generate(network, PROMPT, 1, 1, 0.0, 0).prompt_ids)[None]
        expected = (network.model(ids).logits[0, -1] / 1.3).softmax(-1).numpy()
    likely = expected > 0.01
    spread = np.sqrt(expected * (1 - expected) / 4_096)
    assert (np.abs(counts / 4_096 - expected) < 5 * spread)[likely].all()


def test_an_answer_ends_at_its_end_token(build):
    """GPT-2's end token, made the likeliest by its embedding."""
    network = load(str(build(gpt2_config(), seed=3)))
    found = generate(network, PROMPT, 48, 20, 3.0, seed=0)
    ended = found.lengths < 20
    assert 0 < ended.sum() < 48
    for row, chosen, length in zip(found.token_ids, found.log_probabilities, found.lengths, strict=True):
        assert 0 not in row[: length - 1]
        assert not row[length:].any()
        assert not chosen[length:].any()


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=5))
def test_lengths_count_to_the_first_end(rows):
    found = answer_lengths(torch.tensor(rows), torch.tensor([3, 2]))
    expected = [next((i + 1 for i, token in enumerate(row) if token >= 2), 6) for row in rows]
    assert found.tolist() == expected


def test_texts_are_the_tokens_decoded():
    network = load(DEFAULT)
    found = generate(network, PROMPT, 3, 8, 1.0, seed=0)
    for row, text in zip(found.token_ids, found.texts, strict=True):
        assert network.tokenizer.decode(row.tolist(), clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 0}, "answers"),
        ({"count": 65}, "answers"),
        ({"new_tokens": 0}, "room"),
        ({"new_tokens": 256}, "room"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"prompt": " "}, "empty"),
        ({"prompt": "a bell " * 400}, "tokens"),
    ],
)
def test_what_cannot_be_sampled_is_refused(settings, words):
    asked = {"prompt": PROMPT, "count": 2, "new_tokens": 4, "temperature": 1.0, "seed": 0} | settings
    with pytest.raises(InputError, match=words):
        generate(load(DEFAULT), **asked)


def test_an_encoder_is_refused():
    with pytest.raises(InputError, match="encoder"):
        generate(load("all-MiniLM-L6-v2"), PROMPT, 1, 1, 1.0, 0)


@pytest.mark.slow
def test_an_answer_may_fill_the_context_to_its_last_position():
    network = load(DEFAULT)
    room = network.context - len(generate(network, PROMPT, 1, 1, 0.0, 0).prompt_ids)
    full = generate(network, PROMPT, 1, room, 0.0, seed=0)
    assert len(full.prompt_ids) + full.token_ids.shape[1] == network.context
    prompt = torch.tensor(full.prompt_ids)[None]
    theirs = network.model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=room, do_sample=False, pad_token_id=0
    )[0, prompt.shape[1] :]
    assert full.token_ids[0].tolist()[: full.lengths[0]] == theirs.tolist()[: full.lengths[0]]
    with pytest.raises(InputError, match=f"1 to {room} new ones; {room + 1} were"):
        generate(network, PROMPT, 1, room + 1, 0.0, seed=0)
