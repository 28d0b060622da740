"""models.networks.key_cache: the mask is transformers', and late sinks are sinks at another position."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers.masking_utils import sliding_window_causal_mask_function
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from models.errors import InputError
from models.masks.algebra import lambda_shaped
from models.networks.key_cache import KeyCache, moved, with_late_sinks


@given(tokens=st.integers(1, 40), window=st.integers(1, 50), sinks=st.integers(0, 50))
def test_the_mask_is_the_window_of_transformers_and_the_sinks(tokens, window, sinks):
    function = sliding_window_causal_mask_function(window)
    ours = KeyCache(window, sinks).visible(tokens)
    query, key, zero = torch.arange(tokens)[:, None], torch.arange(tokens)[None, :], torch.tensor(0)
    in_window = function(zero, zero, query, key)
    assert torch.equal(ours, in_window | ((key < sinks) & (key <= query)))
    assert torch.equal(ours, lambda_shaped(sinks, window).to_tensor(tokens, tokens))
    assert torch.equal(ours.sum(-1), KeyCache(window, sinks).kept(tokens))
    some = torch.arange(0, tokens, 3)
    assert torch.equal(KeyCache(window, sinks).visible(some), ours[some][:, some])


@given(tokens=st.integers(1, 40), sinks=st.integers(0, 9))
def test_without_a_window_all_earlier_keys_are_kept(tokens, sinks):
    assert torch.equal(KeyCache(None, sinks).visible(tokens), torch.ones(tokens, tokens).tril() > 0)
    assert KeyCache(None, sinks).kept(tokens).tolist() == list(range(1, tokens + 1))


@given(window=st.integers(1, 20), sinks=st.integers(0, 9), token=st.integers(0, 200))
def test_no_distance_is_larger_than_the_cache(window, sinks, token):
    cache = KeyCache(window, sinks, "cache")
    delay = int(cache.delay(torch.tensor(token)))
    distance = token - delay  # from the token to the first sink, once it has moved
    assert distance == min(token, window + sinks - 1)
    assert int(KeyCache(window, sinks).delay(torch.tensor(token))) == 0


@pytest.mark.parametrize(("window", "sinks"), [(0, 4), (-1, 0), (5, -1), (None, -1)])
def test_a_window_without_the_token_itself_is_refused(window, sinks):
    with pytest.raises(InputError, match="a window holds at least the token itself"):
        KeyCache(window, sinks)


# Turning keys


@given(seed=st.integers(0, 99), start=st.integers(0, 300), steps=st.integers(-300, 300))
def test_turning_is_rotary_embedding_at_another_position(seed, start, steps):
    vector = torch.randn(1, 2, 5, 16, generator=torch.Generator().manual_seed(seed))
    frequencies = 10_000.0 ** -(torch.arange(8) / 8)
    position = start + torch.arange(5)

    def library(at):
        angles = (at[:, None] * frequencies).repeat(1, 2)[None]
        return apply_rotary_pos_emb(vector, vector, angles.cos(), angles.sin())[0]

    turned = moved(library(position), torch.full((5,), steps), frequencies)
    torch.testing.assert_close(turned, library(position + steps), atol=1e-3, rtol=1e-3)


def rotary(positions, frequencies):
    angles = (positions[:, None] * frequencies).repeat(1, 2)[None]
    return angles.cos(), angles.sin()


@given(
    seed=st.integers(0, 99), tokens=st.integers(1, 40), window=st.integers(1, 12), sinks=st.integers(0, 6)
)
def test_late_sinks_are_those_of_a_cache_that_is_rotated_anew(seed, tokens, window, sinks):
    """Every query alone: its own cache, with positions counted in it, rotated by transformers."""
    generator = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, 1, 2, tokens, 8, generator=generator, dtype=torch.float64)
    frequencies = 100.0 ** -(torch.arange(4, dtype=torch.float64) / 4)
    turned = apply_rotary_pos_emb(query, key, *rotary(torch.arange(tokens), frequencies))
    cache = KeyCache(window, sinks, "cache")
    late = with_late_sinks(*turned, cache, frequencies)
    visible = cache.visible(tokens)
    ours = scaled_dot_product_attention(*late, value, attn_mask=visible, scale=0.5)
    for token in range(tokens):
        kept = visible[token].nonzero()[:, 0]
        angles = rotary(torch.arange(len(kept)), frequencies)
        last, keys = apply_rotary_pos_emb(query[:, :, kept], key[:, :, kept], *angles)
        theirs = scaled_dot_product_attention(last[:, :, -1:], keys, value[:, :, kept], scale=0.5)
        torch.testing.assert_close(ours[:, :, token : token + 1], theirs)


@given(tokens=st.integers(1, 20), window=st.integers(1, 12), sinks=st.integers(0, 6))
def test_where_nothing_is_late_queries_and_keys_stay(tokens, window, sinks):
    query, key = torch.randn(2, 1, 2, tokens, 8)
    for cache in (KeyCache(window, sinks), KeyCache(None, sinks, "cache"), KeyCache(window, 0, "cache")):
        assert with_late_sinks(query, key, cache, torch.ones(4)) == (query, key)
