"""models.optimizers.schedules against torch.optim.lr_scheduler."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, StepLR

from models.errors import InputError
from models.optimizers.schedules import Schedule, factor


def by_torch(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@given(st.integers(3, 90))
def test_cosine_and_step_are_torchs(steps):
    cosine = by_torch(lambda optimizer: CosineAnnealingLR(optimizer, T_max=steps), steps)
    assert [factor(Schedule("cosine"), k, steps) for k in range(steps)] == pytest.approx(cosine, abs=1e-12)
    thirds = by_torch(lambda optimizer: StepLR(optimizer, step_size=-(-steps // 3), gamma=0.1), steps)
    assert [factor(Schedule("step"), k, steps) for k in range(steps)] == pytest.approx(thirds)


@given(st.integers(1, 40), st.integers(41, 90))
def test_warm_up_is_torchs_linear_one(warmup, steps):
    linear = by_torch(
        lambda optimizer: LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup), steps
    )
    ours = [factor(Schedule("constant", warmup), k, steps) for k in range(steps)]
    assert ours == pytest.approx(linear)
    assert ours == by_torch(
        lambda optimizer: LambdaLR(optimizer, lambda k: factor(Schedule("constant", warmup), k, steps)),
        steps,
    )


@pytest.mark.parametrize("bad", [{"shape": "moon"}, {"warmup": -1}])
def test_schedules_that_are_refused(bad):
    with pytest.raises(InputError):
        Schedule(**bad)
