"""Expert capacity: how many tokens an expert takes, and which are dropped when more come."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError

Rounding = Literal["floor", "ceil", "round"]
Order = Literal["position", "probability", "random"]
Scope = Literal["batch", "sequence"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
ORDERS: tuple[Order, ...] = get_args(Order)
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True)
class CapacityRule:
    """How much room an expert has, who comes first, and over what it is counted.

    factor: capacity = factor × K × tokens / N, rounded. rounding differs by framework: floor in Switch's
        formula as most write it, ceil in GShard-like code. 0 drops every token: only the residual
        stream (and a shared expert) is left.
    order: position lets earlier tokens in first (with all tokens' first choices before any second
        choice, as in GShard); probability the largest weights; random a shuffle by ``seed``.
    scope: one capacity for all tokens of the batch, or one for each sequence.
    """

    factor: float = 1.25
    rounding: Rounding = "floor"
    order: Order = "position"
    scope: Scope = "batch"
    seed: int = 0

    def __post_init__(self):
        if not (math.isfinite(self.factor) and self.factor >= 0):
            raise InputError(
                "A capacity factor of {factor} is not accepted; it must be 0 or more.", factor=self.factor
            )


def expert_capacity(tokens: int, experts: int, chosen: int, factor: float, rounding: Rounding) -> int:
    """Places of one expert: factor × K × tokens / N, rounded.

    Source: Fedus et al. 2021 (arXiv:2101.03961), equation 3, for K = 1. ``round`` takes the nearest
    whole number, and the even one of two.
    """
    exact = factor * chosen * tokens / experts
    exact = round(exact, 9)  # 1.1 × 10 is 11.000000000000002 in floating point: that is 11 places, not 12
    if rounding == "round":
        return round(exact)
    return math.floor(exact) if rounding == "floor" else math.ceil(exact)


@dataclass(frozen=True, eq=False)
class Dispatch:
    """Which routes found a place. ``capacity`` is that of one expert, in one scope."""

    kept: Bool[Tensor, "sequences tokens chosen"]
    capacity: int

    @property
    def dropped(self) -> Int[Tensor, "sequences tokens"]:
        """How many of a token's K experts had no room for it."""
        return (~self.kept).sum(-1)


def dispatch(
    chosen: Int[Tensor, "sequences tokens chosen"],
    weights: Float[Tensor, "sequences tokens chosen"],
    experts: int,
    rule: CapacityRule,
) -> Dispatch:
    """Send tokens to their experts until these are full; what finds no place is dropped."""
    sequences, tokens, slots = chosen.shape
    scopes = 1 if rule.scope == "batch" else sequences
    size = sequences * tokens // scopes
    capacity = expert_capacity(size, experts, slots, rule.factor, rule.rounding)
    # slot first, then position: all first choices come before any second choice
    experts_of = chosen.reshape(scopes, size, slots).transpose(1, 2).reshape(scopes, -1)
    weight_of = weights.reshape(scopes, size, slots).transpose(1, 2).reshape(scopes, -1)
    queue = _queue(weight_of, rule)
    place = torch.empty_like(experts_of).scatter(
        1, queue, place_in_line(experts_of.gather(1, queue), experts)
    )
    kept = (place < capacity).view(scopes, slots, size).transpose(1, 2)
    return Dispatch(kept.reshape(sequences, tokens, slots), capacity)


def _queue(weights: Float[Tensor, "scopes routes"], rule: CapacityRule) -> Int[Tensor, "scopes routes"]:
    """The order in which routes are served."""
    if rule.order == "probability":
        return weights.argsort(dim=-1, descending=True, stable=True)
    if rule.order == "random":
        generator = torch.Generator().manual_seed(rule.seed)
        return torch.rand(weights.shape, generator=generator).argsort(-1)
    return torch.arange(weights.shape[1]).expand(weights.shape)


def place_in_line(routes: Int[Tensor, "scopes routes"], experts: int) -> Int[Tensor, "scopes routes"]:
    """How many earlier routes of the row go to the same expert."""
    order = routes.argsort(dim=-1, stable=True)
    inside = routes.gather(1, order)
    starts = torch.searchsorted(inside, torch.arange(experts).expand(len(routes), -1).contiguous())
    rank = torch.arange(routes.shape[1]) - starts.gather(1, inside)
    return torch.empty_like(routes).scatter(1, order, rank)
