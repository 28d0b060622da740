"""Names, hub ids and folders; what the settings allow; the facts in the list."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from models.errors import InputError
from models.networks.catalogue import CATALOGUE, DEFAULT, available, find
from models.runtime.settings import settings
from models.training.recipe import Recipe


def allow(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(f"LOUPE_{name.upper()}", value)
    settings.cache_clear()


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_listed_network_is_found_by_name_and_by_location(entry):
    assert find(entry.name) is entry
    assert find(f" {entry.location} ") is entry


def test_default_is_listed_and_embedded():
    assert find(DEFAULT).source == "embedded"


@pytest.mark.parametrize(
    ("name", "build"),
    [
        (DEFAULT, lambda: LlamaForCausalLM(Recipe().config(0))),
        ("gpt2", lambda: GPT2LMHeadModel(GPT2Config())),
        ("google-bert/bert-base-uncased", lambda: BertForMaskedLM(BertConfig())),
    ],
)
def test_facts_are_those_of_transformers(name, build):
    """Transformers' default configurations are those of the networks that the classes began with."""
    with torch.device("meta"):
        network = build()
    entry = find(name)
    assert entry.parameters == network.num_parameters()
    assert entry.architecture == type(network).__name__
    assert entry.context == network.config.max_position_embeddings


def test_typed_hub_id_is_found():
    entry = find("someone/some.model-1_b")
    assert (entry.source, entry.location) == ("hub", "someone/some.model-1_b")


def test_folder_is_found(tmp_path, monkeypatch):
    assert find(str(tmp_path)).location == str(tmp_path)
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find("./inner").location == str(tmp_path / "inner")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nothing",
        "a/b/c",
        "../..x/../y/no such",
        "a/..",
        "owner/",
        "/no/such/folder",
        "/\x00",
        "/" + 5_000 * "x",
        "~nobody-here/x",
        "~/no such",
        "owner/na me",
        "https://example.org/x",
        "owner/name\n/etc",
        "名/字",
        "a--b/c",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(InputError):
        find(name)


@given(st.text(max_size=60))
def test_any_text_is_found_or_refused_in_one_line(name):
    try:
        answer = find(name).name
    except InputError as error:
        answer = str(error)
    assert answer
    assert "\n" not in answer


def test_settings_switch_hub_and_folders_off(monkeypatch, tmp_path):
    allow(monkeypatch, hub="listed", folders="false")
    assert find("gpt2").source == "hub"
    with pytest.raises(InputError, match="only listed"):
        find("someone/something")
    with pytest.raises(InputError, match="folder are switched off"):
        find(str(tmp_path))
    allow(monkeypatch, hub="off")
    with pytest.raises(InputError, match="hub networks are switched off"):
        find("gpt2")
    assert all(entry.source != "hub" for entry in available())


def test_available_lists_what_can_be_loaded(monkeypatch, tmp_path):
    names = [entry.name for entry in available()]
    assert "all-MiniLM-L6-v2" in names
    assert "gpt2" in names
    monkeypatch.setattr("models.networks.catalogue.EMBEDDED", tmp_path)
    assert DEFAULT not in [entry.name for entry in available()]
    (tmp_path / DEFAULT).mkdir()
    (tmp_path / DEFAULT / "model.safetensors").touch()
    assert available()[0].name == DEFAULT
