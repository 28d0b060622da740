"""What the LoRA lesson asserts, at its links and at other settings of the same views."""

import math
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from torch import nn
from torch.testing import assert_close

from components.panels.lora.compare import Comparison, checks, least_possible
from components.panels.lora.zero import WhyBIsZero
from models.lora.adapter import capacity_floor, dora_weight, scale
from models.lora.comparison import Grid, first_steps, floor_of, summarise, train_grid, trained_by_torch
from models.lora.lab import Batch, Recipe, Run, Task, problem, train

SMALL = Task(24, 6)


def best_of(grid: Grid) -> dict[tuple[str, int], float]:
    """The mean loss of each combination at its best learning rate."""
    *_, seen = train_grid(grid, every=1_000)
    return {
        key: min(mean for _rate, mean, _spread in cells)
        for key, cells in summarise(seen.losses[:, -1], grid.runs).items()
    }


def grid_of(query: str, **changed: object) -> Grid:
    return replace(Comparison.from_query(query).grid, learning_rates=(1e-2, 3e-2), **changed)


# DoRA and the floor


@pytest.mark.parametrize("task", [Task(64, 8, 1.0, 1.0, 1.0), Task(64, 16, 0.0), Task(64, 3, 1.0, 1.0)])
@pytest.mark.parametrize("rank", [1, 2])
def test_dora_has_no_floor_and_without_it_no_run_falls_below(task, rank):
    run = Run("pissa", rank, 3e-2, 0)
    assert floor_of(task, run, Recipe(dora=True)) is None
    recipe = Recipe(steps=200)
    *_, last = train(task, (run,), recipe, 200)
    assert float(last.losses.min()) >= floor_of(task, run, recipe) - 1e-4


def test_dora_runs_reach_below_the_floor_of_their_rank():
    """The change that a row's magnitude makes is of any rank: Eckart and Young's bound is none."""
    task, run = Task(64, 8, 1.0, 1.0, 1.0), Run("pissa", 2, 3e-2, 0)
    *_, last = train(task, (run,), Recipe(steps=500, dora=True), 500)
    assert float(last.losses[0, -1]) < 0.5 * floor_of(task, run, Recipe())


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("seeds", [2, 4])
def test_the_table_says_the_floor_of_all_its_seeds_or_none(dora, seeds):
    grid = Comparison.at(dora=dora, ranks=("2",), seeds=seeds, names=("pissa",)).grid
    said = least_possible(grid, "pissa", 2)
    if dora:
        assert said == "–"
        return
    drawn = [problem(grid.task, seed) for seed in grid.seeds]
    floors = []
    for each in drawn:
        left, values, right = torch.linalg.svd(each.weight)
        base = each.weight - left[:, :2] * values[:2] @ right[:2]
        missing = each.weight + each.change - base
        floors.append(
            float(capacity_floor(missing, 2) * missing.square().sum() / each.change.square().sum())
        )
    assert float(said) == pytest.approx(sum(floors) / len(floors), rel=0.06)
    assert least_possible(grid, "full", 64) == "0"


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_what_is_checked_is_what_is_shown(dora, ratio):
    view = Comparison.at(dora=dora, ratio=ratio, ranks=("2",), seeds=2, names=("kaiming", "pissa"))
    assert all(check.holds for check in checks(view.grid))


