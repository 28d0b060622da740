"""Folders that claim what they do not hold, or hold what is no file: refused before anything is built."""

import json
import os
import shutil
import threading
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file

import models.networks.loading as loading
from models.errors import InputError
from models.networks.catalogue import DEFAULT
from models.networks.loading import load
from models.networks.tracing import trace
from tests.models.networks.tiny_networks import bert_config, llama_config

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def folder(build, tmp_path):
    copy = tmp_path / "network"
    shutil.copytree(build(llama_config()), copy)
    return copy


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder):
    with pytest.raises(InputError) as refused:
        load(str(folder))
    return str(refused.value)


@pytest.mark.parametrize(
    "index",
    [[], [1], "x", 3, None, {}, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {"a": ["b"]}}]
    + [{"weight_map": {"a": name}} for name in ("../model.safetensors", "/etc/passwd", "", None, ".")]
    + [{"weight_map": {}}],
    ids=str,
)
def test_an_index_that_is_none_is_refused(folder, index):
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "damaged or incomplete" in refusal(folder)


@pytest.mark.parametrize("deep", ["config.json", "model.safetensors.index.json", "tokenizer.json"])
def test_json_that_is_too_deep_is_refused(folder, deep):
    (folder / deep).write_text("[" * 100_000)
    assert refusal(folder).endswith(".")


@pytest.mark.parametrize("length", ["512", 0, -1, [8], True, 0.5])
def test_a_longest_text_that_is_no_length_is_refused(folder, length):
    change(folder / "tokenizer_config.json", model_max_length=length)
    assert refusal(folder).endswith(".")


@pytest.mark.parametrize("length", [0, -1, -(10**9)])
def test_so_is_a_number_of_positions(folder, length):
    change(folder / "config.json", max_position_embeddings=length)
    assert refusal(folder).endswith(".")


@pytest.mark.parametrize(
    "claims",
    [
        {"vocab_size": 5_000_000},
        {"intermediate_size": 10**6},
        {"num_hidden_layers": 500},
        {"hidden_size": 2_400, "num_attention_heads": 6},
    ],
    ids=str,
)
def test_what_is_claimed_is_compared_with_the_headers_before_memory_is_taken(folder, claims, monkeypatch):
    def read(*_args, **_named):
        raise AssertionError("the network was built")

    monkeypatch.setattr(loading, "_model", read)
    change(folder / "config.json", **claims)
    assert "do not fit" in refusal(folder)


def test_an_empty_file_of_weights_is_refused_before_memory_is_taken(folder, monkeypatch):
    monkeypatch.setattr(loading, "_model", None)
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    assert "do not fit" in refusal(folder)


def test_a_table_of_positions_that_nobody_has_is_refused(build, tmp_path, monkeypatch):
    folder = tmp_path / "bert"
    shutil.copytree(build(bert_config()), folder)
    monkeypatch.setattr(loading, "_model", None)
    change(folder / "config.json", max_position_embeddings=10**7)
    assert "do not fit" in refusal(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json"]
)
def test_a_pipe_holds_up_nobody(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    said = []
    thread = threading.Thread(target=lambda: said.append(refusal(folder)), daemon=True)
    thread.start()
    thread.join(60)
    assert said, "it waits for the other end of the pipe"
    assert "no regular file" in said[0]
    assert load(DEFAULT).layers


def test_a_device_is_no_file(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    assert "no regular file" in refusal(folder)


def test_a_tokenizer_that_panics_is_refused_in_a_sentence(folder):
    path = folder / "tokenizer.json"
    read = json.loads(path.read_text())
    evil = {
        "type": "Split",
        "pattern": {"Regex": "(a+)+$(?!x)(?=b)|(?<=a*)b"},
        "behavior": "Isolated",
        "invert": False,
    }
    read["pre_tokenizer"] = evil
    path.write_text(json.dumps(read))
    with suppress(InputError):
        trace(load(str(folder)), "a" * 60 + " b")
