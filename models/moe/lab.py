"""Small experiments on routers: tokens made to order, all measures at once, and what a loss can hide."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.moe.balance import (
    coefficient_of_variation,
    effective_experts,
    expert_load,
    group_load,
    max_violation,
    mean_score,
)
from models.moe.routers import Routing, check_counts
from models.moe.specialisation import coactivation

MOST_SCORES = 2**25  # tokens × experts


def skewed_logits(tokens: int, experts: int, skew: float, seed: int) -> Float[Tensor, "tokens experts"]:
    """Independent normal logits, plus ``skew`` times a normal preference for each expert.

    Raises InputError without a token or expert, and where there would be too many scores.
    """
    if not (tokens >= 1 and experts >= 1 and tokens * experts <= MOST_SCORES):
        raise InputError(
            "{tokens} tokens over {experts} experts are not accepted; at least one of each, and at most "
            "{most} scores.",
            tokens=tokens,
            experts=experts,
            most=MOST_SCORES,
        )
    noise, preference = _noise(tokens, experts, seed)
    return noise + skew * preference


@lru_cache(maxsize=4)
def _noise(tokens: int, experts: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, experts, generator=generator), torch.randn(experts, generator=generator)


@dataclass(frozen=True, eq=False)
class RoutingMeasures:
    """Everything that this page asks of a routing, computed at once."""

    load: Float[Tensor, " experts"]
    probability: Float[Tensor, " experts"]  # P: mean normalised score
    max_violation: float
    effective_experts: float
    variation: float  # coefficient of variation of the load
    loss: float  # Σ f·P, 1 at balance
    group_load: Float[Tensor, " groups"]
    group_violation: float
    together: Float[Tensor, "experts experts"]  # tokens that use both experts


def measure(routing: Routing, groups: int = 1) -> RoutingMeasures:
    """All measures of one routing. Raises InputError where the groups do not divide the experts."""
    load = expert_load(routing.chosen, routing.experts)
    on_group = group_load(load, groups)
    probability = mean_score(routing.scores)
    fraction = load * routing.experts / routing.chosen.numel()
    return RoutingMeasures(
        load,
        probability,
        float(max_violation(load)),
        float(effective_experts(load)),
        float(coefficient_of_variation(load)),
        float((fraction * probability).sum()),
        on_group,
        float(max_violation(on_group)),
        coactivation(routing.chosen, routing.experts),
    )


def groups_used(routing: Routing, groups: int) -> float:
    """On how many groups the experts of a token stand, on average: the devices it is sent to."""
    group = routing.chosen // (routing.experts // groups)
    used = torch.zeros(len(group), groups).scatter(1, group, 1.0)
    return float(used.sum(1).mean())


def probability_range(share: float, experts: int, chosen: int) -> tuple[float, float]:
    """Between which values P₀ can lie when a share f₀ of tokens has expert 0 among its K.

    A token that chooses it alone (K = 1) gives it more than 1/N; one that does not choose it gives it
    less than 1/(K+1).
    """
    return (share / experts if chosen == 1 else 0.0), share + (1 - share) / (chosen + 1)


def tokens_to_order(
    share: float, probability: float, experts: int, chosen: int
) -> Float[Tensor, "tokens experts"]:
    """Router probabilities of tokens of which a ``share`` chooses expert 0, with P₀ = ``probability``.

    The other experts are used alike. ``share`` counts in hundredths, so that every expert gets a whole
    number of tokens. Raises InputError where no such tokens exist (see ``probability_range``), and on
    counts that cannot be.
    """
    check_counts(experts, chosen)
    if experts <= chosen:
        raise InputError("To drag a share there must be an expert that a token does not choose.")
    low, high = probability_range(share, experts, chosen)
    if not (0 <= share <= 1 and low <= probability <= high):
        raise InputError(
            "No tokens have f₀ = {share} and P₀ = {probability}: P₀ lies between {low} and {high}.",
            share=round(share, 3),
            probability=round(probability, 3),
            low=round(low, 3),
            high=round(high, 3),
        )
    hundreds = round(100 * share)
    # those who choose it give it all that P₀ needs; only beyond that do the others give it anything
    taken = min(1.0, probability / share) if hundreds else 0.0
    given = (probability - share * taken) / (1 - share) if hundreds < 100 else 0.0
    rows = [_rotated(experts - 1, chosen - 1, taken)] * hundreds
    rows += [_rotated(experts - 1, chosen, given)] * (100 - hundreds)
    return torch.cat(rows)


def _rotated(others: int, favourites: int, first: float) -> Float[Tensor, "others experts"]:
    """One token for each of the others; each favours the next few, and gives expert 0 ``first``."""
    if favourites == 0:
        rest = torch.full((others, others), (1 - first) / others)
    else:
        index = torch.arange(others)
        ahead = (index[None, :] - index[:, None]) % others
        rest = torch.where(ahead < favourites, (1 - first) / favourites, 0.0)
    return torch.cat([torch.full((others, 1), first), rest], dim=1)


def collapsing_layers(
    layers: int, experts: int, chosen: int, collapse: float, tokens: int, seed: int
) -> Float[Tensor, "layers tokens experts"]:
    """Logits of layers that each prefer K experts of their own, the more so the larger ``collapse``.

    At 0 every layer is balanced but for chance; at 1 each has collapsed, on other experts than the
    layer before. Raises InputError on counts that cannot be, and without a layer.
    """
    check_counts(experts, chosen)
    if layers < 1 or tokens < 1:
        raise InputError("At least one layer and one token are needed.")
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(layers, tokens, experts, generator=generator)
    preferred = (torch.arange(layers)[:, None] * chosen + torch.arange(chosen)) % experts
    preference = torch.zeros(layers, experts).scatter(1, preferred, 1.0)
    return (1 - collapse) * logits + 30 * collapse**4 * preference[:, None]
