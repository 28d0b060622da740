"""Interventions as values: checks, hashing, the scale."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.networks.interventions import Intervention, Visible

FINITE = st.floats(-3, 3)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_mask_survives_packing(queries, keys, seed):
    mask = torch.rand(queries, keys, generator=torch.Generator().manual_seed(seed)) < 0.5
    packed = Visible.from_tensor(mask)
    assert torch.equal(packed.to_tensor(), mask)
    assert packed == Visible.from_tensor(mask.clone())
    assert hash(packed) == hash(Visible.from_tensor(mask.clone()))
    mask[0, 0] ^= True
    assert packed != Visible.from_tensor(mask)


def test_mask_of_nothing_is_refused():
    with pytest.raises(InputError):
        Visible.from_tensor(torch.ones(0, 3, dtype=torch.bool))


def test_mask_whose_bytes_are_missing_is_refused():
    with pytest.raises(InputError, match="3 × 3"):
        Visible(3, 3, b"\x00")


@pytest.mark.parametrize(
    "changes",
    [
        {"scale_exponent": math.nan},
        {"scale_exponent": math.inf},
        {"scale_exponent": 9.0},
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": 1e9},
        {"silenced": frozenset({(-1, 0)})},
    ],
)
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(InputError):
        Intervention(**changes)


def test_equal_interventions_are_one_cache_key():
    mask = torch.eye(4, dtype=torch.bool)
    keys = {
        Intervention(0.25, 2.0, frozenset({(0, 1)}), visible=Visible.from_tensor(mask)) for _ in range(3)
    }
    assert len(keys) == 1


@given(st.floats(1e-3, 10), st.integers(1, 512))
def test_default_leaves_the_networks_own_scale_bit_for_bit(base_scale, key_width):
    assert Intervention().scale(base_scale, key_width) == base_scale


@given(FINITE, st.floats(0.01, 100), st.integers(2, 512))
def test_scale_is_d_k_to_the_minus_p_over_temperature(exponent, temperature, key_width):
    scale = Intervention(exponent, temperature).scale(key_width**-0.5, key_width)
    assert scale == pytest.approx(key_width**-exponent / temperature, rel=1e-9)


def test_heads_and_masks_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="no head 4 in layer 0"):
        Intervention(silenced=frozenset({(0, 4)})).check_fits(layers=2, heads=4, tokens=3)
    with pytest.raises(InputError, match="no head 0 in layer 2"):
        Intervention(silenced=frozenset({(2, 0)})).check_fits(layers=2, heads=4, tokens=3)
    mask = Visible.from_tensor(torch.eye(2, dtype=torch.bool))
    with pytest.raises(InputError, match="3 tokens"):
        Intervention(visible=mask).check_fits(layers=2, heads=4, tokens=3)
