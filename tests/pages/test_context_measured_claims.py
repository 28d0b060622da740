"""What the long-context lesson asserts of the embedded network, measured on a passage or two."""

import json
import math
from functools import lru_cache

import pytest
import torch

from components.panels.context.needle import DEPTHS
from components.panels.context.settings import METHODS, NETWORK, embedded, long_factors, way_of
from models.context.long_context import PASSAGES, loss_by_position, passage_tokens
from models.context.needle import Haystack, Retrieval, retrieve
from models.rotary.config import read_config
from models.rotary.rope import frequencies
from models.rotary.scaling import RopeSettings, scaled_rope

WINDOW = 128


@lru_cache(maxsize=64)
def losses(method: str, factor: float, length: int, passages: int = 1) -> torch.Tensor:
    way = way_of(method, factor, WINDOW)
    tokens = [passage_tokens(NETWORK, name, length) for name in PASSAGES[:passages]]
    return torch.stack([loss_by_position(NETWORK, way, text) for text in tokens])


def mean(method: str, factor: float, length: int, low: int, high: int, passages: int = 1) -> float:
    return float(losses(method, factor, length, passages)[:, low:high].mean())


@lru_cache(maxsize=16)
def found(method: str, length: int, factor: float = 8.0) -> Retrieval:
    return retrieve(NETWORK, way_of(method, factor, WINDOW), Haystack(length, DEPTHS, trials=4))


# Within the trained length


@pytest.mark.parametrize("factor", [2.0, 8.0, 32.0])
def test_static_scaling_costs_within_the_trained_length(factor):
    """#factor-is-free, #on-a-network, #interpolation: unscaled best, interpolation worst, by the factor."""
    short = {name: mean(name, factor, 512, 0, 256) for name in ("default", "linear", "yarn", "llama3")}
    assert max(short, key=short.__getitem__) == "linear"
    assert short["default"] < min(short.values()) + (0.03 if factor == 2 else 1e-6)
    assert short["linear"] > short["default"] + {2.0: 0.1, 8.0: 0.7, 32.0: 0.9}[factor]


