"""Rotary scaling: every method against transformers, on random settings, and by its own properties."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXConfig, GPTNeoXRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from models.errors import InputError
from models.rotary.library import config_of, library_rope
from models.rotary.rope import frequencies
from models.rotary.scaling import (
    LONGEST,
    RopeSettings,
    check_length,
    dynamic_factor,
    longrope_attention_factor,
    ntk_base,
    pair_with_turns,
    scaled_rope,
    yarn_attention_factor,
    yarn_paper,
    yarn_paper_ramp,
    yarn_ramp,
)

TOLERANCE = 1e-6  # relative; the goal of the page
WIDTHS = st.integers(2, 96).map(lambda pairs: 2 * pairs)
BASES = st.floats(100, 5e6)
FACTORS = st.floats(1, 64)
TRAINED = st.integers(64, 32_768)


def agree(settings: RopeSettings, length: int | None = None) -> None:
    ours, theirs = scaled_rope(settings, length), library_rope(settings, length)
    torch.testing.assert_close(ours.inverse_frequencies, theirs.inverse_frequencies, rtol=TOLERANCE, atol=0)
    assert ours.attention_factor == pytest.approx(theirs.attention_factor, rel=1e-9)


@given(WIDTHS, BASES, FACTORS, TRAINED, st.sampled_from(["default", "linear"]))
def test_default_and_linear_are_those_of_transformers(width, base, factor, trained, kind):
    agree(RopeSettings(kind, width, base, longest=trained, factor=factor))


@given(WIDTHS, BASES)
def test_unscaled_frequencies_are_those_of_llama(width, base):
    config = config_of(RopeSettings("default", width, base))
    theirs = LlamaRotaryEmbedding(config).inv_freq
    torch.testing.assert_close(frequencies(width, base), theirs, rtol=TOLERANCE, atol=0)


@given(st.integers(1, 32).map(lambda n: 8 * n), st.sampled_from([0.25, 0.5, 1.0]), BASES)
def test_partial_rotation_is_that_of_gpt_neox(head_dim, share, base):
    config = GPTNeoXConfig(
        hidden_size=head_dim, num_attention_heads=1, rotary_pct=share, rotary_emb_base=base
    )
    settings = RopeSettings("default", head_dim, base, partial_rotary_factor=share)
    theirs = GPTNeoXRotaryEmbedding(config).inv_freq
    torch.testing.assert_close(scaled_rope(settings).inverse_frequencies, theirs, rtol=TOLERANCE, atol=0)


@given(WIDTHS, BASES, FACTORS, TRAINED, st.integers(1, 200_000))
def test_dynamic_ntk_is_that_of_transformers_at_every_length(width, base, factor, trained, length):
    agree(RopeSettings("dynamic", width, base, longest=trained, factor=factor), length)
    agree(RopeSettings("dynamic", width, base, longest=trained, factor=factor))


@given(WIDTHS, BASES, FACTORS, TRAINED)
def test_ntk_is_dynamic_ntk_with_factor_1_at_that_many_times_the_length(width, base, factor, trained):
    agree(RopeSettings("ntk", width, base, longest=trained, factor=factor))


@given(
    WIDTHS,
    BASES,
    FACTORS,
    TRAINED,
    st.booleans(),
    st.tuples(st.floats(0.5, 4), st.floats(4, 64)) | st.none(),
    st.tuples(st.floats(0.1, 2), st.floats(0.1, 2)) | st.none(),
    st.floats(0.1, 3) | st.none(),
)
def test_yarn_is_that_of_transformers(
    width, base, factor, trained, truncate, betas, mscales, attention_factor
):
    slow, fast = betas or (None, None)
    mscale, mscale_all_dim = mscales or (None, None)
    agree(
        RopeSettings(
            "yarn",
            width,
            base,
            longest=4 * trained,
            trained=trained,
            factor=factor,
            truncate=truncate,
            beta_slow=slow,
            beta_fast=fast,
            mscale=mscale,
            mscale_all_dim=mscale_all_dim,
            attention_factor=attention_factor,
        )
    )


@given(WIDTHS, BASES, FACTORS, TRAINED, st.floats(0.5, 4), st.floats(0.5, 8))
def test_llama3_is_that_of_transformers(width, base, factor, trained, low, more):
    settings = RopeSettings(
        "llama3",
        width,
        base,
        longest=4 * trained,
        trained=trained,
        factor=factor,
        low_freq_factor=low,
        high_freq_factor=low + more,
    )
    agree(settings)


@given(st.data(), WIDTHS, BASES, FACTORS, TRAINED)
def test_longrope_is_that_of_transformers_short_and_long(data, width, base, factor, trained):
    listed = st.lists(st.floats(0.5, 64), min_size=width // 2, max_size=width // 2).map(tuple)
    settings = RopeSettings(
        "longrope",
        width,
        base,
        longest=4 * trained,
        trained=trained,
        factor=data.draw(st.sampled_from([None, factor])),
        short_factor=data.draw(listed),
        long_factor=data.draw(listed),
        attention_factor=data.draw(st.none() | st.floats(0.5, 2)),
    )
    for length in (None, 1, trained, trained + 1, 4 * trained):
        agree(settings, length)


@given(st.integers(4, 64).map(lambda n: 4 * n), BASES, FACTORS, st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_proportional_is_that_of_transformers(width, base, factor, share):
    agree(RopeSettings("proportional", width, base, factor=factor, partial_rotary_factor=share))


@given(WIDTHS, BASES, st.integers(0, 96), st.floats(1e-9, 1))
@example(164, 100.0, 56, 1.0)  # 57 pairs of 82: a share that floats round down
def test_the_truncated_basis_keeps_cuts_and_levels(width, base, kept, share):
    own = frequencies(width, base)
    keep = float(own[min(kept, len(own) - 1)])
    cut = share * keep
    settings = RopeSettings(
        "truncated", width, base, keep_above=keep, cut_below=cut, constant=0.5 * (keep + cut)
    )
    scaled = scaled_rope(settings).inverse_frequencies
    high, low = own >= keep, (own <= cut) & (own < keep)
    torch.testing.assert_close(scaled[high], own[high], rtol=0, atol=0)
    assert (scaled[low] == 0).all()
    between = scaled[~high & ~low]
    torch.testing.assert_close(between, torch.full_like(between, settings.constant))
    # transformers' proportional type keeps the same pairs, where nothing is levelled.
    theirs = library_rope(settings).inverse_frequencies
    torch.testing.assert_close(scaled[: len(theirs)], theirs, rtol=TOLERANCE, atol=0)


# Papers and relations


@given(WIDTHS, BASES, FACTORS)
def test_ntk_slows_the_last_pair_by_the_factor_and_the_first_not_at_all(width, base, factor):
    slowed = scaled_rope(RopeSettings("ntk", width, base, factor=factor)).inverse_frequencies
    ratio = frequencies(width, base) / slowed
    pairs = width // 2
    expected = factor ** (torch.arange(pairs) / (pairs - 1))
    torch.testing.assert_close(ratio, expected, rtol=1e-4, atol=0)
    assert ntk_base(base, 1.0, width) == base


@given(WIDTHS, BASES, FACTORS, TRAINED, st.floats(0.5, 4), st.floats(0.5, 8))
def test_llama3_is_yarns_paper_with_its_two_bounds(width, base, factor, trained, low, more):
    """Llama 3's bands are NTK-by-parts as YaRN's paper writes it, and not as its code has it."""
    common = {"longest": 4 * trained, "trained": trained, "factor": factor}
    llama = RopeSettings("llama3", width, base, **common, low_freq_factor=low, high_freq_factor=low + more)
    paper = RopeSettings("yarn", width, base, **common, beta_slow=low, beta_fast=low + more)
    torch.testing.assert_close(
        scaled_rope(llama).inverse_frequencies,
        yarn_paper(paper).inverse_frequencies,
        rtol=1e-5,
        atol=0,
    )


def test_yarns_paper_and_code_differ():
    """The paper's ramp is linear in turns, the code's in the pair's number: worked by hand."""
    settings = RopeSettings("yarn", 128, 10_000.0, longest=65_536, trained=4_096, factor=16.0)
    assert math.floor(pair_with_turns(settings, 32.0)) == 20
    assert math.ceil(pair_with_turns(settings, 1.0)) == 46
    pair = 33
    turns = 4_096 * 10_000 ** (-2 * pair / 128) / (2 * math.pi)
    assert float(yarn_ramp(settings)[pair]) == pytest.approx((pair - 20) / 26)
    assert float(yarn_paper_ramp(settings)[pair]) == pytest.approx(1 - (turns - 1) / 31, rel=1e-4)
    assert yarn_attention_factor(settings) == pytest.approx(0.1 * math.log(16) + 1)
    assert yarn_paper(settings).attention_factor == yarn_attention_factor(settings)


