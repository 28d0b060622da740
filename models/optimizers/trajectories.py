"""Optimizers as their libraries ship them: which there are, what they can be told, and their paths.

Nothing here computes a step: torch.optim's own classes do (torch 2.13), Lion is lion-pytorch's
(0.2.5, by P. Wang), and schedule-free is Meta's schedulefree (1.4.1).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from lion_pytorch import Lion
from schedulefree import AdamWScheduleFree, SGDScheduleFree
from torch import Tensor, optim

from models.errors import InputError
from models.optimizers.schedules import CONSTANT, Schedule, factor
from models.optimizers.surfaces import Surface

LARGEST_RATE = 1e4
MOST_STEPS = 5_000
GONE = 1e8  # a coordinate beyond this has left for good


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter beside the learning rate: its range and torch's default."""

    name: str
    default: float
    low: float
    high: float
    is_log: bool = False
    step: float = 0.01


@dataclass(frozen=True)
class Kind:
    """One optimizer: how it is built, and what its library's defaults are."""

    label: str
    build: Callable[..., optim.Optimizer]  # (parameters, rate, {name: value})
    rate: float  # the library's default learning rate
    parameters: tuple[Parameter, ...] = ()
    # whether each number's step depends on its own gradients only, and is proportional to the rate
    is_elementwise: bool = True
    is_averaged: bool = False  # schedule-free: trains at y, is evaluated at x


MOMENTUM = Parameter("momentum", 0.9, 0.0, 0.99)
DAMPENING = Parameter("dampening", 0.0, 0.0, 0.99)
BETA1 = Parameter("beta1", 0.9, 0.0, 0.99)
BETA2 = Parameter("beta2", 0.999, 0.5, 0.9999, step=0.0001)
EPSILON = Parameter("eps", 1e-8, 1e-12, 1.0, is_log=True)
DECAY = Parameter("weight_decay", 0.0, 0.0, 1.0)


def _sgd(parameters, lr, momentum=0.0, dampening=0.0, weight_decay=0.0):
    return optim.SGD(parameters, lr, momentum, dampening, weight_decay)


def _nesterov(parameters, lr, momentum, weight_decay):
    return optim.SGD(parameters, lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0)


def _with_betas(cls: Callable[..., optim.Optimizer]) -> Callable[..., optim.Optimizer]:
    def build(parameters, lr, beta1, beta2, **others):
        return cls(parameters, lr=lr, betas=(beta1, beta2), **others)

    return build


def _plain(cls: Callable[..., optim.Optimizer], **fixed: object) -> Callable[..., optim.Optimizer]:
    return lambda parameters, lr, **others: cls(parameters, lr=lr, **fixed, **others)


def _rprop(parameters, lr, etaminus, etaplus):
    return optim.Rprop(parameters, lr, (etaminus, etaplus))


def _lbfgs(parameters, lr, history_size):
    return optim.LBFGS(parameters, lr, max_iter=1, history_size=round(history_size))


