"""models.optimizers.bias_correction against torch's Adam and RAdam, and the golden 3.16 → 6.57."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.bias_correction import (
    Gradients,
    correction_ratio,
    first_steps,
    library_steps,
    radam_factors,
    spread_of_first_steps,
    uncorrected_steps,
)


def test_the_golden_ratio_peaks_at_the_twelfth_step():
    ratio = correction_ratio(0.9, 0.999, 5_000)
    assert ratio[0].item() == pytest.approx(3.16, abs=0.005)
    assert ratio.max().item() == pytest.approx(6.57, abs=0.005)
    assert ratio.argmax().item() + 1 == 12
    assert ratio[-1].item() == pytest.approx(1.0, abs=0.01)


@given(st.floats(0, 0.99), st.floats(0, 0.9999), st.floats(-1e3, 1e3), st.integers(0, 99))
def test_without_correction_steps_are_larger_by_the_ratio(beta1, beta2, mean, seed):
    gradients = Gradients(mean, 1.0, 30, seed).draw(3)
    with_correction = library_steps("adam", gradients, *clamped(beta1, beta2))
    without = uncorrected_steps(gradients, *clamped(beta1, beta2))
    ratio = correction_ratio(*clamped(beta1, beta2), 30)[:, None].expand_as(without)
    large = with_correction > 1e-3  # beside these, ε and rounding count
    assert_close(without[large], (with_correction * ratio)[large], rtol=1e-4, atol=1e-6)


def clamped(beta1, beta2):
    return beta1, max(0.5, beta2)


def test_golden_radam_on_a_constant_gradient_of_1000():
    steps = library_steps("radam", Gradients(1000.0, 0.0, 6).draw(), 0.9, 0.999)[:, 0]
    assert_close(steps[:5], torch.full((5,), 1000.0, dtype=torch.float64))
    assert steps[5].item() == pytest.approx(0.026, abs=5e-4)
    rho, r = radam_factors(0.999, 6)
    assert (rho[:5] <= 5).all()
    assert r[:5].isnan().all()
    assert steps[5].item() == pytest.approx(r[5].item(), rel=1e-9)


def test_first_steps_are_torchs_and_warm_up_only_scales_them():
    stream = Gradients(1.0, 0.5, 20, seed=4)
    found = first_steps(stream, 0.9, 0.99, warmup=9)
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=1.0, betas=(0.9, 0.99))
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 10, total_iters=9)
    for t, g in enumerate(stream.draw()):
        before = theta.item()
        theta.grad = g.clone()
        optimizer.step()
        scheduler.step()
        assert found["warmup"][t].item() == pytest.approx(abs(theta.item() - before), rel=1e-9)
    assert_close(found["adam"][9:], found["warmup"][9:])
    assert found["adam"][0].item() == pytest.approx(1.0)
    assert found["uncorrected"][0].item() == pytest.approx(0.1 / math.sqrt(0.01))


def test_the_spread_is_over_many_streams():
    spread = spread_of_first_steps(Gradients(0.0, 1.0, 200), 0.9, 0.999, rows=2_000)
    assert spread[0].item() == pytest.approx(1.0, abs=0.01)  # every first step is ±1
    assert spread[-1].item() == pytest.approx(math.sqrt(0.1 / 1.9), rel=0.1)  # that of m alone: v̂ is known
    assert spread[0] > 2 * spread[-1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: correction_ratio(1.0, 0.9, 5),
        lambda: correction_ratio(0.9, -0.1, 5),
        lambda: Gradients(steps=0).draw(),
        lambda: Gradients(mean=math.nan).draw(),
        lambda: Gradients(deviation=-1.0).draw(),
    ],
)
def test_what_is_refused(make):
    with pytest.raises(InputError):
        make()
