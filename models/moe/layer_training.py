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
from models.moe.balance import (
    device_level_loss,
    expert_level_loss,
    expert_load,
    group_load,
    max_violation,
    router_z_loss,
    sequence_level_loss,
    updated_bias,
)
from models.moe.routers import Routing, expert_choice, hash_routing, sigmoid_routing, softmax_routing

Router = Literal["sigmoid", "softmax", "expert_choice", "hash"]
ROUTERS: tuple[Router, ...] = get_args(Router)
LEARNED = ("sigmoid", "softmax")  # those whose load a loss or a bias can change
Balancing = Literal["none", "loss", "sequence", "device", "sign", "proportional"]
BALANCINGS: tuple[Balancing, ...] = get_args(Balancing)
LOSSES = ("loss", "sequence", "device")
STEPS, BATCH, VALIDATION = 800, 512, 4_096
SEQUENCES = 8  # of a batch, whose tokens stand by cluster: each sequence holds a few of them
DEVICES = 4
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
    router: Router = "sigmoid"
    z_weight: float = 0.0  # of the z-loss

    def __post_init__(self):
        numbers = (self.loss_weight, self.bias_rate, self.push, self.z_weight)
        if not all(map(math.isfinite, numbers)) or min(*numbers[:2], self.z_weight) < 0:
            raise InputError("α, γ and the z-loss's weight are not negative, and the push is a number.")


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

    def batch(
        self, tokens: int
    ) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens width"], Int[Tensor, " tokens"]]:
        """Inputs, targets and clusters, in the order of the clusters."""
        cluster = torch.multinomial(self.frequency, tokens, replacement=True, generator=self.generator)
        x = self.centres[cluster] + 0.5 * self._normal(tokens, self.centres.shape[1])
        order = cluster.argsort()
        counts = torch.bincount(cluster, minlength=len(self.centres)).tolist()
        parts = [part @ weight for part, weight in zip(x[order].split(counts), self.maps, strict=True)]
        return x[order], torch.cat(parts), cluster[order]


