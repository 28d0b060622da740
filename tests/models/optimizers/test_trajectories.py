"""models.optimizers.trajectories: paths equal bare loops of torch.optim, step by step; golden steps."""

import math
from inspect import signature

import lion_pytorch
import pytest
import schedulefree
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import optim
from torch.nn.utils import clip_grad_norm_
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.schedules import CONSTANT, Schedule, factor
from models.optimizers.surfaces import SURFACES, Surface, SurfaceChoice, surface
from models.optimizers.trajectories import KINDS, Choice, Run, default, trajectory

STEPS = 25
BARE = {  # each optimizer as its documentation builds it, with other settings than the defaults
    "sgd": lambda p, lr: optim.SGD(p, lr=lr, weight_decay=0.1),
    "momentum": lambda p, lr: optim.SGD(p, lr=lr, momentum=0.8, dampening=0.3),
    "nesterov": lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9, nesterov=True),
    "adagrad": lambda p, lr: optim.Adagrad(p, lr=lr, eps=1e-6),
    "adadelta": lambda p, lr: optim.Adadelta(p, lr=lr, rho=0.8),
    "rmsprop": lambda p, lr: optim.RMSprop(p, lr=lr, alpha=0.9),
    "adam": lambda p, lr: optim.Adam(p, lr=lr, betas=(0.8, 0.99), weight_decay=0.1),
    "adamw": lambda p, lr: optim.AdamW(p, lr=lr, weight_decay=0.1),
    "nadam": lambda p, lr: optim.NAdam(p, lr=lr),
    "radam": lambda p, lr: optim.RAdam(p, lr=lr, betas=(0.9, 0.9)),
    "adamax": lambda p, lr: optim.Adamax(p, lr=lr),
    "adafactor": lambda p, lr: optim.Adafactor(p, lr=lr),
    "rprop": lambda p, lr: optim.Rprop(p, lr=lr, etas=(0.4, 1.3)),
    "lbfgs": lambda p, lr: optim.LBFGS(p, lr=lr, max_iter=1, history_size=5),
    "lion": lambda p, lr: lion_pytorch.Lion(p, lr=lr, betas=(0.8, 0.95), weight_decay=0.1),
    "free_sgd": lambda p, lr: schedulefree.SGDScheduleFree(p, lr=lr, momentum=0.8),
    "free_adamw": lambda p, lr: schedulefree.AdamWScheduleFree(p, lr=lr, betas=(0.8, 0.99)),
}
OURS = {
    "sgd": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.8, "dampening": 0.3},
    "adagrad": {"eps": 1e-6},
    "adadelta": {"rho": 0.8},
    "rmsprop": {"alpha": 0.9},
    "adam": {"beta1": 0.8, "beta2": 0.99, "weight_decay": 0.1},
    "adamw": {"weight_decay": 0.1},
    "radam": {"beta2": 0.9},
    "rprop": {"etaminus": 0.4, "etaplus": 1.3},
    "lbfgs": {"history_size": 5.0},
    "lion": {"beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1},
    "free_sgd": {"momentum": 0.8},
    "free_adamw": {"beta1": 0.8, "beta2": 0.99},
}


def choice(kind, rate):
    return Choice(kind, rate, tuple(OURS.get(kind, {}).items()))


def bare_loop(one, kind, rate, steps, schedule=CONSTANT, noise=None, clip=math.inf):
    """A loop as everybody writes it; schedule-free is evaluated in its own evaluation mode.

    Autograd's gradient must be the surface's own to rounding, and then gives way to it: a path that
    amplifies the last digit can be compared with torch's to the last digit all the same.
    """
    point = torch.tensor(one.start, dtype=torch.float64, requires_grad=True)
    optimizer = BARE[kind]([point], rate)
    points = [point.detach().clone()]
    for k in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor(schedule, k, steps)
        if hasattr(optimizer, "train"):
            optimizer.train()

        def closure(k=k):
            optimizer.zero_grad()
            loss = one.function(point[0], point[1])
            loss.backward()
            at = point.detach()
            if at.abs().max() < 1e8:
                ours = one.gradient(*at.tolist())
                assert_close(ours, point.grad, rtol=1e-9, atol=1e-9)
                point.grad.copy_(ours)
            if noise is not None:
                point.grad += noise[k]
            if clip < math.inf:
                clip_grad_norm_([point], clip)
            return loss

        if kind == "lbfgs":
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
        if hasattr(optimizer, "eval"):
            optimizer.eval()
        points.append(point.detach().clone())
    return torch.stack(points)


