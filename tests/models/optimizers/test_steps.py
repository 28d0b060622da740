"""models.optimizers.steps: every step written out equals the step that the library took."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.schedules import Schedule
from models.optimizers.steps import STEPS, difference_from_library, explain_step, rectification, taken
from models.optimizers.surfaces import SURFACES, SurfaceChoice, surface
from models.optimizers.trajectories import KINDS, Choice, Run, trajectory


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SURFACES if name != "typed"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_on_every_surface(kind, name):
    one = surface(SurfaceChoice(name, degrees=25.0))
    choice = Choice(kind, 2e-3)
    path = trajectory(one, one.start, choice, Run(steps=15))
    for step in range(1, path.last + 1):
        assert difference_from_library(path, choice, step) < 1e-9


@pytest.mark.slow
@settings(max_examples=60)
@given(st.sampled_from(list(KINDS)), st.data())
def test_every_step_with_any_settings(kind, data):
    values = tuple(
        (p.name, data.draw(st.floats(p.low, p.high), label=p.name)) for p in KINDS[kind].parameters
    )
    if kind == "lbfgs":
        values = (("history_size", float(data.draw(st.integers(1, 20)))),)
    choice = Choice(kind, data.draw(st.floats(1e-4, 0.1)), values)
    noise = 0.0 if kind == "lbfgs" else data.draw(st.floats(0, 2))  # pairs of noisy gradients cancel badly
    run = Run(
        12, Schedule("cosine", data.draw(st.integers(0, 4))), noise, seed=data.draw(st.integers(0, 99))
    )
    path = trajectory(surface(SurfaceChoice("himmelblau")), (0.5, -1.0), choice, run)
    for step in range(1, path.last + 1):
        assert difference_from_library(path, choice, step) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_add_up_to_the_step(kind):
    one = surface(SurfaceChoice("beale"))
    decay = any(p.name == "weight_decay" for p in KINDS[kind].parameters)
    choice = Choice(kind, 0.01, (("weight_decay", 0.2),) if decay else ())
    path = trajectory(one, one.start, choice, Run(steps=6))
    step = explain_step(path, choice, 6)
    assert_close(step.gradient, path.gradients[5])
    total = step.decay + step.pull - step.rate * step.preconditioner * step.direction
    assert_close(step.delta, total, rtol=0, atol=0)
    assert_close(total, taken(path, 6), rtol=1e-9, atol=1e-12)


def test_adams_moments_are_those_in_its_state():
    one, choice = surface(SurfaceChoice("rosenbrock")), Choice("adam", 0.02)
    path = trajectory(one, one.start, choice, Run(steps=9))
    point = torch.tensor(one.start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([point], 0.02)
    for gradient in path.gradients:
        point.grad = gradient.clone()
        optimizer.step()
    state = explain_step(path, choice, 9).state
    assert_close(state["m"], optimizer.state[point]["exp_avg"])
    assert_close(state["v"], optimizer.state[point]["exp_avg_sq"])
    assert_close(state["m̂"], state["m"] / (1 - 0.9**9))


def test_radam_switches_at_the_sixth_step():
    rho = [rectification(t, 0.999) for t in range(1, 8)]
    assert [r is None for _, r in rho] == [True] * 5 + [False] * 2
    assert 0 < rho[5][1] < rho[6][1] < 1


@pytest.mark.parametrize("step", [0, -1, 7])
def test_a_step_that_is_not_there(step):
    one, choice = surface(SurfaceChoice("bowl")), Choice("sgd", 0.1)
    path = trajectory(one, one.start, choice, Run(steps=6))
    with pytest.raises(InputError, match="6 steps"):
        explain_step(path, choice, step)


def test_every_optimizer_is_written_out():
    assert set(STEPS) == set(KINDS)
