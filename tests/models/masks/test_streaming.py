"""Streaming: the cache that is really cut gives what one masked pass gives, on real weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM

from models.errors import InputError
from models.masks.streaming import (
    LONGEST_STREAM,
    check_stream,
    decode,
    running_mean,
    stream_logits,
)
from models.networks.key_cache import POSITIONS, KeyCache
from models.networks.loading import load
from models.networks.texts import passages
from models.numerics.token_losses import token_losses
from tests.models.networks.tiny_networks import gpt2_config, gpt2_tokenizer

ROUNDING = 1e-4  # float32, summed in another order


@pytest.fixture(scope="module")
def network():
    return load("loupe-llama")


@pytest.fixture(scope="module")
def text(network):
    encoded = network.tokenizer.backend_tokenizer.encode(passages()[0].text)
    return torch.tensor(encoded.ids[:330])  # beyond the 256 tokens of training


# The passes


CACHES = [
    KeyCache(),
    KeyCache(40),
    KeyCache(40, 4),
    KeyCache(40, 4, "cache"),
    KeyCache(1),
    KeyCache(1, 3, "cache"),
    KeyCache(8, 60, "cache"),
    KeyCache(500, 4, "cache"),
]


@pytest.mark.slow
@pytest.mark.parametrize("cache", CACHES, ids=str)
@pytest.mark.parametrize("prefill", [2, 150])
def test_prefill_and_decode_give_what_the_full_pass_gives(network, text, cache, prefill):
    text = text[:290]
    expected = token_losses(stream_logits(network, text, cache), text)[prefill - 1 :]
    read = list(decode(network, text, prefill, cache))
    assert [one.token for one in read] == list(range(prefill - 1, len(text) - 1))
    torch.testing.assert_close(torch.tensor([one.loss for one in read]), expected, atol=ROUNDING, rtol=1e-4)
    if cache.size is not None:
        assert all(one.keys == min(one.token + 1, cache.size) for one in read[1:])


def test_everything_kept_is_the_networks_own_pass(network, text):
    with torch.no_grad():
        own = network.model(text[None], use_cache=False).logits[0]
    torch.testing.assert_close(stream_logits(network, text, KeyCache()), own, atol=ROUNDING, rtol=1e-4)
    torch.testing.assert_close(
        stream_logits(network, text, KeyCache(len(text), 4, "cache")), own, atol=ROUNDING, rtol=1e-4
    )
    expected = network.model(text[None], labels=text[None], use_cache=False).loss
    assert float(token_losses(own, text).mean()) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("window", [1, 7, 64])
def test_a_window_is_the_sliding_window_of_transformers(network, text, window):
    """The same weights as a Mistral, whose sliding window transformers masks itself."""
    settings = network.model.config.to_dict() | {"sliding_window": window}
    settings = {key: value for key, value in settings.items() if key not in ("model_type", "architectures")}
    mistral = MistralForCausalLM._from_config(MistralConfig(**settings), attn_implementation="eager").eval()
    mistral.load_state_dict(network.model.state_dict())
    with torch.no_grad():
        expected = mistral(text[None], use_cache=False).logits[0]
    ours = stream_logits(network, text, KeyCache(window))
    torch.testing.assert_close(ours, expected, atol=ROUNDING, rtol=1e-4)


def test_positions_of_the_window_are_relative_and_those_of_the_sinks_are_not(network, text):
    """Without sinks the position of the cache does not matter; with sinks it does."""
    plain, moved = (stream_logits(network, text, KeyCache(32, 0, kind)) for kind in POSITIONS)
    torch.testing.assert_close(plain, moved)
    plain, moved = (stream_logits(network, text, KeyCache(32, 4, kind)) for kind in POSITIONS)
    torch.testing.assert_close(plain[:36], moved[:36], atol=ROUNDING, rtol=1e-4)  # nothing has left yet
    assert (plain[60:] - moved[60:]).abs().max() > 0.1


def test_a_pass_leaves_nothing_behind(network, text):
    with torch.no_grad():
        before = network.model(text[None, :50], use_cache=False).logits
        stream_logits(network, text, KeyCache(8, 4, "cache"))
        after = network.model(text[None, :50], use_cache=False).logits
    assert torch.equal(before, after)


# Numbers


@given(values=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=60), width=st.integers(1, 70))
@settings(max_examples=25)
def test_the_running_mean_is_that_of_a_slice(values, width):
    found = running_mean(torch.tensor(values), width)
    for index, mean in enumerate(found):
        before = values[max(0, index + 1 - width) : index + 1]
        assert float(mean) == pytest.approx(sum(before) / len(before), abs=1e-4)


# Refusals


def test_too_short_and_too_long_texts_are_refused(network):
    for tokens in (1, LONGEST_STREAM + 1):
        with pytest.raises(InputError, match=f"There are {tokens} tokens; this network can stream"):
            stream_logits(network, torch.zeros(tokens, dtype=torch.long), KeyCache())


@pytest.mark.parametrize("prefill", [0, -3, 29, 400])
def test_a_prefill_that_leaves_nothing_is_refused(network, text, prefill):
    with pytest.raises(InputError, match="from 1 to 28 tokens are"):
        next(decode(network, text[:30], prefill, KeyCache()))


def test_a_network_with_learned_positions_streams_within_them_and_cannot_turn_keys(tmp_path):
    from transformers import GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(gpt2_config()).save_pretrained(tmp_path)
    gpt2_tokenizer().save_pretrained(tmp_path)
    network = load(str(tmp_path))
    text = torch.randint(0, 380, (60,), generator=torch.Generator().manual_seed(0))
    cache = KeyCache(9, 2)
    expected = token_losses(stream_logits(network, text, cache), text)[19:]
    read = torch.tensor([one.loss for one in decode(network, text, 20, cache)])
    torch.testing.assert_close(read, expected, atol=ROUNDING, rtol=1e-4)
    with pytest.raises(InputError, match="need rotary positions"):
        check_stream(network, 60, KeyCache(9, 2, "cache"))
    check_stream(network, 60, KeyCache(None, 0, "cache"))  # nothing is thrown away, nothing moves
    with pytest.raises(InputError, match="can stream from 2 to 64"):
        check_stream(network, 65, cache)
