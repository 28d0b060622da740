"""The comparison on the page finds agreement where there is, and a difference where there is one."""

from dataclasses import replace

import pytest
import torch

from models.context import reference as rope_reference
from models.context.long_attention import Reach
from models.context.long_context import Way, passage_tokens
from models.context.reference import difference_from_transformers
from models.networks.catalogue import DEFAULT
from models.rotary.scaling import RopeSettings

OWN = RopeSettings("default", 32, longest=256)
WAYS = [
    Way(OWN),
    Way(RopeSettings("ntk", 32, longest=256, factor=4.0)),
    Way(RopeSettings("truncated", 32, keep_above=0.02, cut_below=0.01, constant=0.015)),
    Way(OWN, Reach(60)),
    Way(OWN, Reach(60, 4)),
]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_agrees_with_the_network_that_transformers_builds(way):
    tokens = passage_tokens(DEFAULT, "orchard", 300)
    assert difference_from_transformers(DEFAULT, way, tokens) < 1e-3


def test_another_network_differs(monkeypatch):
    tokens = passage_tokens(DEFAULT, "orchard", 300)
    built = rope_reference._built
    wrong = replace(OWN, rope_theta=500.0)
    monkeypatch.setattr(rope_reference, "_built", lambda name, _rope, window: built(name, wrong, window))
    with torch.no_grad():
        assert difference_from_transformers(DEFAULT, Way(OWN), tokens) > 0.1