@pytest.mark.slow
@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_path_is_torchs_on_every_surface(kind, name):
    one = surface(SurfaceChoice(name, degrees=20.0, expression="sin(x) + x^2/9 + y^2"))
    path = trajectory(one, one.start, choice(kind, 1e-3), Run(steps=STEPS))
    theirs = bare_loop(one, kind, 1e-3, STEPS)
    shown = path.last + 1
    assert shown > 1
    # schedule-free's evaluation point is reached by another order of the same operations
    exact = {"rtol": 1e-9, "atol": 1e-9} if kind.startswith("free") else {"rtol": 0, "atol": 0}
    assert_close(path.positions[:shown], theirs[:shown], **exact)
    assert_close(path.losses[:shown], one.function(*theirs[:shown].unbind(-1)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_clipping_and_schedules_are_those_of_a_bare_loop(kind):
    one = surface(SurfaceChoice("beale"))
    run = Run(steps=STEPS, schedule=Schedule("cosine", 5), noise=0.3, clip=2.0, seed=7)
    path = trajectory(one, one.start, choice(kind, 0.01), run)
    theirs = bare_loop(one, kind, 0.01, STEPS, run.schedule, run.noise_of(2), 2.0)
    assert_close(path.positions, theirs, rtol=1e-9, atol=1e-9)
    assert (path.gradients.norm(dim=-1) <= 2.0 + 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_those_of_the_library(kind):
    built = default(kind).build([torch.zeros(2, requires_grad=True)])
    cls = type(built)
    theirs = {name: p.default for name, p in signature(cls).parameters.items()}
    assert KINDS[kind].rate == theirs["lr"]
    names = {"beta1": ("betas", 0), "beta2": ("betas", 1), "etaminus": ("etas", 0), "etaplus": ("etas", 1)}
    for parameter in KINDS[kind].parameters:
        name, index = names.get(parameter.name, (parameter.name, None))
        if name == "history_size":
            continue  # torch keeps 100 pairs; two numbers need no more than a few
        if name == "momentum" and cls is optim.SGD:
            continue  # 0 there; what is called momentum here begins at 0.9
        value = theirs[name] if index is None else theirs[name][index]
        assert parameter.default == pytest.approx(value), (kind, parameter.name)
        assert parameter.low <= parameter.default <= parameter.high


SLOPES = (1e-3, 1.0, 1e3)
FIRST_STEPS = {  # |Δw|/η on a slope of 10⁻³, 1 and 10³
    "sgd": (1e-3, 1.0, 1e3),
    "momentum": (1e-3, 1.0, 1e3),
    "nesterov": (1.9e-3, 1.9, 1.9e3),
    "adam": (1, 1, 1),
    "adamw": (1, 1, 1),
    "adamax": (1, 1, 1),
    "adagrad": (1, 1, 1),
    "rprop": (1, 1, 1),
    "nadam": (1.056, 1.056, 1.056),
    "rmsprop": (10, 10, 10),
    "radam": (1e-3, 1, 1e3),
    "adadelta": (0.00095, 0.00316, 0.00316),
    "lion": (1, 1, 1),
}


@pytest.mark.parametrize("kind", FIRST_STEPS)
def test_the_golden_first_steps(kind):
    for slope, expected in zip(SLOPES, FIRST_STEPS[kind], strict=True):
        plane = Surface(lambda x, y, slope=slope: slope * x + 0 * y, (-1.0, 1.0, -1.0, 1.0), (), (0.0, 0.0))
        one = Choice(kind, 0.01, (("weight_decay", 0.0),) if kind == "adamw" else ())
        path = trajectory(plane, (0.0, 0.0), one, Run(steps=1))
        assert abs(path.positions[1, 0].item()) / 0.01 == pytest.approx(expected, rel=0.006)


def test_epsilon_sets_the_size_of_a_step_where_gradients_are_as_small_as_it():
    plane = Surface(lambda x, y: 1e-6 * x + 0 * y, (-1.0, 1.0, -1.0, 1.0), (), (0.0, 0.0))
    path = trajectory(plane, (0.0, 0.0), Choice("adam", 1.0), Run(steps=1))
    assert abs(path.positions[1, 0].item()) == pytest.approx(0.990, abs=1e-3)


def test_divergence_ends_the_path_and_is_told():
    one = surface(SurfaceChoice("rosenbrock"))
    path = trajectory(one, one.start, Choice("sgd", 0.1), Run(steps=50))
    assert path.diverged_at is not None
    assert path.diverged_at < 50
    assert path.positions[: path.last + 1].isfinite().all()
    assert path.positions[path.diverged_at :].isnan().all()
    assert path.losses[path.last] > path.losses[0]


@settings(max_examples=20)
@given(st.sampled_from([k for k in KINDS if k not in ("rprop", "lion")]), st.integers(0, 1000))
def test_a_seed_repeats_a_noisy_run_and_another_changes_it(kind, seed):
    # Rprop and Lion see signs only, which a little noise may leave as they are
    one = surface(SurfaceChoice("bowl"))
    runs = [
        trajectory(one, one.start, Choice(kind, 0.01), Run(steps=8, noise=1.0, seed=s)).positions
        for s in (seed, seed, seed + 1)
    ]
    assert_close(runs[0], runs[1], rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(runs[0].nan_to_num(), runs[2].nan_to_num())


@pytest.mark.parametrize("rate", [0.0, -0.1, 1e9, math.nan, math.inf])
def test_learning_rates_that_are_refused(rate):
    with pytest.raises(InputError, match="must be above 0"):
        Choice("sgd", rate)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Choice("moon", 0.1),
        lambda: default("moon"),
        lambda: Choice("adam", 0.1, (("beta1", 1.5),)),
        lambda: Choice("adam", 0.1, (("beta9", 0.5),)),
        lambda: Choice("sgd", 0.1, (("weight_decay", math.nan),)),
        lambda: Run(steps=0),
        lambda: Run(steps=10**6),
        lambda: Run(noise=-1.0),
        lambda: Run(noise=math.nan),
        lambda: Run(clip=0.0),
    ],
)
def test_what_cannot_be_run_is_refused(make):
    with pytest.raises(InputError):
        make()