KINDS: dict[str, Kind] = {
    "sgd": Kind("SGD", _sgd, 1e-3, (DECAY,)),
    "momentum": Kind("Momentum", _sgd, 1e-3, (MOMENTUM, DAMPENING, DECAY)),
    "nesterov": Kind("Nesterov", _nesterov, 1e-3, (MOMENTUM, DECAY)),
    "adagrad": Kind("Adagrad", _plain(optim.Adagrad), 1e-2, (replace(EPSILON, default=1e-10), DECAY)),
    "adadelta": Kind(
        "Adadelta",
        _plain(optim.Adadelta),
        1.0,
        (Parameter("rho", 0.9, 0.0, 0.999, step=0.001), replace(EPSILON, default=1e-6), DECAY),
    ),
    "rmsprop": Kind(
        "RMSprop",
        _plain(optim.RMSprop),
        1e-2,
        (Parameter("alpha", 0.99, 0.0, 0.999, step=0.001), EPSILON, DECAY),
    ),
    "adam": Kind("Adam", _with_betas(optim.Adam), 1e-3, (BETA1, BETA2, EPSILON, DECAY)),
    "adamw": Kind(
        "AdamW", _with_betas(optim.AdamW), 1e-3, (BETA1, BETA2, EPSILON, replace(DECAY, default=0.01))
    ),
    "nadam": Kind(
        "NAdam",
        _with_betas(optim.NAdam),
        2e-3,
        (BETA1, BETA2, EPSILON, DECAY, Parameter("momentum_decay", 4e-3, 0.0, 0.1, step=0.001)),
    ),
    "radam": Kind("RAdam", _with_betas(optim.RAdam), 1e-3, (BETA1, BETA2, EPSILON, DECAY)),
    "adamax": Kind("Adamax", _with_betas(optim.Adamax), 2e-3, (BETA1, BETA2, EPSILON, DECAY)),
    "adafactor": Kind(
        "Adafactor",
        _plain(optim.Adafactor),
        1e-2,
        (Parameter("beta2_decay", -0.8, -1.0, -0.1), Parameter("d", 1.0, 1.0, 10.0, step=0.1), DECAY),
        is_elementwise=False,
    ),
    "rprop": Kind(
        "Rprop",
        _rprop,
        1e-2,
        (Parameter("etaminus", 0.5, 0.1, 0.9), Parameter("etaplus", 1.2, 1.01, 2.0)),
        is_elementwise=False,
    ),
    "lbfgs": Kind(
        "L-BFGS",
        _lbfgs,
        1.0,
        (Parameter("history_size", 10.0, 1.0, 50.0, step=1.0),),
        is_elementwise=False,
    ),
    "lion": Kind("Lion", _with_betas(Lion), 1e-4, (BETA1, replace(BETA2, default=0.99), DECAY)),
    "free_sgd": Kind(
        "Schedule-free SGD",
        _plain(SGDScheduleFree, foreach=False),
        1.0,
        (replace(MOMENTUM, low=0.01), DECAY),
        is_elementwise=False,
        is_averaged=True,
    ),
    "free_adamw": Kind(
        "Schedule-free AdamW",
        _with_betas(lambda parameters, **given: AdamWScheduleFree(parameters, foreach=False, **given)),
        2.5e-3,
        (replace(BETA1, low=0.01), BETA2, EPSILON, DECAY),
        is_elementwise=False,
        is_averaged=True,
    ),
}


@dataclass(frozen=True)
class Choice:
    """An optimizer with a learning rate and its other settings; small, so that caches can key on it.

    Raises InputError for an unknown optimizer, and for settings that its library would refuse.
    """

    kind: str
    rate: float
    settings: tuple[tuple[str, float], ...] = ()  # those that are not defaults

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError("There is no optimizer called {name}.", name=self.kind)
        check_rate(self.rate)
        ranges = {parameter.name: parameter for parameter in KINDS[self.kind].parameters}
        for name, value in self.settings:
            known = ranges.get(name)
            if known is None or not known.low <= value <= known.high:
                raise InputError("{name} = {value} is not accepted here.", name=name, value=value)

    @property
    def values(self) -> dict[str, float]:
        """All settings but the learning rate, by torch's names."""
        return {p.name: p.default for p in KINDS[self.kind].parameters} | dict(self.settings)

    def build(self, parameters: Sequence[Tensor], rate: float | None = None) -> optim.Optimizer:
        return KINDS[self.kind].build(parameters, lr=self.rate if rate is None else rate, **self.values)


def check_rate(rate: float) -> None:
    """Raises InputError unless 0 < rate ≤ LARGEST_RATE."""
    if not 0 < rate <= LARGEST_RATE:
        raise InputError(
            "A learning rate of {rate} is not accepted; it must be above 0 and at most {largest}.",
            rate=f"{rate:g}",
            largest=f"{LARGEST_RATE:g}",
        )


def default(kind: str) -> Choice:
    """The optimizer as its library sets it up."""
    if kind not in KINDS:
        raise InputError("There is no optimizer called {name}.", name=kind)
    return Choice(kind, KINDS[kind].rate)


