"""The second way to the losses: the same numbers, and a difference where there is one."""

import pytest
import torch

from models.preference.checks import MOST_CHECKED, by_torch, differences, first_pairs
from models.preference.losses import DIVERGENCES, LossSettings, Pairs, graded, sigmoid
from models.preference.relatives import LOSSES
from tests.models.preference.test_losses import random_pairs


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("name", LOSSES)
def test_both_ways_agree(name, divergence):
    settings = LossSettings(
        beta=0.3, smoothing=0.1, divergence=divergence, kl=0.3, gamma=0.4, ipo_by_token=False
    )
    value, gradient = differences(name, random_pairs(11, 40), settings)
    assert value < 1e-9
    assert gradient < 1e-9


def test_a_wrong_loss_would_show(monkeypatch):
    monkeypatch.setitem(LOSSES, "sigmoid", lambda pairs, settings: 1.001 * sigmoid(pairs, settings))
    value, gradient = differences("sigmoid", random_pairs(1), LossSettings())
    assert value > 1e-5
    assert gradient > 1e-6


def test_only_so_many_pairs_are_compared():
    pairs = random_pairs(3, MOST_CHECKED + 20)
    assert len(first_pairs(pairs, MOST_CHECKED)) == MOST_CHECKED
    assert max(differences("sft", pairs, LossSettings())) < 1e-9


def test_float32_pairs_too():
    pairs = Pairs(*(column.float() for column in vars(random_pairs(2)).values()))
    settings = LossSettings()
    torch.testing.assert_close(by_torch("sigmoid", pairs, settings), graded(sigmoid, pairs, settings).loss)
