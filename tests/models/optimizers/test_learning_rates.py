"""models.optimizers.learning_rates: the batch is what separate runs of torch.optim give."""

import math

import pytest
import torch
from torch.testing import assert_close

from models.errors import InputError
from models.optimizers.learning_rates import (
    Basin,
    basin,
    batched_paths,
    endpoints,
    is_chaotic,
    rates_between,
)
from models.optimizers.schedules import Schedule
from models.optimizers.surfaces import SurfaceChoice, rows_of, surface
from models.optimizers.trajectories import KINDS, Choice, Run, default, trajectory

ELEMENTWISE = [kind for kind in KINDS if KINDS[kind].is_elementwise]
RUN = Run(40, Schedule("cosine", 5), noise=0.2, clip=5.0, seed=3)


def pairs(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_each_row_is_a_run_of_its_own(kind):
    one = surface(SurfaceChoice("himmelblau"))
    rates = rates_between(1e-4, 0.1, 5)
    starts = pairs([[0.0, 0.0], [1.0, -2.0], [3.0, 3.0], [-4.0, 1.0], [-1.0, -1.0]])
    decay = any(p.name == "weight_decay" for p in KINDS[kind].parameters)
    settings = (("weight_decay", 0.3),) if decay else ()
    paths = batched_paths(rows_of(one), starts, rates, Choice(kind, 1.0, settings), RUN)
    for row, (start, rate) in enumerate(zip(starts.tolist(), rates.tolist(), strict=True)):
        alone = trajectory(one, tuple(start), Choice(kind, rate, settings), RUN)
        shown = alone.last + 1
        assert_close(paths[:shown, row], alone.positions[:shown], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_basin_holds_the_last_loss_of_each_rate(kind):
    one, rates = surface(SurfaceChoice("beale")), rates_between(1e-3, 1.0, 4)
    found = basin(one, one.start, default(kind), rates, Run(steps=20))
    for number, rate in enumerate(rates.tolist()):
        alone = trajectory(one, one.start, Choice(kind, rate), Run(steps=20))
        assert found.diverged[number].item() == (alone.diverged_at is not None)
        if alone.diverged_at is None:
            assert_close(found.losses[number], alone.losses[-1], rtol=1e-7, atol=1e-9)
        else:
            assert found.losses[number] == math.inf


def test_who_went_too_far_and_came_back_has_diverged_in_the_basin_as_in_a_run():
    """A cosine's last small rates, with decay, lead a run back that was far away in the middle."""
    one, rates = surface(SurfaceChoice("saddle")), rates_between(1e-5, 10.0, 140)
    settings = (("momentum", 0.4448643901490553), ("weight_decay", 0.9777289981124159))
    choice = Choice("nesterov", 1.0, settings)
    run = Run(178, Schedule("cosine", 40), noise=1.4230632314616187, clip=50.0, seed=81)
    found = basin(one, one.start, choice, rates, run)
    runs = [trajectory(one, one.start, Choice("nesterov", rate, settings), run) for rate in rates.tolist()]
    assert found.diverged.tolist() == [alone.diverged_at is not None for alone in runs]
    ends = batched_paths(rows_of(one), pairs([one.start] * len(rates)), rates, choice, run)[-1]
    assert (found.diverged & (ends.abs() < 1e8).all(dim=-1)).any()  # one that came back is among them


def test_endpoints_of_many_starts():
    one = surface(SurfaceChoice("himmelblau"))
    starts = pairs([[4.0, 4.0], [-4.0, 4.0], [-4.0, -4.0], [4.0, -4.0]])
    for kind in ("adam", "rprop"):
        ends = endpoints(one, starts, Choice(kind, 0.1), Run(steps=300))
        assert_close(ends, pairs(one.minima), atol=1e-3, rtol=0)  # each quadrant has its own minimum


def test_best_rate_and_width():
    rates = rates_between(1e-3, 10.0, 5)
    found = Basin(rates, pairs([5.0, 1.0, 2.0, math.inf, math.inf]), torch.tensor([False] * 3 + [True] * 2))
    assert (found.best, found.best_rate) == (1, pytest.approx(1e-2))
    assert found.width(2.0) == pytest.approx(2.0)
    assert found.width(10.0) == pytest.approx(3.0)


def test_rates_are_at_equal_factors():
    rates = rates_between(1e-4, 1.0, 9)
    assert_close(rates[1:] / rates[:-1], torch.full((8,), math.sqrt(10), dtype=torch.float64))


@pytest.mark.parametrize(
    "bounds", [(0.0, 1.0, 5), (1.0, 0.1, 5), (1e-3, 1e9, 5), (1e-3, 1.0, 1), (-1.0, 1.0, 5)]
)
def test_sweeps_that_are_refused(bounds):
    with pytest.raises(InputError):
        rates_between(*bounds)


def test_what_is_not_elementwise_is_no_batch():
    starts, rates = torch.zeros(2, 2), torch.ones(2)
    with pytest.raises(InputError, match="one batch"):
        batched_paths(rows_of(surface(SurfaceChoice("bowl"))), starts, rates, default("lbfgs"), Run(5))
    with pytest.raises(InputError, match="too many"):
        batched_paths(
            rows_of(surface(SurfaceChoice("bowl"))),
            torch.zeros(20_001, 2),
            torch.ones(20_001),
            default("sgd"),
            Run(5),
        )


@pytest.mark.slow
def test_rounding_decides_where_a_large_noisy_step_ends_and_not_where_a_small_one_does():
    himmelblau, start = surface(SurfaceChoice("himmelblau")), (0.0, -4.5)
    settings = (("beta1", 0.4735), ("beta2", 0.7394), ("eps", 8e-7), ("weight_decay", 0.6634))
    wild = Choice("adam", 1.7012542798525887, settings)
    run = Run(steps=917, noise=16.65, clip=2.77, seed=263)
    assert is_chaotic(himmelblau, start, wild, run)
    path = trajectory(himmelblau, start, wild, run)
    other = batched_paths(
        rows_of(himmelblau), torch.tensor([start]).double(), torch.tensor([1.7]).double(), wild, run
    )
    assert (path.positions[-1] - other[-1, 0]).abs().max() > 1e-3  # the two ways have come apart
    assert not is_chaotic(himmelblau, start, wild, Run(steps=3, noise=16.65, clip=2.77, seed=263))
    assert not is_chaotic(himmelblau, start, Choice("adam", 1e-3), run)
    assert not is_chaotic(himmelblau, start, Choice("lbfgs", 1.0), run)
