"""Rotary embedding taken out of traces, and positions put in: against the networks' own projections."""

import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import CohereConfig, MistralConfig, Qwen3Config

from models.errors import InputError
from models.networks.interventions import LARGEST_POSITION, Intervention, Visible
from models.networks.loading import load
from models.networks.positions import learned_table
from models.networks.recording import layout_of
from models.networks.rotary import before_rotation, rotary_of
from models.networks.tracing import trace, trace_ids
from models.positions.shuffling import shuffled
from models.rotary.rope import relayout, scores_by_pair
from tests.models.networks.test_tracing import difference, reference, run
from tests.models.networks.tiny_networks import bert_config, gpt2_config, llama_config, neox_config

TEXT = "Margery rowed out to the bell 茶 on the rock before the tide turned."
COMMON = {
    "vocab_size": 400,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}
CONFIGS = {
    "llama": llama_config(24, 6, 2),
    "llama, yarn with its factor": llama_config(48, 4, 2, rope_parameters=YARN),
    "gpt_neox, a quarter rotated": neox_config(64, 4),
    "gpt_neox, half rotated": neox_config(
        48,
        4,
        rope_parameters={"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.5},
    ),
    "cohere, interleaved": CohereConfig(**COMMON),
    "mistral": MistralConfig(**COMMON),
    "qwen3, normed": Qwen3Config(**COMMON, head_dim=6),
}


@pytest.fixture(params=CONFIGS, scope="module")
def network(request, build):
    return load(str(build(CONFIGS[request.param])))


@pytest.fixture(scope="module")
def llama(build):
    return load(str(build(CONFIGS["llama"])))


@pytest.fixture(scope="module")
def gpt2(build):
    return load(str(build(gpt2_config(24, 4))))


@pytest.fixture(scope="module")
def bert(build):
    return load(str(build(bert_config(24, 4))))


def test_unrotated_vectors_are_what_the_projections_put_out(network):
    """The projections' outputs are caught by hooks of the test's own where they are single modules."""
    caught: dict[str, torch.Tensor] = {}
    handles = []
    for name, module in network.model.named_modules():
        if name.endswith(("q_proj", "k_proj", "q_norm", "k_norm")):

            def catch(module, args, output, name=name):
                caught[name] = output.flatten(2)[0]

            handles.append(module.register_forward_hook(catch))
    traced = trace(network, TEXT)
    for handle in handles:
        handle.remove()
    for index, record in enumerate(traced.layers):
        query, key = before_rotation(record)
        assert_close(record.unrotated_query, query, atol=1e-5, rtol=1e-5)
        assert_close(record.unrotated_key, key, atol=1e-5, rtol=1e-5)
        for letter, heads in (("q", record.unrotated_query), ("k", record.unrotated_key)):
            here = {name: x for name, x in caught.items() if f".{index}.self_attn.{letter}_" in name}
            if here:  # GPT-NeoX has one projection for query, key and value
                last = here.get(next((name for name in here if name.endswith("norm")), ""))
                expected = last if last is not None else next(iter(here.values()))
                assert_close(heads.transpose(0, 1).flatten(1), expected, atol=1e-5, rtol=1e-5)


def test_pairs_sum_to_the_raw_score_on_every_layer_and_head(network):
    traced = trace(network, TEXT)
    at = torch.arange(traced.tokens_shown)
    for layer, record in enumerate(traced.layers):
        rotary = rotary_of(network, traced, layer)
        for head, key_head in enumerate(record.key_of_head):
            query, key = record.unrotated_query[head], record.unrotated_key[key_head]
            scores = scores_by_pair(query, key, at, at, rotary.frequency, rotary.layout, rotary.factor)
            assert_close(scores.total, record.raw[head], atol=1e-4, rtol=1e-4)
            own = (scores.total * record.scale).masked_fill(~record.visible, -torch.inf).softmax(-1)
            assert_close(own, record.probabilities[head], atol=1e-5, rtol=1e-4)


def test_layouts_are_recognised(network):
    expected = "interleaved" if network.model.config.model_type == "cohere" else "half"
    assert {layout_of(module) for module in attentions(network.model)} == {expected}
    assert network.anatomy.rotary


def attentions(model):
    return [module for name, module in model.named_modules() if name.endswith(("self_attn", "attention"))]


def test_frequencies_and_factor_are_those_of_the_networks_own_module(network):
    rotary = rotary_of(network, trace(network, TEXT), 0)
    own = next(module for _, module in network.model.named_modules() if hasattr(module, "inv_freq"))
    assert torch.equal(rotary.frequency, own.inv_freq)
    assert rotary.factor == pytest.approx(own.attention_scaling, rel=1e-6)


def test_frequencies_can_be_measured_where_the_network_holds_none(build):
    network = load(str(build(llama_config(48, 4, 2), seed=3)))
    expected = network.model.model.rotary_emb.inv_freq.clone()
    traced = trace(network, TEXT)
    del network.model.model.rotary_emb.inv_freq
    del network.model.model.rotary_emb.original_inv_freq
    assert_close(rotary_of(network, traced, 1).frequency, expected, atol=1e-6, rtol=1e-6)


# Positions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_positions_are_those_that_transformers_is_given(name, request):
    network = request.getfixturevalue(name)
    ids = trace(network, TEXT).token_ids
    positions = shuffled(len(ids), 1) * 2 % network.context
    ours = trace_ids(network, ids, Intervention(positions=tuple(positions.tolist())))
    eager = reference(network.entry.location, network.entry.kind)
    theirs = run(eager, ids, position_ids=positions[None], attention_mask=torch.ones_like(ids)[None])
    assert difference(ours.logits, theirs.logits[0]) == 0.0


def test_moving_the_whole_text_leaves_the_scores_of_a_rotary_network(network):
    plain = trace(network, TEXT)
    moved = tuple(range(30, 30 + plain.tokens_shown))
    there = trace(network, TEXT, Intervention(positions=moved))
    for before, after in zip(plain.layers, there.layers, strict=True):
        scale = before.raw.abs().max()
        assert difference(before.raw, after.raw) < 1e-4 * scale
        assert difference(before.query, after.query) > 1e-2
        assert_close(before.unrotated_query, after.unrotated_query, atol=1e-3, rtol=1e-3)


def test_moving_the_whole_text_changes_the_scores_of_learned_positions(gpt2):
    plain = trace(gpt2, TEXT)
    moved = tuple(range(20, 20 + plain.tokens_shown))
    there = trace(gpt2, TEXT, Intervention(positions=moved))
    assert difference(plain.layers[0].raw, there.layers[0].raw) > 0.1


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_without_positions_and_mask_a_shuffled_text_gives_shuffled_vectors(name, request):
    network = request.getfixturevalue(name)
    ids = trace(network, TEXT).token_ids
    tokens = len(ids)
    order = shuffled(tokens, 7)
    everything = Visible.from_tensor(torch.ones(tokens, tokens, dtype=torch.bool))
    without = Intervention(positions=(0,) * tokens, visible=everything)
    plain, mixed = trace_ids(network, ids, without), trace_ids(network, ids[order], without)
    assert_close(mixed.hidden, plain.hidden[:, order], atol=1e-3, rtol=1e-3)
    own = Intervention(visible=everything)
    plain, mixed = trace_ids(network, ids, own), trace_ids(network, ids[order], own)
    assert difference(mixed.hidden[-1], plain.hidden[-1][order]) > 1e-2


# Layouts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("swapped", [{"query", "key"}, {"key"}, {"query"}])
@pytest.mark.parametrize("family", ["llama", "cohere, interleaved"])
def test_a_swapped_layout_is_that_of_weights_in_the_other_order(build, family, swapped):
    """Rows of W_Q and W_K reordered; scores do not care in which order a rotated vector's sum runs.

    With one of the two swapped the sum pairs other dimensions, so that only both can be compared so.
    """
    network = load(str(build(CONFIGS[family])))
    ours = trace(network, TEXT, Intervention(swapped_layout=frozenset(swapped)))
    plain = trace(network, TEXT)
    assert difference(ours.logits, plain.logits) > 1e-2
    for record, own in zip(ours.layers[:1], plain.layers[:1], strict=True):  # later ones read other tokens
        assert_close(record.unrotated_query, own.unrotated_query, atol=1e-5, rtol=1e-5)
        assert_close(record.unrotated_key, own.unrotated_key, atol=1e-5, rtol=1e-5)
        diagonal = own.raw.diagonal(dim1=1, dim2=2)
        if swapped == {"query", "key"}:
            assert_close(record.raw.diagonal(dim1=1, dim2=2), diagonal, atol=1e-4, rtol=1e-4)
    if swapped != {"query", "key"}:
        return
    changed = copy.deepcopy(reference(network.entry.location))
    layout = layout_of(attentions(changed)[0])
    width = network.head_width
    order = relayout(width, width, layout)
    for name, parameter in changed.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            parameter.data = parameter.data.unflatten(0, (-1, width))[:, order].flatten(0, 1)
    theirs = run(changed, ours.token_ids)
    assert_close(ours.logits, theirs.logits[0], atol=1e-3, rtol=1e-3)


# Tables ------------------------------------------------------------------------------------------


def test_the_learned_table_is_the_networks_own(gpt2, bert):
    assert torch.equal(learned_table(gpt2), gpt2.model.transformer.wpe.weight)
    assert torch.equal(learned_table(bert), bert.model.bert.embeddings.position_embeddings.weight)


def test_a_network_without_a_table_is_refused(network):
    with pytest.raises(InputError, match="learned no vectors for its positions"):
        learned_table(network)


def test_what_does_not_fit_is_refused(llama, gpt2):
    with pytest.raises(InputError, match="no rotary embedding that Loupe can take apart"):
        rotary_of(gpt2, trace(gpt2, TEXT), 0)
    with pytest.raises(InputError, match="no rotary embedding that Loupe can take apart"):
        trace(gpt2, TEXT, Intervention(swapped_layout=frozenset({"key"})))
    tokens = trace(gpt2, TEXT).tokens_shown
    with pytest.raises(InputError, match="has learned 64 positions; there is no position 64"):
        trace(gpt2, TEXT, Intervention(positions=(64,) * tokens))
    with pytest.raises(InputError, match=f"There are 2 positions for {tokens} tokens"):
        trace(gpt2, TEXT, Intervention(positions=(0, 1)))
    for positions in ((-1, 0), (), (LARGEST_POSITION + 1,)):
        with pytest.raises(InputError, match="Positions from 0 to"):
            Intervention(positions=positions)
    with pytest.raises(InputError, match="of nothing else"):
        Intervention(swapped_layout=frozenset({"value"}))
    with pytest.raises(InputError, match="The text has one token"):
        rotary_of(llama, trace_ids(llama, torch.tensor([5])), 0)
    assert before_rotation(trace(gpt2, TEXT).layers[0]) is None
