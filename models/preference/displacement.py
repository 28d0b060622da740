"""Likelihood displacement in a policy of five answers and two parameters, trained by plain descent.

    log π(y) = e_y·θ − log Σ_y' e^{e_y'·θ}        e_y: a direction for each answer, θ: two parameters

Answers share θ as sentences share a network's weights. DPO's gradient in θ is a multiple of e_w − e_l
whatever the other answers are (∂log π(y_w) − ∂log π(y_l), where log Σ cancels); where e_w and e_l are
alike, some other answer points that way more than the chosen one does, and takes its probability.
After Razin et al. 2024, "Unintentional unalignment: likelihood displacement in DPO".
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.preference.gradients import CLOSED_FORMS, sigmoid
from models.preference.losses import Loss, LossSettings, Pairs, mixture
from models.preference.relatives import LOSSES

CHOSEN, REJECTED = 0, 1
OTHERS = (90.0, 180.0, 270.0)  # degrees; the first lies where e_w − e_l points
OTHER_LENGTH = 0.9  # of 1: beyond sin(angle/2) = 0.9 the chosen answer points there more than any other
SQUARED = ("ipo", "sppo_hard")
METHODS = ("sigmoid", "sigmoid+sft", *(name for name in CLOSED_FORMS if name != "sigmoid"))
MOST_STEPS = 2_000


@dataclass(frozen=True)
class Lab:
    """Where the answers lie, and how one trains."""

    angle: float = 40.0  # degrees between the chosen and the rejected answer
    learning_rate: float = 1.0
    steps: int = 300
    sft_weight: float = 0.05  # of the chosen answer's negative log-likelihood in "sigmoid+sft"
    settings: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self):
        if not 0 < self.angle <= 180:
            raise InputError(
                "The angle is {value}°; above 0° and at most 180° are accepted.", value=self.angle
            )
        in_range = 0 < self.learning_rate <= 100 and 1 <= self.steps <= MOST_STEPS
        if not (in_range and 0 <= self.sft_weight <= 10):
            raise InputError(
                "A run takes 1 to {most} steps, a learning rate above 0 and at most 100, "
                "and a weight from 0 to 10.",
                most=MOST_STEPS,
            )

    @property
    def directions(self) -> Float[Tensor, "answer 2"]:
        """e_y: chosen and rejected on both sides of 0°, the others fixed."""
        degrees = torch.tensor([self.angle / 2, -self.angle / 2, *OTHERS], dtype=torch.float64)
        length = torch.tensor([1.0, 1.0, *[OTHER_LENGTH] * len(OTHERS)], dtype=torch.float64)
        return length[:, None] * torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], dim=1)

    def rate(self, method: str) -> float:
        """The learning rate; of squared losses times β²/8, which makes their curvature that of DPO."""
        return self.learning_rate * (self.settings.beta**2 / 8 if method in SQUARED else 1.0)


@dataclass(frozen=True, eq=False)
class Training:
    """One method's way, from the policy that finds all answers equally likely, its own reference."""

    parameters: Float[Tensor, "step 2"]
    log_probabilities: Float[Tensor, "step answer"]
    loss: Float[Tensor, " step"]


def train(lab: Lab, methods: tuple[str, ...]) -> dict[str, Training]:
    """Train with each method, side by side; what diverges is NaN from there on.

    Raises InputError where a method is not known.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise InputError("Choose at least one of the losses that the lab knows.")
    with np.errstate(over="ignore", invalid="ignore"):
        theta, log_p = _descend(lab, methods)
    paths = torch.from_numpy(theta).transpose(0, 1)
    found = torch.from_numpy(log_p).transpose(0, 1)
    return {
        name: Training(
            paths[place], found[place], loss_of(lab, name)(pairs_along(found[place]), lab.settings)
        )
        for place, name in enumerate(methods)
    }


def _descend(lab: Lab, methods: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and log-probabilities by step and method."""
    directions = lab.directions.numpy()
    rates = np.array([lab.rate(name) for name in methods])[:, None]
    theta = np.zeros((lab.steps + 1, len(methods), 2))
    log_p = np.zeros((lab.steps + 1, len(methods), len(directions)))
    for step in range(lab.steps + 1):
        logits = theta[step] @ directions.T
        logits -= logits.max(1, keepdims=True)
        log_p[step] = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        if step == lab.steps:
            break
        rows = log_p[step].tolist()
        pulls = np.array([_pull(lab, name, row) for name, row in zip(methods, rows, strict=True)])
        mean = np.exp(log_p[step]) @ directions  # Σ p e, which every log-probability's gradient takes off
        gradient = pulls @ directions[:2] - pulls.sum(1, keepdims=True) * mean
        theta[step + 1] = theta[step] - rates * gradient
    return theta, log_p


def _pull(lab: Lab, name: str, log_p: list[float]) -> tuple[float, float]:
    """∂L/∂log π of the chosen and the rejected answer."""
    if log_p[CHOSEN] != log_p[CHOSEN]:  # NaN: it has diverged
        return math.nan, math.nan
    start = -math.log(2 + len(OTHERS))
    deltas = log_p[CHOSEN] - start, log_p[REJECTED] - start
    if name != "sigmoid+sft":
        return CLOSED_FORMS[name](*deltas, lab.settings)
    chosen, rejected = sigmoid(*deltas, lab.settings)
    return chosen - lab.sft_weight, rejected


def loss_of(lab: Lab, name: str) -> Loss:
    """The method as a loss on pairs."""
    if name != "sigmoid+sft":
        return LOSSES[name]

    def alone(pairs: Pairs, settings: LossSettings) -> Float[Tensor, " pair"]:
        return -pairs.chosen / pairs.chosen_length  # sft of each step by itself

    return mixture({LOSSES["sigmoid"]: 1.0, alone: lab.sft_weight})


def pairs_along(log_probabilities: Float[Tensor, "step answer"]) -> Pairs:
    """Every step as a pair whose answers are one token long, against the uniform reference."""
    start = torch.full_like(log_probabilities[:, 0], -math.log(log_probabilities.shape[1]))
    one = torch.ones_like(start)
    return Pairs(log_probabilities[:, CHOSEN], log_probabilities[:, REJECTED], start, start, one, one)


def trained_by_torch(lab: Lab, name: str, steps: int) -> Float[Tensor, "step answer"]:
    """The first log-probabilities of ``train`` by torch.optim.SGD and automatic differentiation."""
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=lab.rate(name))
    found = []
    for _ in range(steps + 1):
        log_p = torch.log_softmax(lab.directions @ theta, dim=0)
        found.append(log_p.detach())
        optimizer.zero_grad()
        loss_of(lab, name)(pairs_along(log_p[None]), lab.settings).sum().backward()
        optimizer.step()
    return torch.stack(found)