def test_mscale_as_deepseek_has_it_cancels():
    settings = RopeSettings("yarn", 64, longest=163_840, trained=4_096, factor=40.0)
    both = replace(settings, mscale=1.0, mscale_all_dim=1.0)
    assert yarn_attention_factor(both) == 1
    assert yarn_attention_factor(settings) == pytest.approx(1.3689, abs=1e-4)
    assert yarn_attention_factor(replace(settings, attention_factor=1.0)) == 1


def test_dynamic_stretch_of_paper_and_library():
    assert dynamic_factor(1.0, 2_048, 256) == 8
    assert dynamic_factor(8.0, 2_048, 256) == 57
    assert dynamic_factor(8.0, 100, 256) == 1


def test_longrope_attention_factor_of_phi_3():
    settings = RopeSettings(
        "longrope",
        96,
        longest=131_072,
        trained=4_096,
        short_factor=(1.0,) * 48,
        long_factor=(1.0,) * 48,
    )
    assert longrope_attention_factor(settings) == pytest.approx(
        math.sqrt(1 + math.log(32) / math.log(4_096))
    )


@given(WIDTHS, BASES, st.integers(2, 10_000))
def test_wavelengths_and_turns_belong_together(width, base, length):
    scaled = scaled_rope(RopeSettings("default", width, base))
    torch.testing.assert_close(
        scaled.turns(length) * scaled.wavelengths, torch.full((width // 2,), length - 1.0)
    )


# Bad input


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("default", {"head_dim": 33}, "cannot be rotated in pairs"),
        ("default", {"head_dim": 0}, "cannot be rotated in pairs"),
        ("default", {"head_dim": -2}, "cannot be rotated in pairs"),
        ("default", {"head_dim": 30, "partial_rotary_factor": 0.5}, "cannot be rotated in pairs"),
        ("default", {"rope_theta": 0.0}, "base"),
        ("default", {"rope_theta": -10.0}, "base"),
        ("default", {"rope_theta": math.nan}, "base"),
        ("linear", {"factor": 0.5}, "factor"),
        ("linear", {"factor": math.inf}, "factor"),
        ("linear", {}, "needs the field"),
        ("ntk", {"factor": 2.0, "head_dim": 2}, "two pairs"),
        ("llama3", {"factor": 8.0}, "low_freq_factor"),
        ("llama3", {"factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0}, "low_freq_factor"),
        ("yarn", {"factor": 8.0, "beta_slow": 40.0}, "beta_slow"),
        ("longrope", {"factor": 8.0, "short_factor": (1.0,)}, "must list"),
        ("truncated", {"cut_below": 1.0, "keep_above": 0.5}, "truncated"),
        ("default", {"longest": 0}, "length"),
        ("default", {"longest": LONGEST + 1}, "length"),
        ("mystery", {}, "not known"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_a_sentence(kind, changes, said):
    with pytest.raises(InputError, match=said):
        RopeSettings(kind, **{"head_dim": 32, **changes})


@pytest.mark.parametrize("length", [0, -1, LONGEST + 1])
def test_positions_beyond_any_table_are_refused(length):
    with pytest.raises(InputError, match="positions"):
        check_length(length)
    with pytest.raises(InputError, match="positions"):
        scaled_rope(RopeSettings("default", 32), length)


MEETING = RopeSettings("yarn", 32, 10_000.0, longest=1_024, trained=256, factor=4.0)


@pytest.mark.parametrize(
    "settings",
    [
        replace(MEETING, beta_fast=9.0, beta_slow=9.0),
        replace(MEETING, trained=20, longest=80, beta_fast=900.0, beta_slow=800.0),
        replace(MEETING, trained=6, longest=24),
        replace(MEETING, head_dim=8, rope_theta=100.0, trained=1_000_000, longest=4_000_000),
    ],
    ids=["one number of turns", "before the first pair", "at the first pair", "behind the last pair"],
)
@pytest.mark.parametrize("truncate", [True, False])
def test_a_ramp_whose_ends_meet_is_that_of_transformers(settings, truncate):
    """Then 0.001 keeps it from a division by zero, in either way of rounding."""
    settings = replace(settings, truncate=truncate)
    agree(settings)
    assert yarn_ramp(settings).isfinite().all()