@dataclass(frozen=True, eq=False)
class Passed:
    """What a batch left behind on its way through the layer."""

    out: Float[Tensor, "tokens width"]
    logits: Float[Tensor, "tokens experts"]
    gate: Float[Tensor, "tokens experts"]  # weights of the experts' outputs, 0 where not chosen
    routing: Routing | None  # None where experts choose tokens

    @property
    def load(self) -> Float[Tensor, " experts"]:
        """Tokens of each expert."""
        if self.routing is None:
            return (self.gate > 0).sum(0).float()
        return expert_load(self.routing.chosen, self.gate.shape[1])

    @property
    def left_out(self) -> float:
        """Share of the tokens that no expert took."""
        return float((self.gate == 0).all(1).float().mean())


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
        self,
        x: Float[Tensor, "tokens width"],
        cluster: Int[Tensor, " tokens"],
        knobs: Knobs,
    ) -> Passed:
        """The output, and how it was routed. Only hash routing reads the clusters, as token ids."""
        logits = x @ self.router
        if knobs.push:
            logits = logits + knobs.push * (torch.arange(self.settings.experts) == 0)
        gate, routing = self._gate(logits, cluster, knobs.router)
        inside = (x @ self.inward).relu() * gate.repeat_interleave(self.settings.hidden, dim=1)
        return Passed(inside @ self.outward, logits, gate, routing)

    def _gate(
        self, logits: Tensor, cluster: Tensor, router: Router
    ) -> tuple[Float[Tensor, "tokens experts"], Routing | None]:
        """Weights of all experts for each token, 0 where not chosen."""
        experts, chosen = self.settings.experts, self.settings.chosen
        if router == "expert_choice":
            scores = logits.softmax(-1)
            slots = max(1, len(scores) * chosen // experts)  # capacity factor K
            return scores * expert_choice(scores, slots), None
        if router == "hash":
            table = hash_routing(torch.arange(self.settings.clusters), experts, chosen, self.settings.seed)
            even = torch.full((len(logits), chosen), 1 / chosen)
            routing = Routing(logits.sigmoid(), table[cluster], even)
        elif router == "softmax":
            routing = softmax_routing(logits, chosen, bias=self.bias)
        else:
            routing = sigmoid_routing(logits, chosen, self.bias)
        return torch.zeros_like(logits).scatter(1, routing.chosen, routing.weights), routing


def balancing_loss(passed: Passed, balancing: Balancing, devices: int) -> Float[Tensor, ""]:
    """The auxiliary loss that is asked for, 1 at balance; 0 where the load cannot be changed by one."""
    routing = passed.routing
    if balancing not in LOSSES or routing is None:
        return torch.zeros(())
    if balancing == "device":
        return device_level_loss(routing.scores, routing.chosen, devices)
    if balancing == "sequence":
        in_sequences = (SEQUENCES, -1)
        return sequence_level_loss(
            routing.scores.unflatten(0, in_sequences), routing.chosen.unflatten(0, in_sequences)
        )
    return expert_level_loss(routing.scores, routing.chosen)


@dataclass(frozen=True, eq=False)
class Step:
    """What one step of training showed."""

    step: int  # counted from 1
    load: Float[Tensor, " experts"]  # of this batch
    max_violation: float  # of this batch
    loss: float  # mean squared error of this batch, over that of answering 0
    bias: Float[Tensor, " experts"]
    knobs: Knobs  # as they stood
    z: float  # mean of (log Σ exp logits)²: what a z-loss holds down
    left_out: float  # share of the tokens that no expert took


@dataclass(frozen=True, eq=False)
class Outcome:
    """A layer on tokens that it was not trained on."""

    load: Int[Tensor, " experts"]
    max_violation: float  # MaxVio_global
    device_violation: float  # the same of the devices' loads
    loss: float  # mean squared error over that of answering 0
    left_out: float  # share of the tokens that no expert took


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
        x, y, cluster = self.task.batch(BATCH)
        passed = self.layer(x, cluster, knobs)
        task_loss = (passed.out - y).square().mean() / y.square().mean()
        z = router_z_loss(passed.logits)
        loss = task_loss + knobs.z_weight * z
        if knobs.router in LEARNED:
            loss = loss + knobs.loss_weight * balancing_loss(passed, knobs.balancing, self.devices)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        load = passed.load
        if knobs.router in LEARNED and knobs.balancing in ("sign", "proportional") and not knobs.frozen:
            rule: Literal["sign", "proportional"] = "sign" if knobs.balancing == "sign" else "proportional"
            self.layer.bias.copy_(updated_bias(self.layer.bias, load, knobs.bias_rate, rule))
        self.step += 1
        violation, bias = float(max_violation(load)), self.layer.bias.clone()
        return Step(self.step, load, violation, task_loss.item(), bias, knobs, z.item(), passed.left_out)

    @property
    def devices(self) -> int:
        """As many devices as share the experts evenly, at most DEVICES."""
        return math.gcd(self.settings.experts, DEVICES)

    def run(self, knobs: Callable[[], Knobs], count: int = STEPS) -> Iterator[Step | Outcome]:
        """Every step, and at the end what the layer does with tokens that it was not trained on."""
        yield from self.steps(knobs, count)
        yield self.outcome(knobs())

    @torch.no_grad()
    def outcome(self, knobs: Knobs = Knobs()) -> Outcome:
        """Load and loss on the validation tokens, with the bias as it stands."""
        x, y, cluster = self.task.validation
        passed = self.layer(x, cluster, knobs)
        loss = (passed.out - y).square().mean() / y.square().mean()
        return Outcome(
            passed.load.long(),
            float(max_violation(passed.load)),
            float(max_violation(group_load(passed.load, self.devices))),
            float(loss),
            passed.left_out,
        )
