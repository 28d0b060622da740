"""A mixture-of-experts layer small enough to train while one watches, with balancing that can be turned.

The task is regression: tokens come from clusters, some far more often than others, and each cluster
has a linear map of its own to learn. Experts that share the clusters evenly learn best.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from models.errors import InputError
from models.moe import Routing, sigmoid_routing
from models.moe_balance import expert_level_loss, expert_load, max_violation, updated_bias

Balancing = Literal["none", "loss", "sign", "proportional"]
BALANCINGS: tuple[Balancing, ...] = get_args(Balancing)
STEPS, BATCH, VALIDATION = 800, 512, 4_096
LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class LayerSettings:
    """What is fixed for a run."""

    experts: int = 16
    chosen: int = 2
    width: int = 16
    hidden: int = 16  # of one expert
    clusters: int = 48
    seed: int = 0

    def __post_init__(self):
        if not (1 <= self.chosen <= self.experts <= 64):
            raise InputError(
                "{chosen} of {experts} experts: from 1 to 64 experts, and no more chosen than there are.",
                chosen=self.chosen,
                experts=self.experts,
            )


@dataclass(frozen=True)
class Knobs:
    """What may change at every step. ``push`` is added to the logit of expert 0, as a disturbance."""

    balancing: Balancing = "sign"
    loss_weight: float = 0.01  # α
    bias_rate: float = 1e-3  # γ
    frozen: bool = False  # the bias stays where it is: γ = 0
    push: float = 0.0

    def __post_init__(self):
        numbers = (self.loss_weight, self.bias_rate, self.push)
        if not all(map(math.isfinite, numbers)) or min(self.loss_weight, self.bias_rate) < 0:
            raise InputError("α and γ are numbers that are not negative, and the push is a number.")


class ClusterTask:
    """Tokens x from clusters with Zipf frequencies (the k-th comes 1/k as often), and targets W_c x."""

    def __init__(self, settings: LayerSettings):
        self.generator = torch.Generator().manual_seed(settings.seed)
        clusters, width = settings.clusters, settings.width
        self.centres = self._normal(clusters, width)
        self.maps = self._normal(clusters, width, width) / width**0.5
        self.frequency = 1 / torch.arange(1, clusters + 1)
        self.validation = self.batch(VALIDATION)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def batch(self, tokens: int) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens width"]]:
        """Inputs and targets."""
        cluster = torch.multinomial(self.frequency, tokens, replacement=True, generator=self.generator)
        x = self.centres[cluster] + 0.5 * self._normal(tokens, self.centres.shape[1])
        order = cluster.argsort()
        counts = torch.bincount(cluster, minlength=len(self.centres)).tolist()
        parts = [part @ weight for part, weight in zip(x[order].split(counts), self.maps, strict=True)]
        return x[order], torch.cat(parts)


class SmallMixture(nn.Module):
    """A router and N two-layer experts; all experts are computed, and the gate zeroes those not chosen."""

    def __init__(self, settings: LayerSettings):
        super().__init__()
        generator = torch.Generator().manual_seed(settings.seed)

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator) / shape[0] ** 0.5)

        self.settings = settings
        self.router = normal(settings.width, settings.experts)
        self.inward = normal(settings.width, settings.experts * settings.hidden)
        self.outward = normal(settings.experts * settings.hidden, settings.width)
        self.bias = nn.Buffer(torch.zeros(settings.experts))

    def forward(
        self, x: Float[Tensor, "tokens width"], push: float = 0.0
    ) -> tuple[Float[Tensor, "tokens width"], Routing]:
        """The output, and how it was routed."""
        logits = x @ self.router
        if push:
            logits = logits + push * (torch.arange(self.settings.experts) == 0)
        routing = sigmoid_routing(logits, self.settings.chosen, self.bias)
        gate = torch.zeros_like(routing.scores).scatter(1, routing.chosen, routing.weights)
        inside = (x @ self.inward).relu() * gate.repeat_interleave(self.settings.hidden, dim=1)
        return inside @ self.outward, routing


@dataclass(frozen=True, eq=False)
class Step:
    """What one step of training showed."""

    step: int  # counted from 1
    load: Float[Tensor, " experts"]  # of this batch
    max_violation: float  # of this batch
    loss: float  # mean squared error of this batch, over that of answering 0
    bias: Float[Tensor, " experts"]
    knobs: Knobs  # as they stood


@dataclass(frozen=True, eq=False)
class Outcome:
    """A layer on tokens that it was not trained on."""

    load: Int[Tensor, " experts"]
    max_violation: float  # MaxVio_global
    loss: float  # mean squared error over that of answering 0


class LayerTraining:
    """A run of the small layer: ``steps`` yields each step and reads the knobs anew before it."""

    def __init__(self, settings: LayerSettings):
        self.settings = settings
        self.task = ClusterTask(settings)
        self.layer = SmallMixture(settings)
        self.optimizer = torch.optim.Adam(self.layer.parameters(), lr=LEARNING_RATE, foreach=True)
        self.step = 0

    def steps(self, knobs: Callable[[], Knobs], count: int = STEPS) -> Iterator[Step]:
        """Train to step ``count``; stop it by asking for no further step."""
        while self.step < count:
            yield self.one_step(knobs())

    def one_step(self, knobs: Knobs) -> Step:
        x, y = self.task.batch(BATCH)
        out, routing = self.layer(x, knobs.push)
        task_loss = (out - y).square().mean() / y.square().mean()
        loss = task_loss
        if knobs.balancing == "loss":
            loss = loss + knobs.loss_weight * expert_level_loss(routing.scores, routing.chosen)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        load = expert_load(routing.chosen, self.settings.experts)
        if knobs.balancing in ("sign", "proportional") and not knobs.frozen:
            rule: Literal["sign", "proportional"] = "sign" if knobs.balancing == "sign" else "proportional"
            self.layer.bias.copy_(updated_bias(self.layer.bias, load, knobs.bias_rate, rule))
        self.step += 1
        violation, bias = float(max_violation(load)), self.layer.bias.clone()
        return Step(self.step, load, violation, task_loss.item(), bias, knobs)

    def run(self, knobs: Callable[[], Knobs], count: int = STEPS) -> Iterator[Step | Outcome]:
        """Every step, and at the end what the layer does with tokens that it was not trained on."""
        yield from self.steps(knobs, count)
        yield self.outcome(knobs().push)

    @torch.no_grad()
    def outcome(self, push: float = 0.0) -> Outcome:
        """Load and loss on the validation tokens, with the bias as it stands."""
        x, y = self.task.validation
        out, routing = self.layer(x, push)
        load = expert_load(routing.chosen, self.settings.experts)
        loss = (out - y).square().mean() / y.square().mean()
        return Outcome(load.long(), float(max_violation(load)), float(loss))
