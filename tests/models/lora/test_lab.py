"""The synthetic lab against torch.optim and autograd, its batches against single runs, its task's turns."""

import math
from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.testing import assert_close

from models.errors import InputError
from models.lora.adapter import scale
from models.lora.comparison import (
    Grid,
    compare,
    final_weights,
    first_steps,
    floor_of,
    grid,
    summarise,
    train_grid,
    trained_by_torch,
)
from models.lora.initialisations import INITIALISATIONS, initialise
from models.lora.lab import OPTIMIZERS, Recipe, Run, Task, problem, train
from models.lora.scaling import Knobs, first_step, turned

SMALL = Task(width=16, target_rank=4)
RATES = (1e-3, 1e-2)


def losses(task, runs, recipe):
    *_, last = train(task, tuple(runs), recipe)
    return last.losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", [*INITIALISATIONS, "full"])
def test_training_is_that_of_torch(name, optimizer):
    """The same run with autograd and torch.optim, one at a time."""
    recipe = Recipe(alpha=6.0, steps=30, optimizer=optimizer, ratio=1.0 if name == "full" else 4.0)
    run = Run(name, 4, 1e-2, 3)
    drawn = problem(SMALL, 3)
    if name == "full":
        parameters = [drawn.weight.clone().requires_grad_()]
        groups = [{"params": parameters, "lr": 1e-2}]
    else:
        s = scale(6.0, 4)
        start = initialise(name, drawn.weight, 4, s, torch.Generator().manual_seed(1_003))
        parameters = [start.a.clone().requires_grad_(), start.b.clone().requires_grad_()]
        groups = [{"params": [parameters[0]], "lr": 1e-2}, {"params": [parameters[1]], "lr": 4e-2}]
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    theirs, expected = kind(groups), []
    for _step in range(31):
        weight = parameters[0] if name == "full" else start.base + s * parameters[1] @ parameters[0]
        loss = (weight - drawn.weight - drawn.change).square().sum() / drawn.change.square().sum()
        expected.append(loss.item())
        theirs.zero_grad()
        loss.backward()
        theirs.step()
    assert_close(losses(SMALL, [run], recipe)[0], torch.tensor(expected), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dora", [False, True])
def test_a_batch_trains_like_its_runs_alone(dora):
    runs = grid(INITIALISATIONS, (1, 2, 8), RATES, (0, 1))
    recipe = Recipe(steps=60, dora=dora)
    together = losses(SMALL, runs, recipe)
    for index in range(0, len(runs), 7):
        alone = losses(SMALL, [runs[index]], recipe)[0]
        assert_close(together[index], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dora", [False, True])
def test_training_is_that_of_peft(dora):
    """A layer of peft on the identity as input, trained by torch's Adam."""
    drawn, s = problem(SMALL, 0), scale(8.0, 4)
    start = initialise("kaiming", drawn.weight, 4, s, torch.Generator().manual_seed(1_000))
    net = nn.Sequential(OrderedDict(linear=nn.Linear(16, 16, bias=False)))
    net.linear.weight.data = drawn.weight.clone()
    model = get_peft_model(net, LoraConfig(r=4, lora_alpha=8, target_modules=["linear"], use_dora=dora))
    (layer,) = [module for module in model.modules() if isinstance(module, LoraLayer)]
    layer.lora_A["default"].weight.data = start.a.clone()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer, expected = torch.optim.Adam(trained, lr=1e-2), []
    for _step in range(41):
        error = model(torch.eye(16)).T - drawn.weight - drawn.change
        loss = error.square().sum() / drawn.change.square().sum()
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = losses(SMALL, [Run("kaiming", 4, 1e-2, 0)], Recipe(steps=40, dora=dora))[0]
    assert_close(found, torch.tensor(expected), rtol=1e-3, atol=1e-5)


def test_the_start_is_one_where_nothing_changes_the_output():
    found = first_steps(SMALL, grid(INITIALISATIONS, (4,), (1e-2,), (0,)), Recipe())
    for name, loss in zip(INITIALISATIONS, found.loss[:, 0].tolist(), strict=True):
        assert (abs(loss - 1) < 1e-3) == (name != "random")


def test_gradients_of_the_first_steps():
    """B = 0: ∇A = 0 at step 0 only. A = 0: ∇B = 0 at step 0 only. Both zero: no gradient, ever."""
    names = ("kaiming", "b_random", "zero", "random")
    found = first_steps(SMALL, grid(names, (4,), (1e-2,), (0,)), Recipe())
    moving_a, moving_b = found.gradient_a > 0, found.gradient_b > 0
    assert moving_a.tolist() == [[False, True, True], [True] * 3, [False] * 3, [True] * 3]
    assert moving_b.tolist() == [[True] * 3, [False, True, True], [False] * 3, [True] * 3]
    assert found.loss[2].tolist() == pytest.approx([1, 1, 1])


def test_orthogonal_start_moves_both_at_once_without_changing_the_output():
    found = first_steps(SMALL, grid(("orthogonal",), (4,), (1e-2,), (0,)), Recipe())
    assert found.gradient_a[0, 0] > 0
    assert found.gradient_b[0, 0] > 0
    assert float(found.change[0, 0]) < 1e-5


@given(st.integers(0, 100), st.floats(-1, 1), st.integers(1, 16))
@settings(max_examples=15)
def test_the_task_has_what_was_asked_for(seed, alignment, rank):
    task = Task(width=16, target_rank=rank, alignment=alignment, exponent=0.5, size=0.7)
    drawn = problem(task, seed)
    values = torch.linalg.svdvals(drawn.change)
    expected = torch.arange(1, rank + 1).float() ** -0.5
    assert_close(values[:rank] / values[0], expected, rtol=1e-3, atol=1e-4)
    assert float(values[rank:].sum()) < 1e-3
    assert float(drawn.change.norm() / drawn.weight.norm()) == pytest.approx(0.7, rel=1e-4)
    assert_close(torch.linalg.svdvals(drawn.weight), 1 / torch.arange(1, 17), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("alignment", "at"), [(1.0, slice(4)), (-1.0, slice(12, 16))])
def test_alignment_puts_the_target_into_those_directions(alignment, at):
    drawn = problem(Task(width=16, target_rank=4, alignment=alignment), 5)
    left, _, right = torch.linalg.svd(drawn.weight)
    inside = left[:, at] @ left[:, at].T @ drawn.change @ right[at].T @ right[at]
    assert_close(inside, drawn.change, rtol=1e-3, atol=1e-4)


def test_golden_a_good_initialisation_depends_on_the_task():
    """PiSSA wins in W₀'s largest directions; elsewhere it is far worse than the default."""
    runs = grid(("kaiming", "pissa", "milora"), (8,), (1e-3, 3e-3, 1e-2), (0, 1))

    def best(alignment):
        final = losses(Task(alignment=alignment), runs, Recipe(steps=100))[:, -1]
        table = summarise(final, runs)
        return {name: min(mean for _, mean, _ in table[name, 8]) for name in ("kaiming", "pissa", "milora")}

    principal, anywhere, minor = best(1.0), best(0.0), best(-1.0)
    assert principal["pissa"] < principal["kaiming"]
    assert principal["pissa"] < principal["milora"]
    assert anywhere["pissa"] > 5 * anywhere["kaiming"]
    assert minor["milora"] < minor["kaiming"] < minor["pissa"]


@pytest.mark.parametrize("name", ["kaiming", "pissa", "olora", "milora"])
def test_no_run_falls_below_its_floor(name):
    task, recipe = Task(width=24, target_rank=12), Recipe(steps=300)
    for rank in (1, 4):
        run = Run(name, rank, 2e-2, 1)
        floor = floor_of(task, run, recipe)
        assert float(losses(task, [run], recipe).min()) >= floor - 1e-4


def test_capacity_grows_with_the_rank():
    task = Task(width=32, target_rank=32)
    floors = [floor_of(task, Run("kaiming", rank, 1e-2, 0), Recipe()) for rank in (1, 2, 8, 32)]
    assert all(a > b for a, b in pairwise(floors))
    assert floors[-1] == pytest.approx(0, abs=1e-5)


# What the knobs are


@pytest.mark.parametrize(("optimizer", "p"), [("adam", 2.0), ("adam", 0.5), ("sgd", 4.0)])
def test_golden_invariance_is_exact_for_powers_of_two(optimizer, p):
    """(α, init, lr) → (α/p², p·init, p·lr): 200 steps, difference 0.0 (Adam without ε)."""
    recipe = Recipe(steps=200, optimizer=optimizer, epsilon=0.0)
    other = turned(Knobs(1.0, 1.0, 1e-2), p, optimizer)
    runs = (Run("kaiming", 4, 1e-2, 0), Run("kaiming", 4, other.learning_rate, 0, other.alpha, other.start))
    first, second = losses(SMALL, runs, recipe)
    if optimizer == "adam":  # 0/0 where a gradient is exactly zero, at step 0 of A
        recipe = Recipe(steps=200, epsilon=1e-30)
        first, second = losses(SMALL, runs, recipe)
    assert torch.equal(first, second)


def test_turning_one_knob_alone_changes_the_curve():
    base = Run("kaiming", 4, 1e-2, 0)
    for other in (
        Run("kaiming", 4, 1e-2, 0, alpha_factor=4.0),
        Run("kaiming", 4, 1e-2, 0, start_factor=2.0),
        Run("kaiming", 4, 2e-2, 0),
    ):
        one, two = losses(SMALL, (base, other), Recipe(steps=50))
        assert float((one - two).abs().max()) > 1e-2


def test_lora_plus_is_a_change_of_alpha_where_b_begins_at_zero():
    """Rates (η, λη) at α are (η, η) at λα under Adam: write B = λ·B'."""
    for name, is_same in (("kaiming", True), ("random", False)):
        run = Run(name, 4, 1e-2, 0)
        plus, alpha = (
            losses(SMALL, [run], Recipe(steps=50, epsilon=1e-30, **knobs))
            for knobs in ({"ratio": 16.0}, {"alpha": 128.0})
        )
        assert torch.allclose(plus, alpha, rtol=1e-5) == is_same


def test_golden_first_step_by_rule():
    """At d = 512: α/r keeps the progress and shrinks ‖∇B‖; α/√r keeps ‖∇B‖ and grows the progress."""
    ranks = (16, 64, 256)

    def mean(rule):
        steps = [first_step(512, ranks, 16.0, rule, 1e-4, seed) for seed in range(4)]
        return [
            torch.stack([getattr(step, part) for step in steps]).mean(0)
            for part in ("gradient", "change", "progress")
        ]

    # a few directions lead G, so that a draw moves these by some percent; the reference is one draw
    gradient, _, progress = mean("alpha/r")
    assert_close(progress, torch.full((3,), 6.8e-4), rtol=0.08, atol=0)
    assert_close(gradient * torch.tensor([1.0, 2, 4]), gradient[0].expand(3), rtol=0.1, atol=0)
    gradient, change, progress = mean("alpha/sqrt(r)")
    assert_close(gradient, gradient[0].expand(3), rtol=0.1, atol=0)
    assert_close(change, change[0].expand(3), rtol=0.2, atol=0)
    assert float(progress[-1]) == pytest.approx(1.1e-2, rel=0.08)


def test_first_step_is_that_of_autograd_and_adam():
    found = first_step(32, (4,), 8.0, "alpha/r", 1e-3, 0)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(32, 32, generator=generator))[0] for _ in range(2))
    gradient = left / torch.arange(1, 33) @ right.T
    a = (2 * torch.rand(4, 32, generator=generator) - 1) / math.sqrt(32)
    b = torch.zeros(32, 4, requires_grad=True)
    optimizer = torch.optim.Adam([b], lr=1e-3, eps=1e-30)
    (2.0 * (b @ a) * gradient).sum().backward()
    assert_close(b.grad.norm(), found.gradient[0])
    optimizer.step()
    change = 2.0 * (b @ a).detach()
    assert_close(change.norm(), found.change[0])
    assert_close(-(change * gradient).sum() / gradient.norm(), found.progress[0])


