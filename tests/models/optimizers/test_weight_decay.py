"""models.optimizers.weight_decay: the golden example, and the two theorems behind it."""

import math

import pytest
import torch
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.weight_decay import DecayTrial, decay_only, decay_run

GOLDEN = DecayTrial()  # deviations 10 and 0.1, decay 0.1, rate 1e-3, 2000 steps from 1


@pytest.mark.parametrize(("way", "single_runs"), [("adam_l2", (0.94, 0.185)), ("adamw", (0.778, 0.811))])
def test_the_golden_numbers_lie_among_single_runs(way, single_runs):
    found = decay_run(GOLDEN, way)
    for mean, deviation, golden in zip(found.mean[-1], found.deviation[-1], single_runs, strict=True):
        assert abs(golden - mean.item()) < 3 * deviation.item()


def test_l2_spares_large_gradients_and_adamw_treats_all_alike():
    l2, decoupled = (decay_run(GOLDEN, way).mean[-1] for way in ("adam_l2", "adamw"))
    alone = decay_only(GOLDEN)[-1].item()
    assert alone == pytest.approx(0.819, abs=5e-4)
    assert l2[0] > 0.93
    assert l2[1] < 0.25
    assert decoupled.tolist() == pytest.approx([alone, alone], abs=0.02)


def test_for_sgd_l2_is_decay():
    """Without noise exactly: SGD's weight_decay multiplies by 1 − ηλ a step."""
    trial = DecayTrial(deviations=(0.0,), steps=300, copies=1)
    assert_close(decay_run(trial, "sgd_l2").mean[:, 0], decay_only(trial))
    assert_close(decay_run(trial, "adamw").mean[:, 0], decay_only(trial))


def test_a_run_is_a_bare_loop_of_torch():
    trial = DecayTrial(deviations=(2.0, 0.3, 1.0), steps=40, copies=5, seed=9)
    generator = torch.Generator().manual_seed(9)
    theta = torch.ones(5, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=1e-3, weight_decay=0.1)
    for _ in range(40):
        noise = torch.randn(5, 3, generator=generator, dtype=torch.float64)
        theta.grad = noise * torch.tensor([2.0, 0.3, 1.0])
        optimizer.step()
    found = decay_run(trial, "adam_l2")
    assert_close(found.mean[-1], theta.detach().mean(0), rtol=1e-6, atol=1e-7)
    assert_close(found.deviation[-1], theta.detach().std(0, correction=0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DecayTrial(deviations=()),
        lambda: DecayTrial(deviations=(-1.0,)),
        lambda: DecayTrial(deviations=(math.nan,)),
        lambda: DecayTrial(steps=0),
        lambda: DecayTrial(copies=10_000),
        lambda: decay_run(DecayTrial(weight_decay=-1.0), "adamw"),
        lambda: decay_run(DecayTrial(rate=0.0), "adamw"),
        lambda: decay_run(GOLDEN, "moon"),
    ],
)
def test_what_is_refused(make):
    with pytest.raises(InputError):
        make()
