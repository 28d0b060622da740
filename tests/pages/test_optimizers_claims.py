"""What the optimizers lesson asserts, at its links and at other settings of the same views."""

import math

import pytest
import torch
from torch.testing import assert_close
from transformers import get_cosine_schedule_with_warmup

from components.panels.optimizers.basin import LearningRateBasin
from components.panels.optimizers.decay import WeightDecay, table
from models.optimizers.bias_correction import correction_ratio, first_steps, library_steps
from models.optimizers.conditioning import rotations
from models.optimizers.learning_rates import rates_between
from models.optimizers.momentum import (
    best_gradient_descent,
    best_momentum,
    convergence_map,
    spectral_radius,
    stability_edge,
)
from models.optimizers.newton_schulz import newton_schulz
from models.optimizers.schedules import SHAPES, Schedule, factor
from models.optimizers.surfaces import SurfaceChoice, surface
from models.optimizers.training_lab import gradient_norms_at_start
from models.optimizers.trajectories import Run, default, trajectory
from models.optimizers.weight_decay import decay_only

# Momentum with and without (1 − β)


def gradient(x: torch.Tensor) -> torch.Tensor:
    return surface(SurfaceChoice("rosenbrock")).gradient(*x.tolist()).double()


def rates(name: str, step: int) -> float:
    return 1e-4 * {"cosine": 0.5 * (1 + math.cos(math.pi * step / 200)), "step": 0.1 ** (step // 67)}[name]


@pytest.mark.parametrize("schedule", ["cosine", "step"])
@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_torchs_and_the_averaging_form_agree_under_any_schedule(schedule, beta):
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64).requires_grad_()
    y, average = torch.tensor([-1.2, 1.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    inside, buffer = y.clone(), average.clone()
    optimizer = torch.optim.SGD([x], lr=1.0, momentum=beta)
    for step in range(200):
        rate = rates(schedule, step)
        optimizer.param_groups[0]["lr"] = rate
        x.grad = gradient(x.detach())
        optimizer.step()
        average = beta * average + (1 - beta) * gradient(y)
        y = y - rate / (1 - beta) * average
        buffer = beta * buffer + rate * gradient(inside)
        inside = inside - buffer
    assert_close(x.detach(), y, atol=1e-12, rtol=0)
    assert float((x.detach() - inside).abs().max()) > 1e-4  # the third form, with the rate inside, parts


def test_they_part_when_beta_changes_and_dampening_differs_in_its_first_step():
    y, b = torch.zeros(()), [torch.zeros(()), torch.zeros(())]
    paths = [y.clone(), y.clone()]
    for beta in (0.5, 0.5, 0.9, 0.9):
        b[0] = beta * b[0] + 1.0
        b[1] = beta * b[1] + (1 - beta) * 1.0
        paths = [paths[0] - 0.1 * b[0], paths[1] - 0.1 / (1 - beta) * b[1]]
    assert abs(float(paths[0] - paths[1])) > 1e-3
    x = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=1.0, momentum=0.9, dampening=0.9)
    moved = []
    for _ in range(3):
        x.grad = torch.ones(1)
        before = float(x.detach())
        optimizer.step()
        moved.append(before - float(x.detach()))
    assert moved == pytest.approx([1.0, 1.0, 1.0])  # the averaging form would begin with .1, .19, .271


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_torchs_step_in_a_steady_slope(beta):
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.01, momentum=beta)
    for _ in range(2_000):
        x.grad = torch.ones(1, dtype=torch.float64)
        before = float(x.detach())
        optimizer.step()
    assert before - float(x.detach()) == pytest.approx(0.01 / (1 - beta))


# What each step consists of


def steps_of(kind: str, count: int) -> torch.Tensor:
    points = trajectory(surface(SurfaceChoice("rosenbrock")), (-1.2, 1.0), default(kind), Run(steps=count))
    return points.parameters.diff(dim=0).abs()


def test_lion_moves_all_coordinates_equally_far_and_rprop_does_not():
    lion, rprop = steps_of("lion", 30), steps_of("rprop", 30)
    moving = (lion > 0).all(dim=1)
    assert moving.any()
    assert_close(lion[moving, 0], lion[moving, 1])
    assert ((rprop[:, 0] - rprop[:, 1]).abs() > 1e-4).any()


# Decay


@pytest.mark.parametrize(
    ("large", "small", "l2"),
    [(10.0, 0.1, (0.98, 0.19)), (1.0, 1.0, (0.82, 0.82)), (10.0, 10.0, (0.98, 0.98))],
)
def test_l2_decays_by_lambda_over_the_root_of_v(large, small, l2):
    view = WeightDecay.at(large=large, small=small)
    runs = view.runs()
    assert runs["adam_l2"].mean[-1].tolist() == pytest.approx(l2, abs=0.03)
    alone = float(decay_only(view.trial)[-1])
    assert alone == pytest.approx(0.82, abs=0.005)
    assert runs["adamw"].mean[-1].tolist() == pytest.approx([alone] * 2, abs=0.03)
    assert len(table(runs, view.trial).columns) == 3  # a column for each, also where they are alike


def test_gradients_that_are_alike_and_small_are_decayed_hard():
    view = WeightDecay.from_query("optimizers_large=0.1&optimizers_small=0.1")
    assert view.runs()["adam_l2"].mean[-1].tolist() == pytest.approx([0.192] * 2, abs=0.02)


# Conditioning and momentum


@pytest.mark.parametrize("condition", [25.0, 100.0, 900.0])
def test_steps_per_factor_of_e_by_the_pages_own_map(condition):
    plain, best = best_gradient_descent(condition), best_momentum(condition)
    assert -1 / math.log(plain.factor) == pytest.approx(condition / 2, rel=0.01)
    assert -1 / math.log(best.factor) == pytest.approx(math.sqrt(condition) / 2, rel=0.02)
    one = torch.tensor([1 / condition], dtype=torch.float64)
    none = torch.zeros(1, dtype=torch.float64)
    slow = float(spectral_radius(one, none, 1.0))
    assert -1 / math.log(slow) == pytest.approx(condition, rel=0.03)
    grid = torch.linspace(0.001, 0.999, 199, dtype=torch.float64)
    found = convergence_map(grid * 4 / condition, grid, condition)
    assert float(found.min()) >= best.factor - 1e-9
    edge = stability_edge(grid, condition)
    assert_close(edge, (2 + 2 * grid) / condition)


# First steps


@pytest.mark.parametrize("beta2", [0.9, 0.98, 0.995, 0.999])
def test_adams_first_step_without_correction_is_too_long_where_beta2_is_above_99(beta2):
    ratio = correction_ratio(0.9, beta2, 40)
    assert bool(ratio[0] > 1) == (beta2 > 0.99)
    if beta2 == 0.999:
        assert float(ratio[0]) == pytest.approx(3.16, abs=0.01)
        assert float(ratio.max()) == pytest.approx(6.57, abs=0.01)
        assert int(ratio.argmax()) == 11  # t = 12


def test_public_case_of_adams_epsilon():
    """torchani#261: gradient 1e-7 and ε 1e-8: .909091 of the rate, not .240253."""
    gradients = torch.full((1, 1), 1e-7, dtype=torch.float64)
    step = library_steps("adam", gradients, 0.9, 0.999)
    assert float(step.abs()[0, 0]) == pytest.approx(0.909091, abs=1e-5)


@pytest.mark.parametrize(("size", "sixth"), [(1_000.0, 0.026), (1.0, 0.026)])
def test_radam_walks_five_steps_by_the_gradient_and_adapts_at_the_sixth(size, sixth):
    step = library_steps("radam", torch.full((8, 1), size, dtype=torch.float64), 0.9, 0.999).abs()[:, 0]
    assert step[:5].tolist() == pytest.approx([size] * 5, rel=1e-6)
    assert float(step[5]) == pytest.approx(sixth, abs=1e-3)
    assert first_steps is not None


# Schedules


def test_public_case_of_a_warm_up_and_a_cosine():
    """UniRL#223: warm-up 5, cosine to 15, peak 3e-4. transformers begins at 0, this page does not."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    theirs = get_cosine_schedule_with_warmup(optimizer, 5, 15).lr_lambdas[0]
    ours = [factor(Schedule("cosine", 5), step, 15) for step in range(15)]
    assert ours[5:] == pytest.approx([theirs(step) for step in range(5, 15)])
    expected = [
        3e-4,
        2.927e-4,
        2.714e-4,
        2.382e-4,
        1.964e-4,
        1.5e-4,
        1.036e-4,
        6.183e-5,
        2.865e-5,
        7.342e-6,
    ]
    assert [3e-4 * value for value in ours[5:]] == pytest.approx(expected, rel=1e-3)
    assert [theirs(step) for step in range(5)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert ours[:5] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("warmup", "steps"), [(0, 10), (5, 15), (20, 10)])
def test_no_schedule_overshoots_its_peak_or_rises_after_it(shape, warmup, steps):
    """DeepSpec#32: the chainable form of a cosine that is started again overshoots by 2.51 %."""
    made = [factor(Schedule(shape, warmup), step, steps) for step in range(steps)]
    assert max(made) <= 1
    after = made[warmup:]
    assert after == sorted(after, reverse=True)


# Matrices and depth


@pytest.mark.parametrize(
    ("share", "low", "high"),
    [(0.5, 0.65, 1.25), (0.01, 0.65, 1.25), (0.002, 0.65, 1.25), (0.001, 0.3, 0.6)],
)
def test_newton_schulz_lifts_all_but_the_smallest_singular_values(share, low, high):
    """Five steps; the threshold lies near .0015 of the norm."""
    rest = math.sqrt(1 - share**2)
    found = newton_schulz(torch.diag(torch.tensor([rest, share], dtype=torch.float64)), 5)
    assert low < float(found.singular_values[-1, 1]) < high
    assert 0.65 < float(found.singular_values[-1, 0]) < 1.25


def test_the_last_layers_gradient_at_the_start_as_the_lesson_says():
    last = {n: [float(gradient_norms_at_start(n, d, 0)[-1]) for d in (2, 12)] for n in ("pre", "post")}
    assert last["pre"] == pytest.approx([0.4, 0.4], abs=0.06)
    for post, pre in zip(last["post"], last["pre"], strict=True):
        assert 1.3 < post / pre < 3


# Which is faster, and what notices a rotation


@pytest.mark.parametrize("surface_query", ["bowl", "ravine&optimizers_condition=10", "ravine"])
def test_at_its_best_rate_sgd_is_as_fast_as_adam_and_adams_range_of_rates_is_wider(surface_query):
    view = LearningRateBasin.from_query(
        f"optimizers_compare=tuned&optimizers_surface={surface_query}&optimizers_chosen=sgd,momentum,adam"
    )
    basins = view.basins(view.setup)
    assert float(basins["sgd"].losses.min()) < float(basins["adam"].losses.min())
    assert basins["adam"].width(10.0) > basins["sgd"].width(10.0)


def test_on_a_long_ravine_momentum_and_adam_are_faster_than_plain_descent():
    view = LearningRateBasin.from_query(
        "optimizers_surface=ravine&optimizers_condition=100&optimizers_chosen=sgd,momentum,adam"
    )
    best = {kind: float(found.losses.min()) for kind, found in view.basins(view.setup).items()}
    assert best["momentum"] < best["adam"] < best["sgd"]


@pytest.mark.parametrize("condition", [20.0, 100.0])
def test_what_notices_a_rotation_and_what_does_not(condition):
    needed = {
        kind: rotations(
            default(kind), condition, torch.tensor([0.0, 45.0]), rates_between(1e-3, 10.0, 41), 1e-6, 1_000
        ).steps_needed.tolist()
        for kind in ("sgd", "momentum", "adagrad", "adam")
    }
    for kind in ("sgd", "momentum"):
        assert needed[kind][0] == needed[kind][1]
    assert needed["adagrad"][0] < 20  # along the axes the conditioning is undone
    assert needed["adagrad"][1] > 5 * needed["adagrad"][0]
    assert needed["adam"][1] > 1.5 * needed["adam"][0]