# Noise, and refusals


def test_summary_by_hand():
    runs = grid(("kaiming",), (2,), (0.1, 0.2), (0, 1))
    table = summarise(torch.tensor([1.0, 3.0, math.nan, 1.0]), runs)
    (low, high) = table["kaiming", 2]
    assert low == (0.1, 2.0, pytest.approx(math.sqrt(2)))
    assert high == (0.2, math.inf, 0.0)


def test_noise_by_hand():
    """Paired t of log losses: differences 1, 2, 3 have mean 2, deviation 1, t = 2·√3 = 3.46 < 4.303."""
    one = torch.tensor([1.0, 2.0, 3.0]).exp()
    found = compare(one, torch.ones(3))
    assert found.t == pytest.approx(2 * math.sqrt(3), rel=1e-5)
    assert found.ratio == pytest.approx(math.exp(2), rel=1e-5)
    assert found.within_noise
    assert not compare(one * 10, torch.ones(3)).within_noise
    assert compare(torch.ones(3), torch.ones(3)).within_noise
    with pytest.raises(InputError, match="2 to 10 seeds"):
        compare(torch.ones(1), torch.ones(1))


@pytest.mark.parametrize(
    ("task", "runs", "recipe"),
    [
        (SMALL, (), Recipe()),
        (SMALL, (Run("kaiming", 0, 1e-2, 0),), Recipe()),
        (SMALL, (Run("kaiming", 17, 1e-2, 0),), Recipe()),
        (SMALL, (Run("orthogonal", 3, 1e-2, 0),), Recipe()),
        (SMALL, (Run("kaiming", 2, 1e-2, 0),), Recipe(alpha=0.0)),
        (SMALL, (Run("kaiming", 2, 0.0, 0),), Recipe()),
        (SMALL, (Run("kaiming", 2, 1e-2, 0), Run("full", 2, 1e-2, 0)), Recipe()),
        (SMALL, (Run("kaiming", 2, 1e-2, 0),), Recipe(steps=0)),
        (Task(width=16, target_rank=17), (Run("kaiming", 2, 1e-2, 0),), Recipe()),
        (Task(alignment=2.0), (Run("kaiming", 2, 1e-2, 0),), Recipe()),
        (Task(width=512), (Run("kaiming", 2, 1e-2, 0),) * 100, Recipe()),
    ],
)
def test_bad_grids_are_refused_in_one_sentence(task, runs, recipe):
    with pytest.raises(InputError):
        next(train(task, runs, recipe))


