"""models.numerics.token_losses against transformers' loss and torch's distributions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical
from torch.testing import assert_close
from transformers.loss.loss_utils import ForCausalLMLoss

from models.errors import InputError
from models.numerics.token_losses import IGNORED_LABEL, token_losses


def random_text(seed, *shape, vocabulary):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(*shape, vocabulary, generator=generator)
    return logits, torch.randint(0, vocabulary, shape, generator=generator)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 12), st.integers(2, 30))
def test_each_is_minus_the_log_probability_of_the_token_after(seed, batch, tokens, vocabulary):
    logits, ids = random_text(seed, batch, tokens, vocabulary=vocabulary)
    expected = -Categorical(logits=logits[:, :-1]).log_prob(ids[:, 1:])
    assert_close(token_losses(logits, ids), expected, atol=1e-5, rtol=1e-4)
    for row, label, own in zip(logits, ids, expected, strict=True):
        assert_close(token_losses(row, label), own, atol=1e-5, rtol=1e-4)


@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(2, 30), st.data())
def test_what_is_ignored_is_nan_and_the_rest_averages_to_what_transformers_returns(
    seed, tokens, vocabulary, data
):
    logits, ids = random_text(seed, tokens, vocabulary=vocabulary)
    ignored = data.draw(st.sets(st.integers(0, tokens - 1), max_size=tokens))
    labels = ids.clone()
    labels[list(ignored)] = IGNORED_LABEL
    losses = token_losses(logits, labels)
    assert losses.isnan().tolist() == [token in ignored for token in range(1, tokens)]
    theirs = ForCausalLMLoss(logits[None], labels[None], vocabulary)
    assert_close(losses.nanmean(), theirs, equal_nan=True)


def test_half_precision_is_summed_in_float32_and_float64_stays():
    logits, ids = random_text(0, 9, vocabulary=50)
    assert token_losses(logits.bfloat16(), ids).dtype == torch.float32
    assert_close(token_losses(logits.bfloat16(), ids), token_losses(logits.bfloat16().float(), ids))
    assert token_losses(logits.double(), ids).dtype == torch.float64


def test_a_text_of_one_token_leaves_nothing_to_predict():
    with pytest.raises(InputError, match="at least two are needed"):
        token_losses(torch.zeros(1, 4), torch.tensor([1]))
