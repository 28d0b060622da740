"""Trainings that ship with Loupe are what a training of these settings gives."""

import itertools
import math

import numpy as np
import pytest
import torch

from models.optimizers.recorded import FIRST, FIRST_FOUR, RECORDED, four_of, packed, recorded, unpacked
from models.optimizers.training_lab import Training, train

COMPARED = 8  # steps; rounding of another machine grows from there


@pytest.mark.slow
@pytest.mark.parametrize("training", RECORDED, ids=str)
def test_a_recorded_training_begins_as_a_fresh_one_and_is_whole(training):
    steps = recorded(training)
    assert steps is not None
    assert len(steps) == training.steps
    assert [step.step for step in steps] == [*range(training.steps)]
    for ours, fresh in zip(steps, itertools.islice(train(training), COMPARED), strict=False):
        assert ours.loss == pytest.approx(fresh.loss, rel=1e-3)
        assert ours.rate == pytest.approx(fresh.rate, rel=1e-6)
        torch.testing.assert_close(ours.gradient_norms, fresh.gradient_norms.double(), rtol=1e-2, atol=1e-4)
        assert (ours.sharpness is None) == (fresh.sharpness is None)
        if fresh.sharpness is not None:
            assert ours.sharpness == pytest.approx(fresh.sharpness, rel=1e-2)
    assert steps[-1].loss < steps[0].loss


def test_others_are_not_recorded():
    assert recorded(Training(rate=0.0031)) is None
    assert recorded(FIRST) is not None
    assert all(recorded(training) for training in FIRST_FOUR)


def test_four_trainings_differ_in_norm_and_warmup_alone():
    trainings = four_of(5, 0.01, 3)
    assert {(run.norm, run.schedule.warmup) for run in trainings} == {
        ("pre", 0),
        ("pre", 50),
        ("post", 0),
        ("post", 50),
    }
    assert {(run.kind, run.layers, run.rate, run.seed, run.steps) for run in trainings} == {
        ("adam", 5, 0.01, 3, 100)
    }


def test_what_is_packed_is_unpacked():
    steps = list(train(Training(layers=1, steps=3, sharpness_every=2)))
    for before, after in zip(steps, unpacked(packed(steps)), strict=True):
        assert (before.step, before.diverged) == (after.step, after.diverged)
        assert after.loss == pytest.approx(before.loss, rel=1e-6)
        assert (before.sharpness is None) == (after.sharpness is None)
        torch.testing.assert_close(before.gradient_norms.double(), after.gradient_norms, rtol=1e-6, atol=0)


def test_a_training_that_diverged_says_so_when_unpacked():
    arrays = packed(list(train(Training(layers=1, steps=2))))
    arrays["losses"] = np.array([3.0, math.inf], dtype=np.float32)
    assert [step.diverged for step in unpacked(arrays)] == [False, True]
