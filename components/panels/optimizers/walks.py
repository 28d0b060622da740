"""What is computed for the chosen optimizers, each once: paths, basins, and rates tuned on the spot."""

from dataclasses import dataclass, replace
from functools import lru_cache

from components.panels.optimizers.settings import Setup, WalksOnSurface
from models.optimizers.learning_rates import Basin, basin, rates_between
from models.optimizers.surfaces import SurfaceChoice, surface
from models.optimizers.trajectories import KINDS, Choice, Run, Trajectory, trajectory

LOW, HIGH, COUNT = 1e-5, 10.0, 40  # learning rates of a basin
SLOW_COUNT = 13  # of optimizers that cannot run as one batch


@dataclass(frozen=True, eq=False)
class Walk:
    """One optimizer of the figure: as it was set, and what it did."""

    choice: Choice
    path: Trajectory


@lru_cache(maxsize=256)
def path_of(choice: SurfaceChoice, start: tuple[float, float], optimizer: Choice, run: Run) -> Trajectory:
    """One optimizer's path; a change of another one's settings leaves it as it is."""
    return trajectory(surface(choice), start, optimizer, run)


@lru_cache(maxsize=128)
def basin_of(choice: SurfaceChoice, start: tuple[float, float], optimizer: Choice, run: Run) -> Basin:
    count = COUNT if KINDS[optimizer.kind].is_elementwise else SLOW_COUNT
    return basin(surface(choice), start, optimizer, rates_between(LOW, HIGH, count), run)


def with_rate(choice: Choice, rate: float) -> Choice:
    return replace(choice, rate=rate)


def swept(choice: Choice) -> Choice:
    """The optimizer as a sweep takes it: its own learning rate plays no part in that."""
    return with_rate(choice, KINDS[choice.kind].rate)


def tuned(choice: Choice, setup: Setup) -> Choice:
    """The optimizer at the learning rate of its basin's lowest point."""
    return with_rate(choice, basin_of(setup.surface, setup.start, swept(choice), setup.run).best_rate)


def walk_of(view: WalksOnSurface, setup: Setup, kind: str) -> Walk:
    """One optimizer's path at the learning rate that the view is set to."""
    choice = view.choice_of(kind)
    if view.rates == "tuned":
        choice = tuned(choice, setup)
    return Walk(choice, path_of(setup.surface, setup.start, choice, setup.run))


def walks(view: WalksOnSurface, setup: Setup) -> list[Walk]:
    return [walk_of(view, setup, kind) for kind in view.chosen]
