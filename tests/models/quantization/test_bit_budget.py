"""Bits for parts of unequal size, and parts of a network whose layers six do not divide."""

import pytest
import torch

from models.networks.loading import load
from models.quantization import bit_budget
from models.quantization.bit_budget import best_allocation, greedy_allocation, mean_bits, parts_of
from models.quantization.quantized_network import Weight


def test_bits_of_a_large_part_weigh_more():
    """One part has nine tenths of the weights: its bits are nine tenths of the mean, and of the cap."""
    sizes = torch.tensor([90, 10])
    assert mean_bits((2, 8), sizes) == pytest.approx(0.9 * 2 + 0.1 * 8)
    assert mean_bits((8, 2), sizes) == pytest.approx(0.9 * 8 + 0.1 * 2)
    falls = torch.tensor([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]])
    for allocate in (greedy_allocation, best_allocation):
        # 0.6 bits a weight are left over 2: eight bits for the small part, and not one for the large
        assert allocate(falls, sizes, 2.6) == (2, 8)
        assert allocate(falls, sizes, 2.6 - 1e-6) == (2, 6)
        assert allocate(falls, sizes, 2.9) == (3, 2)


def test_the_greedy_answer_counts_what_a_large_part_costs():
    """A bit more for the large part gains a little more, and costs nine times as much."""
    falls = torch.tensor([[1.0] + 5 * [0.0], [0.9] + 5 * [0.0]])
    assert greedy_allocation(falls, torch.tensor([90, 10]), 2.9) == (2, 3)
    assert best_allocation(falls, torch.tensor([90, 10]), 2.9) == (3, 2)


def test_parts_of_a_deep_network_are_runs_of_layers_of_nearly_equal_length(monkeypatch):
    """Nine layers in six parts: each layer in one part, and none of them two longer than another."""
    weights = tuple(
        Weight(layer, module, f"{layer}.{module}") for layer in range(9) for module in ("q", "k")
    )
    monkeypatch.setattr(bit_budget, "weights_of", lambda _network: weights)
    parts = parts_of(load("loupe-llama"))
    assert [layer for part in parts for layer in range(part.first, part.last + 1)] == list(range(9))
    assert sorted({part.last - part.first + 1 for part in parts}) == [1, 2]
    assert [weight for part in parts for weight in part.weights] == list(weights)
