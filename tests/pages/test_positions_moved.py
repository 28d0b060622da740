"""What the lesson on positions asserts of texts that are moved as a whole, on networks of several kinds."""

import math

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from components.panels.positions.checks import other_frequencies, rotation_checks
from components.panels.positions.rotate import RotaryMicroscope, formula, meeting
from models.attention.softmax import random_queries_and_keys
from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.tracing import trace
from models.numerics.comparison import largest_difference
from models.rotary.rope import frequencies, scores_by_pair
from tests.models.networks.tiny_networks import byte_level_tokenizer, gpt2_config, llama_config, neox_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A way to save a tiny random network with a config."""

    def save(config) -> str:
        path = tmp_path_factory.mktemp(config.model_type)
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(path)
        byte_level_tokenizer().save_pretrained(path)
        return str(path)

    return save


SCALED = {
    "yarn": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "factor": 4.0,
        "original_max_position_embeddings": 32,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
    },
}


@pytest.mark.parametrize(("kind", "changes"), [("yarn", None), ("dynamic", 128), ("longrope", 32)])
def test_a_moved_text_where_frequencies_follow_the_length(folder, kind, changes):
    """#shift: to rounding, except where the move crosses the length from which frequencies change."""
    path = folder(llama_config(48, 6, 2, rope_parameters=SCALED[kind], max_position_embeddings=128))
    for offset in (5, 200):
        view = RotaryMicroscope.at(
            network="other", other=path, passage="yours", text="The bell on the rock", offset=offset
        )
        assert view.network_name == path
        crosses = changes is not None and offset + view.trace.tokens_shown > changes
        assert other_frequencies(view, offset) == (changes if crosses else None)
        checks = rotation_checks(view, offset)
        assert len(checks) == (3 if crosses else 4)
        assert all(check.holds for check in checks)
        moved = tuple(range(offset, offset + view.trace.tokens_shown))
        there = trace(load(path), view.text, Intervention(positions=moved)).layers[0].raw
        assert (largest_difference(there, view.trace.layers[0].raw) > 0.1) == crosses


def test_a_network_with_learned_positions_does_not_stay(folder):
    """#shift"""
    network = load(folder(gpt2_config()))
    here = trace(network, "The bell on the rock")
    moved = Intervention(positions=tuple(range(20, 20 + here.tokens_shown)))
    assert (
        largest_difference(trace(network, "The bell on the rock", moved).layers[0].raw, here.layers[0].raw)
        > 0.1
    )


@pytest.mark.parametrize("offset", [1, 500, 1024])
def test_only_the_difference_of_positions_is_left(offset):
    """#absolute-or-relative, #wish-to-rotation"""
    query, key = random_queries_and_keys(32, 20, 20, 3)
    at, frequency = torch.arange(20), frequencies(32, 1e4)
    here, there = (
        scores_by_pair(query, key, at + move, at + move, frequency, "half").total for move in (0, offset)
    )
    assert_close(here, there, atol=1e-3, rtol=1e-4)
    moved = scores_by_pair(query, key, at + 50, at, frequency, "half").total
    assert largest_difference(moved, here) > 1


def test_an_attention_factor_stands_in_the_formula_and_lengthens_both(folder):
    """The note "arithmetic": its square multiplies what a pair can add at most."""
    path = folder(llama_config(48, 6, 2, rope_parameters=SCALED["yarn"], max_position_embeddings=128))
    view = RotaryMicroscope.at(network="other", other=path, passage="yours", text="The bell on the rock")
    now = meeting(view)
    factor = now.head.rotary.factor
    assert factor == pytest.approx(0.1 * math.log(4) + 1)
    assert rf"s_{{1}}&={factor:.6g}^2\,|q_{{1}}||k_{{1}}|" in formula(now, 1)
    assert (now.scores.pairs[0, 0].abs() <= now.products.abs() * factor**2 * (1 + 1e-5)).all()
    own = meeting(RotaryMicroscope.at())
    assert "^2" not in formula(own, 1)
    assert (own.scores.pairs[0, 0].abs() <= own.products.abs() * (1 + 1e-5)).all()


def test_dimensions_that_are_not_turned_stand_beside_the_sum(folder):
    """#block-diagonal: with partial rotary they add a part to the score that knows no position."""
    view = RotaryMicroscope.at(network="other", other=folder(neox_config(64, 4)), offset=9, moved=-3)
    now = meeting(view)
    rest, total = float(now.scores.unrotated), float(now.scores.total)
    assert len(now.query) == 4 * 2 * len(now.head.rotary.frequency)
    assert rest != 0
    assert float(now.scores.pairs.sum()) + rest == pytest.approx(total, abs=1e-5)
    assert rf"s_p{rest:+.4f}={total:.4f}" in formula(now, 0)
    assert float(meeting(view.with_(moved=40)).scores.unrotated) == pytest.approx(rest)
