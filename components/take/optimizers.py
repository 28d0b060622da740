"""Scripts of the optimizers page: paths, learning rates, first steps, decay, momentum, matrices."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from components.take.script import Named, Script, script
from models.optimizers.bias_correction import Gradients, correction_ratio
from models.optimizers.bias_correction import first_steps as sizes_of_steps
from models.optimizers.conditioning import Rotations, rotations
from models.optimizers.learning_rates import Basin, rates_between
from models.optimizers.learning_rates import basin as basin_of
from models.optimizers.matrix_problem import MatrixProblem, MatrixRun, matrix_run
from models.optimizers.momentum import Optimum, best_momentum, library_path, spectral_radius
from models.optimizers.schedules import Schedule
from models.optimizers.surfaces import SurfaceChoice, surface
from models.optimizers.trajectories import Choice, Run, Trajectory, default, trajectory
from models.optimizers.weight_decay import Decayed, DecayTrial, decay_only, decay_run

Start = tuple[float, float]

# Paths --------------------------------------------------------------------------------------------


def paths(on: SurfaceChoice, start: Start, run: Run, found: Sequence[tuple[Choice, Trajectory]]) -> Script:
    prints: Named = {}
    for choice, path in found:
        prints[f"{choice.kind}: ends at"] = path.positions[path.last]
        prints[f"{choice.kind}: f"] = path.losses[path.last]
    choices = [choice for choice, _path in found]
    return script(ends_of_paths, prints, on=on, start=start, run=run, choices=choices)


def ends_of_paths(on: SurfaceChoice, start: Start, run: Run, choices: list[Choice]) -> Named:
    """Optimizers side by side on one surface, from one point.

    Prints where each of them ends, and the surface's height there.
    """
    shown: dict = {}
    for choice in choices:
        path = trajectory(surface(on), start, choice, run)
        shown |= {
            f"{choice.kind}: ends at": path.positions[path.last],
            f"{choice.kind}: f": path.losses[path.last],
        }
    return shown


# The learning-rate basin --------------------------------------------------------------------------


def basin(
    on: SurfaceChoice,
    start: Start,
    run: Run,
    between: tuple[float, float],
    found: Sequence[tuple[Choice, Basin]],
) -> Script:
    prints: Named = {}
    for choice, one in found:
        prints[f"{choice.kind}: best rate"] = one.best_rate
        prints[f"{choice.kind}: last losses"] = one.losses
    choices = [(choice, len(one.rates)) for choice, one in found]
    given: Named = {"on": on, "start": start, "run": run, "between": between}
    return script(basins_of_rates, prints, **given, choices=choices)


def basins_of_rates(
    on: SurfaceChoice,
    start: Start,
    run: Run,
    between: tuple[float, float],
    choices: list[tuple[Choice, int]],
) -> Named:
    """What optimizers reach at many learning rates, each so many between a least and a largest.

    Prints the best rate of each, and the last loss at every rate from the least to the largest.
    """
    shown: dict = {}
    for choice, count in choices:
        found = basin_of(surface(on), start, choice, rates_between(*between, count), run)
        shown |= {
            f"{choice.kind}: best rate": found.best_rate,
            f"{choice.kind}: last losses": found.losses,
        }
    return shown


# A turned ravine ----------------------------------------------------------------------------------


def rotation(
    condition: float,
    angles: Sequence[int],
    between: tuple[float, float, int],
    tolerance: float,
    steps: int,
    found: Mapping[str, Rotations],
) -> Script:
    prints: Named = {}
    for kind, one in found.items():
        prints[f"{kind}: rate"] = one.rate
        prints[f"{kind}: steps"] = one.steps_needed
    given: Named = {"kinds": list(found), "condition": condition, "angles": list(angles)}
    return script(steps_by_angle, prints, **given, between=between, tolerance=tolerance, steps=steps)


def steps_by_angle(
    kinds: list[str],
    condition: float,
    angles: list[int],
    between: tuple[float, float, int],
    tolerance: float,
    steps: int,
) -> Named:
    """The same ravine, turned: which optimizers notice that its axes are not those of the parameters?

    Prints the learning rate that is best along the axes, and the steps to the tolerance at each angle;
    -1 where it is not reached.
    """
    degrees = torch.tensor(angles, dtype=torch.float64)
    shown: dict = {}
    for kind in kinds:
        found = rotations(default(kind), condition, degrees, rates_between(*between), tolerance, steps)
        shown |= {f"{kind}: rate": found.rate, f"{kind}: steps": found.steps_needed}
    return shown


# First steps --------------------------------------------------------------------------------------

SHOWN_STEPS = 12  # of the table


def first_steps(
    stream: Gradients, beta1: float, beta2: float, warmup: int, found: Mapping[str, Tensor]
) -> Script:
    prints: Named = {way: sizes[:SHOWN_STEPS] for way, sizes in found.items()}
    prints["ratio"] = correction_ratio(beta1, beta2, SHOWN_STEPS)
    given: Named = {"stream": stream, "beta1": beta1, "beta2": beta2, "warmup": warmup}
    return script(sizes_of_first_steps, prints, **given, steps=SHOWN_STEPS, tolerance=1e-4)


def sizes_of_first_steps(stream: Gradients, beta1: float, beta2: float, warmup: int, steps: int) -> Named:
    """The first steps of Adam with and without bias correction, with warm-up, and of RAdam.

    Prints the length of each step, divided by the learning rate, and the correction's ratio.
    """
    found = sizes_of_steps(stream, beta1, beta2, warmup)
    sizes = {way: lengths[:steps] for way, lengths in found.items()}
    return {**sizes, "ratio": correction_ratio(beta1, beta2, steps)}


# Weight decay -------------------------------------------------------------------------------------


def decay(trial: DecayTrial, found: Mapping[str, Decayed]) -> Script:
    prints: Named = {}
    for way, run in found.items():
        prints[f"{way}: mean"] = run.mean[-1]
        prints[f"{way}: deviation"] = run.deviation[-1]
    prints["decay alone"] = decay_only(trial)[-1]
    return script(decayed, prints, trial=trial, ways=list(found))


def decayed(trial: DecayTrial, ways: list[str]) -> Named:
    """L2 in the loss against decoupled weight decay.

    Prints the last value of two parameters that began at 1, with large and with small gradients: mean
    and deviation over many runs; and what decay alone leaves.
    """
    shown: dict = {}
    for way in ways:
        found = decay_run(trial, way)
        shown |= {f"{way}: mean": found.mean[-1], f"{way}: deviation": found.deviation[-1]}
    return {**shown, "decay alone": decay_only(trial)[-1]}


# Momentum -----------------------------------------------------------------------------------------


def momentum(
    condition: float, rate: float, beta: float, factors: Sequence[float], best: Optimum, steps: int
) -> Script:
    """``factors``: per step, along the flat and along the steep axis."""
    prints = {
        "factors per step": list(factors),
        "best learning rate": best.rate,
        "best momentum": best.beta,
        "distance after the last step": library_path(rate, beta, condition, steps)[-1].norm(),
    }
    given: Named = {"condition": condition, "rate": rate, "beta": beta, "steps": steps}
    return script(momentum_on_quadratic, prints, **given)


def momentum_on_quadratic(condition: float, rate: float, beta: float, steps: int) -> Named:
    """Momentum on a quadratic whose axes differ by the condition number.

    Prints the factor per step along both axes, the best setting, and how far torch's SGD with momentum
    is from the minimum at the end.
    """
    alpha, share = torch.tensor(rate).double(), torch.tensor(beta).double()
    best = best_momentum(condition)
    return {
        "factors per step": [spectral_radius(alpha, share, axis).item() for axis in (1.0, condition)],
        "best learning rate": best.rate,
        "best momentum": best.beta,
        "distance after the last step": library_path(rate, beta, condition, steps)[-1].norm(),
    }


# Matrices -----------------------------------------------------------------------------------------


def matrices(
    problem: MatrixProblem, steps: int, step: int, found: Mapping[str, tuple[float, MatrixRun]]
) -> Script:
    """``found``: each optimizer's best rate, and its run; ``step``: the one that is shown."""
    prints = {kind: run.losses[[step, steps]] for kind, (_rate, run) in found.items()}
    rates = {kind: rate for kind, (rate, _run) in found.items()}
    given: Named = {"problem": problem, "rates": rates, "steps": steps, "step": step}
    return script(matrix_learned, prints, **given, tolerance=1e-3)  # Muon computes in bfloat16


def matrix_learned(problem: MatrixProblem, rates: dict[str, float], steps: int, step: int) -> Named:
    """A matrix is learned by SGD, Nesterov's momentum, Adam and Muon, each at its best learning rate.

    Prints their losses after the step that is shown, and after the last one.
    """
    shown = {}
    for kind, rate in rates.items():
        losses = matrix_run(problem, kind, rate, steps, Schedule("cosine")).losses
        shown[kind] = losses[[step, steps]]
    return shown