def test_lora_plus_puts_doras_magnitudes_in_pefts_fast_group():
    layer = nn.Sequential(nn.Linear(6, 5, bias=False))
    model = get_peft_model(layer, LoraConfig(r=2, target_modules=["0"], use_dora=True))
    optimizer = create_loraplus_optimizer(model, torch.optim.Adam, lr=1e-3, loraplus_lr_ratio=16)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    rates = {name: rate_of[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    batch = Batch(SMALL, (Run("kaiming", 2, 1e-3, 0),), Recipe(ratio=16.0, dora=True))
    ours = dict(zip(("lora_A", "lora_B", "magnitude"), (float(r) for r in batch.rates), strict=True))
    for name, rate in rates.items():
        (part,) = [part for part in ours if part in name]
        assert rate == pytest.approx(ours[part]), name


@pytest.mark.parametrize("ratio", [1.0, 8.0])
def test_dora_in_the_lab_is_torchs_autograd_and_adam(ratio):
    run, recipe = Run("kaiming", 2, 1e-2, 1), Recipe(steps=25, dora=True, ratio=ratio)
    *_, last = train(SMALL, (run,), recipe, 25, torch.float64)
    assert_close(last.losses[0], trained_by_torch(SMALL, run, recipe, torch.float64))


def test_a_row_of_zeros_and_the_rows_of_doras_magnitude():
    """NVlabs/DoRA#11, peft#2348: 5 and 10 by output row, not 6.7 and 8.9; peft#2049: no NaN."""
    weight = torch.tensor([[3.0, 4.0], [6.0, 8.0]])
    assert weight.norm(dim=1).tolist() == [5.0, 10.0]
    assert_close(dora_weight(weight, torch.zeros(2, 2), weight.norm(dim=1)), weight)
    zeros = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    made = dora_weight(zeros, torch.zeros(2, 2), zeros.norm(dim=1))
    assert_close(made, zeros)
    batch = Comparison.at(dora=True).grid
    assert Batch(batch.task, batch.runs[:1], batch.recipe).parameters[2].shape[1:] == (64, 1)


# Claims on rank and start


def test_beyond_the_tasks_rank_the_floor_stays_and_more_rank_still_helps():
    query = "lora_names=kaiming&lora_ranks=1&lora_ranks=4&lora_ranks=8&lora_ranks=16&lora_ranks=32"
    grid = grid_of(query)
    made = best_of(grid)
    floors = {
        rank: floor_of(grid.task, Run("kaiming", rank, 1e-2, 0), grid.recipe) for rank in (1, 4, 8, 16, 32)
    }
    assert floors[1] > floors[4] > floors[8] + 0.005
    assert max(floors[8], floors[16], floors[32]) < 1e-6
    assert made["kaiming", 16] < made["kaiming", 8] < made["kaiming", 4]
    assert made["kaiming", 32] < made["kaiming", 8]


@pytest.mark.parametrize("seed", [0, 4])
def test_the_order_of_starts_turns_round_with_the_dial(seed):
    names = "lora_names=kaiming&lora_names=pissa&lora_names=milora&lora_ranks=8"
    made = {
        part: best_of(grid_of(f"lora_alignment={part}&{names}&lora_seed={seed}")) for part in ("1", "-1")
    }
    largest, smallest = ({k[0]: v for k, v in made[part].items()} for part in ("1", "-1"))
    assert largest["pissa"] == min(largest.values())
    assert smallest["milora"] == min(smallest.values())
    assert smallest["pissa"] == max(smallest.values())


@pytest.mark.parametrize(("ranks", "target", "exponent", "fits"), [(8, 8, 1.0, True), (4, 32, 0.2, False)])
def test_an_adapter_is_as_good_as_full_fine_tuning_where_the_task_fits(ranks, target, exponent, fits):
    query = f"lora_names=kaiming&lora_ranks={ranks}&lora_target={target}&lora_exponent={exponent}"
    grid = grid_of(query)
    floor = floor_of(grid.task, Run("kaiming", ranks, 1e-2, 0), grid.recipe)
    assert (floor < 1e-6) == fits
    assert (best_of(grid)["kaiming", ranks] < 0.01) == fits


# Gradients, scales, the same training


@pytest.mark.parametrize("alpha", [1.0, 8.0, 64.0])
@pytest.mark.parametrize("rate", [1e-3, 3e-2])
@pytest.mark.parametrize("seed", [0, 5])
def test_which_start_has_a_gradient_to_begin_with(seed, rate, alpha):
    view = WhyBIsZero.at(zero_alpha=alpha, zero_rate=rate, seed=seed)
    found = view.first_steps()
    by_name = {run.initialisation: row for row, run in enumerate(view.runs)}
    for name, row in by_name.items():
        a, b = found.gradient_a[row], found.gradient_b[row]
        if name == "zero":
            assert not a.any()
            assert not b.any()
            assert len(found.loss[row].unique()) == 1
        elif name == "kaiming":
            assert a[0] == 0 < b[0]
            assert (a[1:] > 0).all()
        elif name == "b_random":
            assert b[0] == 0 < a[0]
            assert (b[1:] > 0).all()
        elif name == "random":
            assert a[0] > 0
            assert b[0] > 0
            assert found.change[row, 0] > 0  # the output is shifted before any training
        if name in ("kaiming", "b_random", "zero"):
            assert found.change[row, 0] == 0


@pytest.mark.parametrize("rank", [4, 64])
@pytest.mark.parametrize("alpha", [4.0, 64.0])
def test_rslora_with_alpha_unchanged_is_a_change_of_scale(alpha, rank):
    """peft#3449: merging one adapter of r = 4, α = 4 with weight 1 must keep ×1, not rsLoRA's ×2."""
    plain, rooted = scale(alpha, rank, "alpha/r"), scale(alpha, rank, "alpha/sqrt(r)")
    assert rooted / plain == pytest.approx(math.sqrt(rank))
    if rank == alpha:
        assert plain == 1
        assert rooted == math.sqrt(rank)  # 8 at 64, 2 at 4


def test_alpha_of_each_ranks_own_keeps_every_scale_at_1():
    """diffusers#14409: ranks 64 and 16 without a stored α: α = rank everywhere, not the first key's 16."""
    assert [scale(float(rank), rank) for rank in (64, 16)] == [1, 1]
    assert scale(16.0, 64) == 0.25


@pytest.mark.parametrize("ratio", [4.0, 16.0])
@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_lora_plus_is_another_alpha_for_b_zero_only(rate, ratio):
    def losses(name: str, **recipe: object) -> torch.Tensor:
        *_, last = train(SMALL, (Run(name, 2, rate, 0),), Recipe(steps=60, epsilon=1e-30, **recipe), 60)
        return last.losses[0]

    same = losses("kaiming", ratio=ratio), losses("kaiming", alpha=8.0 * ratio)
    assert_close(*same, rtol=2e-3, atol=1e-5)
    other = losses("random", ratio=ratio), losses("random", alpha=8.0 * ratio)
    assert float((other[0] - other[1]).abs().max()) > 1e-2
    dora = losses("kaiming", ratio=ratio, dora=True), losses("kaiming", alpha=8.0 * ratio, dora=True)
    assert float((dora[0] - dora[1]).abs().max()) > 1e-3


def test_the_second_step_moves_both_factors():
    """torchtune#1101: B = 0, A random: ∇A = 0 and ∇B ≠ 0 first, then both; and both random shifts W."""
    found = first_steps(SMALL, (Run("kaiming", 2, 1e-2, 0),), Recipe(), 3)
    assert found.gradient_a[0, 0] == 0
    assert found.gradient_b[0, 0] > 0
    assert (found.gradient_a[0, 1:] > 0).all()


def test_counts_of_the_lesson():
    from models.lora.adapter import parameter_count

    assert parameter_count(4096, 4096, 8) == 65_536
    assert pytest.approx(0.0039, abs=1e-4) == 65_536 / 4096**2
    assert parameter_count(4096, 4096, 8, dora=True) == 65_536 + 4096
