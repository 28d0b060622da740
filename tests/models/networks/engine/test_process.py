"""The engine in this process: facts of a network, and what its calls refuse."""

import gc

import pytest
import torch
from pydantic import TypeAdapter
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.errors import InputError
from models.networks import facts as facts_module
from models.networks import loading
from models.networks.catalogue import EMBEDDED
from models.networks.engine.process import InProcessEngine
from models.networks.engine.protocol import Engine
from models.networks.engine.ray_serve import RayServeEngine
from models.networks.facts import NetworkFacts, facts_of
from models.networks.loading import load
from models.networks.rotary import rotary_of
from models.networks.tracing import NO_INTERVENTION, trace
from tests.models.networks.tiny_networks import bert_config, gpt2_config, llama_config, neox_config

HERE = InProcessEngine()
NETWORK = "loupe-llama"
TEXT = "The keeper lit the lamp."
FOLDER = EMBEDDED / NETWORK


@pytest.mark.parametrize(
    "config", [llama_config(24, 6, 2), gpt2_config(24, 4), neox_config(24, 4), bert_config(24, 4)]
)
def test_facts_are_those_of_transformers_configuration(build, config):
    found = HERE.facts(str(build(config)))
    assert (found.layers, found.heads, found.width) == (
        config.num_hidden_layers,
        config.num_attention_heads,
        config.hidden_size,
    )
    assert found.vocabulary == config.vocab_size
    assert found.rotary == (config.model_type in ("llama", "gpt_neox"))
    assert found.entry.kind == ("encoder" if config.model_type == "bert" else "causal")
    assert bool(found.rotary_frequencies) == found.rotary


def test_facts_arrive_as_they_were_sent(build):
    sent = HERE.facts(str(build(llama_config(24, 6, 2))))
    adapter = TypeAdapter(NetworkFacts)
    assert adapter.validate_json(adapter.dump_json(sent)) == sent


def test_rotary_frequencies_from_facts_are_those_from_the_network(build):
    network = load(str(build(llama_config(24, 6, 2))))
    traced = trace(network, TEXT)
    own, told = rotary_of(network, traced, 1), rotary_of(facts_of(network), traced, 1)
    assert torch.equal(own.frequency, told.frequency)
    assert (own.base, own.factor, own.layout) == (told.base, told.factor, told.layout)


def test_facts_do_not_keep_a_network_in_memory(build):
    network = load(str(build(llama_config(24, 6, 2), seed=77)))
    facts_of(network)
    known = len(facts_module._known)

    loading._networks.clear()
    del network
    gc.collect()
    assert len(facts_module._known) < known


def test_labels_are_the_tokenizers_tokens():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    ids = tuple(range(300, 340))
    for label, token in zip(HERE.labels(NETWORK, ids), ids, strict=True):
        assert label.replace("·", " ") == tokenizer.decode([token])


def test_the_output_projection_is_the_networks_own():
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    for layer, block in enumerate(model.model.layers):
        assert torch.equal(HERE.output_projection(NETWORK, layer).weight, block.self_attn.o_proj.weight.T)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda: HERE.labels(NETWORK, (2048,)), "Token ids from 0 to 2047"),
        (lambda: HERE.labels(NETWORK, (-1,)), "Token ids from 0 to 2047"),
        (lambda: HERE.output_projection(NETWORK, 4), "has 4 layers"),
        (lambda: HERE.unrotated(NETWORK, TEXT, NO_INTERVENTION, -1), "has 4 layers"),
        (lambda: HERE.facts("nothing"), "not a network that Loupe knows"),
    ],
)
def test_what_does_not_exist_is_refused(ask, sentence):
    with pytest.raises(InputError, match=sentence):
        ask()


def test_both_engines_are_engines():
    assert isinstance(HERE, Engine)
    assert isinstance(RayServeEngine("http://127.0.0.1:1", 1.0, 1.0, HERE), Engine)
    assert HERE.trouble is None
