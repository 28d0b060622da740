"""models.positions.checks: what it compares with is right, and a wrong number is noticed."""

import pytest
import torch
from torch.testing import assert_close

from models.positions import checks as position_checks
from models.positions.absolute import sinusoidal
from models.positions.checks import (
    alibi_difference,
    bucket_difference,
    rotated_by_transformers,
    sinusoidal_difference,
)
from models.rotary.rope import LAYOUTS, frequencies, rotate, rotation


@pytest.mark.parametrize("base", [50.0, 10_000.0, 500_000.0])
def test_the_encoding_agrees_and_a_shifted_one_does_not(base):
    table = sinusoidal(120, 64, base)
    assert sinusoidal_difference(table, base) < 1e-6
    assert sinusoidal_difference(table.roll(1, dims=1), base) > 0.5
    assert sinusoidal_difference(table, 2 * base) > 0.1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rotation_agrees_in_both_layouts_and_not_across_them(layout):
    x = torch.randn(9, 20, generator=torch.Generator().manual_seed(0))
    turn = rotation(torch.arange(9), frequencies(16, 100.0), layout)
    assert_close(rotated_by_transformers(x, turn), rotate(x, turn))
    assert (rotated_by_transformers(x, turn) - rotate(x, turn.other)).abs().max() > 0.1


def test_biases_agree_and_wrong_ones_are_noticed(monkeypatch):
    assert alibi_difference(6) < 1e-7
    assert bucket_difference(50, False, 32, 128) == 0
    monkeypatch.setattr(position_checks, "alibi_slopes", lambda heads: torch.ones(heads))
    monkeypatch.setattr(position_checks, "t5_bucket", lambda relative, *_settings: relative)
    assert alibi_difference(6) > 0.5
    assert bucket_difference(50, False, 32, 128) > 30
