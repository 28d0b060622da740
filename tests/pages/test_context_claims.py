"""What the long-context lesson asserts of frequencies, at its links and at other settings."""

import math

import pytest
import torch

from models.rotary.rope import frequencies
from models.rotary.scaling import (
    RopeSettings,
    ScaledRope,
    dynamic_factor,
    longrope_attention_factor,
    scaled_rope,
    yarn_attention_factor,
    yarn_paper,
)

# width, base, trained length, factor; the first is that of the links
PLACES = [
    (32, 1e4, 256, 8.0),
    (32, 1e4, 256, 2.0),
    (128, 5e5, 8_192, 8.0),
    (64, 1e4, 2_048, 16.0),
    (128, 1e4, 4_096, 3.0),
    (16, 1e3, 128, 4.0),
]


def settings(kind: str, place: tuple[int, float, int, float], **more: float) -> RopeSettings:
    width, base, trained, factor = place
    longest = round(factor * trained)
    lengths = (
        {"longest": trained} if kind in ("ntk", "dynamic") else {"longest": longest, "trained": trained}
    )
    return RopeSettings(kind, width, rope_theta=base, factor=factor, **lengths, **more)


def never_turned(place: tuple[int, float, int, float]) -> torch.Tensor:
    width, base, trained, _factor = place
    return frequencies(width, base) * trained < 2 * math.pi


def leaves(place: tuple[int, float, int, float], scaled: ScaledRope, times: float) -> torch.Tensor:
    """Which pairs that never turned meet angles beyond their arc in a text of ``times`` · L tokens."""
    width, base, _trained, _factor = place
    reached = scaled.inverse_frequencies * times
    return (reached > frequencies(width, base) * (1 + 1e-5)) & never_turned(place)


def test_nine_of_sixteen_pairs_never_turned_in_the_network_of_the_links():
    assert int(never_turned(PLACES[0]).sum()) == 9


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_who_leaves_the_trained_arc(place):
    """#pi-worse, #ntk, #yarn: interpolation nowhere up to sL, NTK in the middle, by parts nowhere."""
    factor = place[3]
    linear = scaled_rope(settings("linear", place))
    assert not leaves(place, linear, factor).any()
    assert torch.equal(leaves(place, linear, 1.01 * factor), never_turned(place))
    ntk = leaves(place, scaled_rope(settings("ntk", place)), factor)
    assert not ntk[-1]  # the slowest is slowed by s exactly
    assert torch.equal(ntk[:-1], never_turned(place)[:-1])
    bands = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    for by_parts in (
        yarn_paper(settings("yarn", place)),
        scaled_rope(settings("yarn", place)),
        scaled_rope(settings("llama3", place, **bands)),
    ):
        assert not leaves(place, by_parts, factor).any()


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_what_scaling_does_to_short_texts(place):
    """#factor-is-free, #dynamic: dynamic NTK and a short list leave short texts alone, others do not."""
    width, base, trained, factor = place
    own = frequencies(width, base)
    for kind in ("linear", "ntk", "yarn"):
        changed = scaled_rope(settings(kind, place), trained // 2).inverse_frequencies
        assert (changed < own * (1 - 1e-6)).any()
    dynamic = scaled_rope(settings("dynamic", place), trained // 2)
    torch.testing.assert_close(dynamic.inverse_frequencies, own)
    lists = {"short_factor": (1.0,) * (width // 2), "long_factor": (factor,) * (width // 2)}
    searched = settings("longrope", place, **lists)
    torch.testing.assert_close(scaled_rope(searched, trained).inverse_frequencies, own)
    torch.testing.assert_close(scaled_rope(searched, trained + 1).inverse_frequencies, own / factor)
    assert longrope_attention_factor(searched) == pytest.approx(
        math.sqrt(1 + math.log(round(factor * trained) / trained) / math.log(trained))
    )
    assert yarn_attention_factor(settings("yarn", place)) == pytest.approx(0.1 * math.log(factor) + 1)


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_dynamic_stretch_in_paper_and_library(place):
    """#dynamic: sℓ/L − (s − 1) in transformers is the paper's ℓ/L for a factor of 1 and larger else."""
    _width, _base, trained, factor = place
    for times in (1.5, 3.0, 8.0):
        length = round(times * trained)
        assert dynamic_factor(1.0, length, trained) == pytest.approx(length / trained)
        assert dynamic_factor(factor, length, trained) == pytest.approx(
            factor * length / trained - (factor - 1)
        )
        assert dynamic_factor(factor, length, trained) > length / trained


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_larger_longest_text_alone_changes_no_frequency(place):
    """#config, and LongRoPE's special case of geometric divisors is NTK-aware."""
    width, base, trained, factor = place
    for longest in (trained, 4 * trained):
        plain = RopeSettings("default", width, rope_theta=base, longest=longest)
        torch.testing.assert_close(scaled_rope(plain).inverse_frequencies, frequencies(width, base))
    divisors = tuple(factor ** (2 * pair / (width - 2)) for pair in range(width // 2))
    lists = {"short_factor": (1.0,) * (width // 2), "long_factor": divisors}
    searched = scaled_rope(settings("longrope", place, **lists), 2 * trained)
    ntk = scaled_rope(settings("ntk", place))
    torch.testing.assert_close(searched.inverse_frequencies, ntk.inverse_frequencies, rtol=1e-4, atol=0.0)
