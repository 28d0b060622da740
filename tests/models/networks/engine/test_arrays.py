"""Traces, scores and samples as bytes: what comes back is what was sent, to the last bit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load as load_by_library

from models.networks.engine.arrays import (
    pack,
    pack_pair,
    pack_samples,
    pack_scores,
    pack_trace,
    trace_bytes,
    unpack,
    unpack_pair,
    unpack_samples,
    unpack_scores,
    unpack_trace,
)
from models.networks.interventions import Intervention, Visible
from models.networks.loading import load
from models.networks.sampling import generate
from models.networks.scoring import score
from models.networks.tracing import NO_INTERVENTION, output_projection, trace
from tests.models.networks.tiny_networks import bert_config, gpt2_config, llama_config, mixtral_config

TEXT = "Margery rowed out to the bell 茶 on the rock."
CONFIGS = {
    "llama": llama_config(24, 6, 2),
    "gpt2": gpt2_config(24, 4),
    "bert": bert_config(24, 4),
    "mixtral": mixtral_config(24, 6, 2),
}
DTYPES = st.sampled_from([np.float32, np.float64, np.int64, np.uint8])


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=5),
        DTYPES.flatmap(
            lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0))
        ),
        max_size=4,
    )
)
def test_the_safetensors_library_reads_what_is_packed(named):
    packed = pack({"said": "词"}, named)
    theirs = load_by_library(packed)
    about, ours = unpack(packed)
    assert about == {"said": "词"}
    assert set(theirs) == set(ours) == set(named)
    for name, array in named.items():
        assert theirs[name].dtype == array.dtype
        np.testing.assert_array_equal(theirs[name], array)
        np.testing.assert_array_equal(ours[name].numpy(), array)


@pytest.fixture(params=CONFIGS, scope="module")
def network(request, build):
    return load(str(build(CONFIGS[request.param])))


def changes(tokens):
    visible = torch.ones(tokens, tokens).tril().bool()
    visible[3] = False  # a row that sees nothing reads all keys alike, the hidden ones too
    masked = Intervention(visible=Visible.from_tensor(visible))
    return [NO_INTERVENTION, masked, Intervention(temperature=0.3)]


def test_a_trace_comes_back_to_the_last_bit(network):
    for change in changes(trace(network, TEXT).tokens_shown):
        sent = trace(network, TEXT, change)
        found = unpack_trace(
            pack_trace(sent),
            lambda layer: output_projection(network, layer),
            lambda layer, sent=sent: sent.layers[layer].rotary.projected(),
        )
        assert (found.labels, found.text_shown, found.tokens_total) == (
            sent.labels,
            sent.text_shown,
            sent.tokens_total,
        )
        assert torch.equal(found.token_ids, sent.token_ids)
        assert torch.equal(found.hidden, sent.hidden)
        assert (found.logits is None) == (sent.logits is None)
        assert sent.logits is None or torch.equal(found.logits, sent.logits)
        for ours, theirs in zip(found.layers, sent.layers, strict=True):
            assert (ours.scale, ours.base_scale, ours.softcap) == (
                theirs.scale,
                theirs.base_scale,
                theirs.softcap,
            )
            for name in ("query", "key", "value", "visible", "probabilities", "head_output", "projected"):
                assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
            assert torch.equal(ours.reassembled, theirs.reassembled)
            assert (ours.rotary is None) == (theirs.rotary is None)
            if theirs.rotary is not None:
                assert ours.rotary.key.layout == theirs.rotary.key.layout
                for name in ("cos", "sin"):
                    assert torch.equal(getattr(ours.rotary.key, name), getattr(theirs.rotary.key, name))
                assert torch.equal(ours.rotary.projected()[0], theirs.rotary.projected()[0])


def test_hidden_pairs_without_weight_are_not_sent(network):
    sent = trace(network, TEXT)
    _about, found = unpack(pack_trace(sent))
    for index, record in enumerate(sent.layers):
        visible = record.visible.expand_as(record.probabilities)
        assert found[f"{index}.probabilities"].numel() == int(visible.sum())
    assert len(pack_trace(sent)) < 1.2 * trace_bytes(sent)


def test_scores_and_samples_come_back():
    network = load("loupe-llama")
    for ours, theirs in zip(
        unpack_scores(pack_scores(found := score(network, "Who rang", (" it?", " the bell?")))),
        found,
        strict=True,
    ):
        assert ours.labels == theirs.labels
        np.testing.assert_array_equal(ours.token_ids, theirs.token_ids)
        np.testing.assert_array_equal(ours.log_probabilities, theirs.log_probabilities)
    drawn = generate(network, "Who rang", 2, 5, 1.0, 3)
    found = unpack_samples(pack_samples(drawn))
    assert found.texts == drawn.texts
    for name in ("prompt_ids", "token_ids", "log_probabilities", "lengths"):
        np.testing.assert_array_equal(getattr(found, name), getattr(drawn, name))


@pytest.mark.parametrize("pair", [None, (torch.ones(2, 3), None), (torch.ones(2, 3), torch.zeros(1))])
def test_pairs_may_lack_either(pair):
    for found, sent in zip(unpack_pair(pack_pair(pair)), pair or (None, None), strict=True):
        assert (found is None) == (sent is None)
        assert sent is None or torch.equal(found, sent)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_answer_are_refused(data):
    with pytest.raises(ValueError, match="no answer"):
        unpack(data)