@dataclass(frozen=True)
class Run:
    """How long, under which schedule, with how much noise on the gradient (from which seed).

    ``noise`` is the standard deviation of normal noise on each component; ``clip`` the largest
    gradient norm, ∞ for none. Raises InputError on what cannot be run.
    """

    steps: int = 200
    schedule: Schedule = CONSTANT
    noise: float = 0.0
    clip: float = math.inf
    seed: int = 0

    def __post_init__(self):
        if not 1 <= self.steps <= MOST_STEPS:
            raise InputError(
                "{steps} steps are not accepted; 1 to {most} are.", steps=self.steps, most=MOST_STEPS
            )
        if not (0 <= self.noise < math.inf and self.clip > 0):
            raise InputError("Noise must not be negative, and the largest gradient norm must be above 0.")

    def noise_of(self, *shape: int) -> Float[Tensor, "steps *shape"]:
        generator = torch.Generator().manual_seed(self.seed)
        return self.noise * torch.randn(self.steps, *shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Every step of one run. After divergence, everything is NaN.

    ``positions`` is where the optimizer would be evaluated: for schedule-free the average x, for all
    others the parameters themselves. ``gradients`` are those that the optimizer was handed, with
    noise and clipping; ``rates`` the learning rates it used.
    """

    positions: Float[Tensor, "points 2"]
    parameters: Float[Tensor, "points 2"]
    gradients: Float[Tensor, "steps 2"]
    losses: Float[Tensor, " points"]  # at ``positions``
    rates: Float[Tensor, " steps"]
    diverged_at: int | None

    @property
    def last(self) -> int:
        """The last step that has a position."""
        return len(self.positions) - 1 if self.diverged_at is None else self.diverged_at - 1


def trajectory(surface: Surface, start: tuple[float, float], choice: Choice, run: Run) -> Trajectory:
    """The optimizer's own steps from ``start``, in float64, each recorded.

    Every step is one call of the library's ``step``, with the surface's gradient at the point. A run
    ends where the loss is no finite number, or a coordinate leaves ±10⁸.
    """
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = choice.build([point])
    is_averaged = KINDS[choice.kind].is_averaged
    if is_averaged:
        optimizer.train()  # type: ignore[attr-defined]  # schedule-free's own switch
    noise = run.noise_of(2) if run.noise else None
    parameters = torch.full((run.steps + 1, 2), math.nan, dtype=torch.float64)
    gradients = torch.full((run.steps, 2), math.nan, dtype=torch.float64)
    averages = parameters.clone() if is_averaged else parameters
    parameters[0] = averages[0] = point.detach()
    rates = [choice.rate * factor(run.schedule, step, run.steps) for step in range(run.steps)]
    group, diverged_at = optimizer.param_groups[0], None
    function, clip = surface.function, run.clip

    def differentiate() -> None:
        point.grad = surface.gradient(*point.tolist())
        if noise is not None:
            point.grad.add_(noise[step])
        if clip < math.inf:
            torch.nn.utils.clip_grad_norm_([point], clip)
        gradients[step] = point.grad

    def closure() -> Tensor:  # with the loss, which only L-BFGS looks at
        differentiate()
        return function(*point.detach().unbind())

    for step in range(run.steps):
        group["lr"] = rates[step]
        if choice.kind == "lbfgs":
            optimizer.step(closure)  # type: ignore[arg-type]  # torch's own closures return tensors
        else:
            differentiate()
            optimizer.step()
        x, y = point.tolist()
        if not (abs(x) < GONE and abs(y) < GONE):  # also where one of them is NaN
            diverged_at = step + 1
            break
        parameters[step + 1] = point.detach()
        if is_averaged:
            averages[step + 1] = _average(optimizer, point)
    losses = function(*averages.unbind(-1))
    return Trajectory(
        averages, parameters, gradients, losses, torch.tensor(rates, dtype=torch.float64), diverged_at
    )


def _average(optimizer: optim.Optimizer, point: Tensor) -> Float[Tensor, "2"]:
    """Schedule-free's x, from y (where it trains) and z: y = (1 − β)z + βx."""
    group = optimizer.param_groups[0]
    beta = group["momentum"] if "momentum" in group else group["betas"][0]
    y = point.detach()
    return y.lerp(optimizer.state[point]["z"], 1 - 1 / beta)