def test_odd_ranks_are_left_out_for_orthogonal():
    assert {run.rank for run in grid(("orthogonal",), (1, 2, 3, 4), RATES, (0,))} == {2, 4}


def test_refusals_of_the_scaling_view():
    with pytest.raises(InputError):
        first_step(8, (16,), 8.0, "alpha/r", 1e-3, 0)
    with pytest.raises(InputError):
        first_step(8, (4,), 8.0, "alpha/r", 0.0, 0)
    with pytest.raises(InputError):
        turned(Knobs(1.0, 1.0, 1.0), 0.0, "adam")


# Whole comparisons


def test_a_comparison_holds_every_run_and_full_fine_tuning_beside_them():
    settings = Grid(SMALL, ("kaiming", "orthogonal"), (1, 2), RATES, (0, 1), Recipe(steps=20))
    seen = list(train_grid(settings))
    assert [progress.done for progress in seen] == [0, 10, 20]
    assert len(settings.runs) == 12
    assert torch.equal(seen[-1].losses, losses(SMALL, settings.runs, settings.recipe))
    assert torch.equal(seen[-1].full, losses(SMALL, settings.full_runs, settings.recipe))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_pages_check_is_the_batch(optimizer):
    run, recipe = Run("gaussian", 3, 3e-3, 1, 2.0, 0.5), Recipe(steps=20, optimizer=optimizer, ratio=2.0)
    found = trained_by_torch(SMALL, run, recipe)
    assert_close(found, losses(SMALL, [run], recipe)[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rate", [1e-3, 1e-1])
def test_in_float64_the_check_holds_where_gradients_are_but_rounding(rate):
    """MiLoRA on a target along W₀'s largest directions: Adam makes whole steps of almost no gradient."""
    task, run, recipe = Task(width=64, alignment=1.0), Run("milora", 8, rate, 1), Recipe(steps=30)
    *_steps, ours = train(task, (run,), recipe, dtype=torch.float64)
    theirs = trained_by_torch(task, run, recipe, torch.float64)
    assert ours.losses.dtype == theirs.dtype == torch.float64
    assert_close(ours.losses[0], theirs, rtol=1e-8, atol=1e-8)
    *_steps, single = train(task, (run,), recipe)
    assert (single.losses[0] - theirs).abs().max() > 1e-5  # what the check would have to allow else


@pytest.mark.parametrize("name", ["kaiming", "pissa", "full"])
def test_final_weights_have_the_final_loss(name):
    run, recipe = Run(name, 4, 1e-2, 0), Recipe(steps=20)
    before, after = final_weights(SMALL, run, recipe)
    drawn = problem(SMALL, 0)
    assert torch.equal(before, drawn.weight)
    loss = (after - before - drawn.change).square().sum() / drawn.change.square().sum()
    assert_close(loss, losses(SMALL, [run], recipe)[0, -1])


@pytest.mark.parametrize("alignment", [0.3, 0.6, -0.5, 0.9])
def test_a_partly_aligned_target_lies_between_a_random_one_and_those_directions(alignment):
    """Its share in W₀'s own directions grows with the alignment; each share is found by an SVD."""
    rank, at = 4, slice(4) if alignment > 0 else slice(12, 16)

    def share(part):
        drawn = problem(Task(width=16, target_rank=rank, alignment=part), 5)
        own = torch.linalg.svd(drawn.weight)[0][:, at]
        target = torch.linalg.svd(drawn.change)[0][:, :rank]
        return float((own.T @ target).square().sum()) / rank

    sign = 1 if alignment > 0 else -1
    assert share(0.05 * sign) < share(alignment) - 0.01
    assert share(alignment) < share(sign * 1.0) - 0.001
    steps = [share(sign * part) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert steps == sorted(steps)
    assert steps[-1] == pytest.approx(1, abs=1e-4)