@pytest.mark.parametrize("method", ["dynamic", "longrope"])
def test_dynamic_scaling_and_the_short_list_cost_nothing_there(method):
    """#dynamic, #factor-is-free, #longrope"""
    for factor in (2.0, 32.0):
        own = losses("default", factor, 256)
        if method == "longrope":  # its attention factor is there in short texts too
            rope = way_of(method, factor, WINDOW).rope
            assert torch.equal(scaled_rope(rope, 256).inverse_frequencies, frequencies(32, 1e4))
        else:
            torch.testing.assert_close(losses(method, factor, 256), own, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("factor", [1.0, 2.0, 8.0, 64.0])
def test_longropes_factor_sets_the_attention_factor_alone(factor):
    """#longrope: divisors in rising order, whatever the factor."""
    scaled = scaled_rope(way_of("longrope", factor, WINDOW).rope, 2_048)
    assert scaled.attention_factor == pytest.approx(math.sqrt(1 + math.log(factor) / math.log(256)))
    divisors = torch.tensor(long_factors())
    torch.testing.assert_close(scaled.inverse_frequencies, frequencies(32, 1e4) / divisors)
    assert (divisors.diff() >= 0).all()


# Beyond it


def test_beyond_the_trained_length_the_unscaled_network_climbs_and_interpolation_stays_flat():
    """#what-breaks, #interpolation, #pi-worse at factor 8."""
    parts = [(257, 512), (512, 1024), (1024, 2047)]
    own, linear = ([mean(name, 8.0, 2_048, *part) for part in parts] for name in ("default", "linear"))
    assert own == sorted(own)
    assert own[-1] > own[0] + 0.5
    assert max(linear) < linear[0] + 0.1  # what is left is how hard the passage is
    assert linear[-1] < own[-1]
    assert linear[0] > own[0] + 0.5


def test_ntk_is_ahead_at_first_and_behind_at_the_end():
    """#pi-worse, #ntk: the order turns round before sL."""
    assert mean("ntk", 8.0, 2_048, 0, 1024) < mean("linear", 8.0, 2_048, 0, 1024) - 0.5
    assert mean("ntk", 8.0, 2_048, 1792, 2047) > mean("linear", 8.0, 2_048, 1792, 2047) + 0.1


@pytest.mark.parametrize("factor", [4.0, 8.0])
def test_windows_and_sinks_lose_nothing_and_methods_by_parts_win(factor):
    """#windows, #perplexity, #on-a-network, on tokens 513 to 1,024."""
    far = {
        name: mean(name, factor, 1_024, 512, 1_023)
        for name in ("default", "linear", "yarn", "window", "lambda")
    }
    assert abs(far["window"] - far["lambda"]) < 0.05
    assert far["window"] < far["yarn"] < far["default"] - 0.2
    assert far["yarn"] < far["linear"]


# Needles


def test_a_window_finds_hardly_a_needle_and_yarn_does():
    """#perplexity, #needle"""
    yarn, window, own = (found(name, 1_024).best_of_all for name in ("yarn", "window", "default"))
    assert float(window[:-1].mean()) < 0.15
    assert float(yarn.mean()) > 0.4 > float(own.mean())


@pytest.mark.parametrize("length", [256, 512])
def test_interpolation_without_fine_tuning_finds_nothing(length):
    """#needle"""
    assert float(found("linear", length).best_of_all.mean()) < 0.15
    assert float(found("yarn", length).best_of_all.mean()) > 0.4


def test_the_easier_score_has_a_chance_of_one_in_five():
    """#needle: of the five values that the text holds."""
    guess = retrieve(
        NETWORK, way_of("default", 8.0, WINDOW), Haystack(128, DEPTHS, trials=64), hidden=False
    )
    assert 1 / DEPTHS == 0.2
    assert 0.1 < float(guess.best_of_values.mean()) < 0.3


# Frequencies and configs


def test_turns_of_the_embedded_network():
    """#yarn: of sixteen pairs one turns more than 32 times within 256 tokens, so that hardly one stays."""
    assert (embedded().head_width, embedded().context) == (32, 256)
    turned = 256 * frequencies(32, 1e4) / (2 * math.pi)
    assert (int((turned > 32).sum()), int((turned < 1).sum())) == (1, 9)
    kept = scaled_rope(way_of("yarn", 8.0, WINDOW).rope).inverse_frequencies / frequencies(32, 1e4)
    assert int((kept > 1 - 1e-6).sum()) <= 2


@pytest.mark.parametrize("factor", [1.0, 2.0, 8.0, 64.0])
def test_the_truncated_basis_keeps_levels_and_drops(factor):
    """#truncated: whatever the factor; what no text of 2,048 turns is 0, what 256 turn stays."""
    made = scaled_rope(way_of("truncated", factor, WINDOW).rope).inverse_frequencies
    own = frequencies(32, 1e4)
    stays, drops = own * 256 >= 2 * math.pi, own * 2_048 <= 2 * math.pi
    assert torch.equal(made[stays], own[stays])
    assert not made[drops].any()
    assert len(set(made[~stays & ~drops].tolist())) == 1
    assert "truncated" in METHODS


@pytest.mark.parametrize("kind", ["yarn", "llama3"])
def test_an_original_length_that_is_left_out_moves_the_bands(kind):
    """#config: it defaults to the extended length."""
    scaling = {"rope_type": kind, "factor": 8.0, "original_max_position_embeddings": 4_096}
    if kind == "llama3":
        scaling |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = {"model_type": "llama", "head_dim": 128, "max_position_embeddings": 32_768}
    made = []
    for left_out in (False, True):
        held = {
            key: value for key, value in scaling.items() if not left_out or not key.startswith("original")
        }
        (rope,) = read_config(json.dumps(config | {"rope_scaling": held})).ropes
        assert rope.settings.original == (32_768 if left_out else 4_096)
        made.append(scaled_rope(rope.settings).inverse_frequencies)
    assert int((made[0] < made[1] * (1 - 1e-6)).sum()) > 5


def test_llama_3_1s_lengths_say_16_and_its_factor_8():
    """#llama3"""
    rope = RopeSettings(
        "llama3",
        128,
        rope_theta=5e5,
        longest=131_072,
        trained=8_192,
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
    )
    assert rope.longest / rope.original == 16
    slowed = frequencies(128, 5e5) / scaled_rope(rope).inverse_frequencies
    assert float(slowed.max()) == pytest.approx(8)
    wavelength = 2 * math.pi / frequencies(128, 5e5)
    torch.testing.assert_close(slowed[wavelength < 8_192 / 4], torch.ones(int((wavelength < 2_048).sum())))
    assert (slowed[wavelength > 8_192] > 8 - 1e-4).all()
    between = slowed[(wavelength >= 2_048) & (wavelength <= 8_192)]
    assert ((between > 1) & (between < 8)).all()
