"""models.positions.encodings on a real network, against its own attention and against torch."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from models.errors import InputError
from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.rotary import rotary_of
from models.networks.tracing import trace
from models.positions.bias import t5_bucket
from models.positions.encodings import ENCODINGS, Settings, encode, fitted_buckets, head_of
from models.rotary.rope import frequencies

TEXT = "The keeper lit the lamp, and the keeper slept until the bell rang."


@pytest.fixture(scope="module")
def traced():
    return trace(load("loupe-llama"), TEXT)


@pytest.fixture(scope="module")
def settings(traced):
    table = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    return Settings(rotary_of(load("loupe-llama"), traced, 0), 10_000.0, 1.0, table)


@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("head", range(6))
def test_rotation_at_the_networks_base_is_its_own_attention(traced, settings, layer, head):
    record = traced.layers[layer]
    found = encode(head_of(record, head), "rope", settings)
    assert_close(found.scores, record.scaled[head], atol=1e-4, rtol=1e-4)
    assert_close(found.probabilities, record.probabilities[head], atol=1e-5, rtol=1e-4)


def test_no_encoding_is_the_first_layer_with_all_positions_the_same(traced, settings):
    """Later layers read what the first one wrote, so that only the first is comparable."""
    same = Intervention(positions=(0,) * traced.tokens_shown)
    without = trace(load("loupe-llama"), TEXT, same).layers[0]
    for head in range(6):
        found = encode(head_of(traced.layers[0], head), "none", settings)
        assert_close(found.probabilities, without.probabilities[head], atol=1e-5, rtol=1e-4)
        assert not found.profile.any()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_weights_are_those_of_torch_with_the_scores_as_a_mask(traced, settings, encoding):
    head = head_of(traced.layers[1], 4)
    found = encode(head, encoding, settings)
    nothing, identity = torch.zeros_like(head.query), torch.eye(len(head.key))
    mask = found.scores.masked_fill(~head.visible, -torch.inf)
    expected = scaled_dot_product_attention(nothing, nothing, identity, attn_mask=mask)
    assert_close(found.probabilities, expected, atol=1e-6, rtol=1e-5)
    assert found.profile.isfinite().all()


@pytest.mark.parametrize("index", range(6))
def test_alibi_is_blooms_for_the_heads_number(traced, settings, index):
    head = head_of(traced.layers[2], index)
    tokens = len(head.query)
    bloom = build_alibi_tensor(torch.ones(1, tokens), 6, torch.float32)[index]
    scores = (head.query @ head.key.T * head.scale + bloom).masked_fill(~head.visible, -torch.inf)
    assert_close(encode(head, "alibi", settings).probabilities, scores.softmax(-1), atol=1e-5, rtol=1e-4)
    slope = -encode(head, "alibi", settings).profile.diff()
    assert_close(slope, slope[0].expand_as(slope), atol=1e-4, rtol=1e-4)


def test_fitted_buckets_leave_no_mean_error_in_any_bucket(traced, settings):
    head = head_of(traced.layers[1], 4)
    added = encode(head, "rope", settings).scores - encode(head, "none", settings).scores
    bias = encode(head, "t5", settings).scores - encode(head, "none", settings).scores
    tokens = len(head.query)
    bucket = t5_bucket(torch.arange(tokens) - torch.arange(tokens)[:, None], False)
    for index in bucket[head.visible].unique():
        here = (bucket == index) & head.visible
        assert abs(float((added - bias)[here].mean())) < 1e-4
    assert fitted_buckets(head, settings).count_nonzero() > 8


def test_added_vectors_of_no_strength_are_no_encoding(traced, settings):
    head, none = head_of(traced.layers[0], 1), replace(settings, strength=0.0)
    for encoding in ("sinusoidal", "learned"):
        assert_close(encode(head, encoding, none).scores, encode(head, "none", settings).scores)
        assert encode(head, encoding, settings).profile.abs().max() > 1e-2


def test_another_base_changes_the_rotation_and_nothing_that_has_none(traced, settings):
    head, other = head_of(traced.layers[1], 0), replace(settings, base=100.0)
    assert_close(settings.rotary.frequency_at(100.0), frequencies(32, 100.0))
    for encoding in ENCODINGS:
        same = torch.equal(encode(head, encoding, settings).scores, encode(head, encoding, other).scores)
        assert same == (encoding not in ("sinusoidal", "rope"))


def test_what_cannot_be_is_refused(traced, settings):
    head = head_of(traced.layers[0], 0)
    with pytest.raises(InputError, match="base is -1"):
        encode(head, "rope", replace(settings, base=-1.0))
    with pytest.raises(InputError, match="No network with a learned table"):
        encode(head, "learned", replace(settings, table=None))
    short = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="positions are not in a learned table of 3"):
        encode(head, "learned", replace(settings, table=short))
