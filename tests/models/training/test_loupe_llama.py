"""The network that ships with Loupe, measured from the shipped files."""

import json

import pytest
import torch

from models.attention.head_figures import head_figures
from models.networks.catalogue import DEFAULT, EMBEDDED, find
from models.networks.loading import Network, load
from models.networks.texts import passages
from models.training.evaluation import passage_losses

FOLDER = EMBEDDED / DEFAULT
RECORDED = json.loads((FOLDER / "measurements.json").read_text())


@pytest.fixture(scope="module")
def network() -> Network:
    return load(DEFAULT, device="cpu", dtype=torch.float32)


@pytest.mark.slow
def test_losses_on_the_shipped_passages_are_those_of_the_card(network: Network):
    measured = passage_losses(network, RECORDED["stride"])
    assert measured == pytest.approx(RECORDED["passage_nats_per_character"], abs=2e-3)
    english = [measured[passage.name] for passage in passages() if passage.language == "en"]
    assert max(english) < 1.45  # prose that it was not trained on


def test_held_out_loss_on_record_reaches_the_goal():
    assert RECORDED["held_out_nats_per_character"] <= 1.15
    assert RECORDED["held_out_characters"] > 200_000


def test_previous_token_and_induction_heads_have_formed(network: Network):
    figures = head_figures(network)
    assert figures["previous_token_weight"] >= 0.5
    assert figures["previous_token_on_text_weight"] >= 0.45
    assert figures["induction_weight"] >= 0.6
    for name, value in figures.items():
        assert value == pytest.approx(RECORDED[name], abs=5e-3)


def test_it_is_small_and_described(network: Network):
    assert (FOLDER / "model.safetensors").stat().st_size <= 12 * 2**20
    entry = find(DEFAULT)
    assert sum(parameter.numel() for parameter in network.model.parameters()) == entry.parameters
    card = (FOLDER / "README.md").read_text()
    assert f"{RECORDED['held_out_nats_per_character']} nats per character" in card


def test_passages_are_long_enough_and_in_two_languages():
    english = [passage for passage in passages() if passage.language == "en"]
    assert len(english) >= 4
    assert all(len(passage.text.split()) >= 1_500 for passage in english)
    assert any(passage.language == "zh" for passage in passages())
