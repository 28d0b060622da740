"""Several texts in one forward pass, against each of them alone and against transformers."""

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from models.errors import InputError
from models.networks.interventions import Intervention, Visible
from models.networks.loading import load
from models.networks.tracing import NO_INTERVENTION, trace, trace_batch
from tests.models.networks.tiny_networks import (
    bert_config,
    gpt2_config,
    llama_config,
    mixtral_config,
    neox_config,
)

TEXTS = [
    "Margery rowed out to the bell 茶 on the rock before the tide turned.",
    "Who rang it?",
    "The miller said that the river had never been so high.",
]
CONFIGS = {
    "llama": llama_config(24, 6, 2),
    "gpt2": gpt2_config(24, 4),
    "gpt_neox": neox_config(24, 4),
    "mixtral, window of 5": mixtral_config(24, 6, 2),
}
CHANGES = (
    NO_INTERVENTION,
    Intervention(temperature=0.5, silenced=frozenset({(1, 0)})),
    Intervention(residual=False),
)


def assert_same(ours, theirs):
    """The same trace in every field, to within the rounding of another batch size."""
    assert (ours.labels, ours.text_shown, ours.tokens_total) == (
        theirs.labels,
        theirs.text_shown,
        theirs.tokens_total,
    )
    assert torch.equal(ours.token_ids, theirs.token_ids)
    assert_close(ours.hidden, theirs.hidden, atol=1e-4, rtol=1e-4)
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        assert torch.equal(one.visible, other.visible)
        for field in ("query", "key", "value", "probabilities", "head_output", "projected"):
            assert_close(getattr(one, field), getattr(other, field), atol=1e-4, rtol=1e-4)
        if other.rotary is not None:
            assert torch.equal(one.rotary.query.cos, other.rotary.query.cos)
            for unrotated, expected in zip(one.rotary.projected(), other.rotary.projected(), strict=True):
                assert_close(unrotated, expected, atol=1e-4, rtol=1e-4)


@pytest.fixture(params=CONFIGS, scope="module")
def network(request, build):
    return load(str(build(CONFIGS[request.param])))


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_texts_of_different_length_share_a_pass(network, change):
    for together, text in zip(trace_batch(network, TEXTS, change), TEXTS, strict=True):
        assert_same(together, trace(network, text, change))


def test_each_text_of_a_batch_equals_transformers(network):
    eager = AutoModelForCausalLM.from_pretrained(network.entry.location, attn_implementation="eager").eval()
    for together in trace_batch(network, TEXTS):
        with torch.no_grad():
            theirs = eager(together.token_ids[None], output_attentions=True)
        assert_close(together.logits, theirs.logits[0], atol=1e-4, rtol=1e-4)
        for layer, probabilities in zip(together.layers, theirs.attentions, strict=True):
            assert_close(layer.probabilities, probabilities[0], atol=1e-5, rtol=1e-4)


def test_an_encoders_texts_must_have_one_length(build):
    network = load(str(build(bert_config(24, 4))))
    same = [TEXTS[1], TEXTS[1]]
    for together in trace_batch(network, same):
        assert_same(together, trace(network, TEXTS[1]))
    with pytest.raises(InputError, match="cannot share a pass"):
        trace_batch(network, TEXTS)


def test_a_change_of_single_tokens_is_not_shared_by_other_lengths(network):
    tokens = trace(network, TEXTS[1]).tokens_shown
    change = Intervention(visible=Visible.from_tensor(torch.ones(tokens, tokens).tril().bool()))
    with pytest.raises(InputError, match="cannot share a pass"):
        trace_batch(network, TEXTS[:2], change)
