"""models.lora.latency: merging leaves the output alone, and bottlenecks hold what they should."""

import pytest
import torch

from models.errors import InputError
from models.lora.fine_tuning import held_out_loss, texts
from models.lora.latency import VARIANTS, Bottleneck, measure, with_bottlenecks
from models.networks.catalogue import DEFAULT
from models.networks.loading import fresh_copy


def test_merging_changes_nothing_but_rounding():
    found = measure(("q_proj", "up_proj"), 4, 8, repeats=1)
    assert set(found.milliseconds) == set(VARIANTS)
    assert all(value > 0 for value in found.milliseconds.values())
    assert found.merge_difference < 1e-3
    assert found.adapter_difference > 100 * found.merge_difference


def test_a_bottleneck_is_two_linear_layers_in_series():
    torch.manual_seed(0)
    adapter, hidden = Bottleneck(6, 2), torch.randn(3, 6)
    expected = hidden + torch.nn.Sequential(adapter.down, torch.nn.ReLU(), adapter.up)(hidden)
    assert torch.equal(adapter(hidden), expected)


def test_bottlenecks_change_the_network():
    model, windows = fresh_copy(DEFAULT), texts("prose").held_out[:1]
    before = held_out_loss(model, windows)
    assert held_out_loss(with_bottlenecks(model, 4), windows) != pytest.approx(before, abs=1e-3)


def test_impossible_settings_are_refused():
    with pytest.raises(InputError):
        measure((), 4, 8)
