"""Routers of mixtures of experts: which of N experts each of T tokens goes to, and with what weight.

A router's logits are token · expert vector. What follows differs by architecture; every function
below is one rule, from logits or scores to a Routing.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError

Kind = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, eq=False)
class Routing:
    """K experts for each token, the largest score first, and the weights of their outputs."""

    scores: Float[Tensor, "tokens experts"]  # softmax or sigmoid of the logits; never with a bias
    chosen: Int[Tensor, "tokens chosen"]
    weights: Float[Tensor, "tokens chosen"]

    @property
    def experts(self) -> int:
        return self.scores.shape[1]


@dataclass(frozen=True)
class Grouping:
    """Node-limited routing: experts stand in ``groups``, and a token may use ``kept`` of them.

    A group's score is the sum of its two best biased scores. Source: DeepSeek-V3 (arXiv:2412.19437),
    section 2.1.2; ``n_group`` and ``topk_group`` of transformers' DeepseekV3Config. In DeepSeek-V2 it
    is the best score alone.
    """

    groups: int = 1
    kept: int = 1
    counted: int = 2  # best experts of a group that make its score: 2 or 1

    def check(self, experts: int, chosen: int) -> None:
        """Raise InputError unless the groups divide the experts and hold enough of them."""
        if self.groups < 1 or experts % self.groups:
            raise InputError(
                "{experts} experts do not divide into {groups} groups of equal size.",
                experts=experts,
                groups=self.groups,
            )
        if not 1 <= self.kept <= self.groups:
            raise InputError(
                "{kept} of {groups} groups are to be kept; from 1 to {groups} can be.",
                kept=self.kept,
                groups=self.groups,
            )
        size = experts // self.groups
        if self.groups > 1 and size < self.counted:
            raise InputError("A group's score is that of its two best experts, so it needs two of them.")
        if self.kept * size < chosen:
            raise InputError(
                "{kept} groups of {size} experts hold fewer than the {chosen} that a token uses.",
                kept=self.kept,
                size=size,
                chosen=chosen,
            )


def check_counts(experts: int, chosen: int) -> None:
    """Raise InputError unless each token can choose ``chosen`` of ``experts`` experts.

    One expert, chosen by all, is a dense layer: allowed, always balanced, and nothing is routed.
    """
    if experts < 1:
        raise InputError("There are {experts} experts; at least one is needed.", experts=experts)
    if not 1 <= chosen <= experts:
        raise InputError(
            "{chosen} of {experts} experts cannot be chosen; from 1 to {experts} can.",
            chosen=chosen,
            experts=experts,
        )


def softmax_routing(
    logits: Float[Tensor, "tokens experts"],
    chosen: int,
    renormalise: bool = True,
    bias: Float[Tensor, " experts"] | None = None,
) -> Routing:
    """Softmax over all experts, then the K largest; with a ``bias``, those of scores + bias.

    ``renormalise`` divides the K weights by their sum, which equals a softmax over the K logits
    (Mixtral, Qwen3-MoE); without it they sum to less than 1 (OLMoE, Qwen2-MoE, Switch with K = 1).
    Raises InputError as ``check_counts`` does.
    """
    check_counts(logits.shape[1], chosen)
    scores = logits.softmax(-1, dtype=torch.float32)
    indices = (scores if bias is None else scores + bias).topk(chosen, dim=-1).indices
    weights = scores.gather(1, indices)
    if renormalise:
        weights = weights / weights.sum(-1, keepdim=True)
    return Routing(scores, indices, weights)


def sigmoid_routing(
    logits: Float[Tensor, "tokens experts"],
    chosen: int,
    bias: Float[Tensor, " experts"] | None = None,
    grouping: Grouping | None = None,
    renormalise: bool = True,
    factor: float = 1.0,
) -> Routing:
    """Sigmoid scores s; the K largest s + bias are chosen, and weighted by s without the bias.

    ``factor`` multiplies the weights (2.5 in DeepSeek-V3). Source: DeepSeek-V3 (arXiv:2412.19437),
    equations 12 to 16; DeepseekV3TopkRouter of transformers 5.23.
    Raises InputError as ``check_counts`` and ``Grouping.check`` do.
    """
    check_counts(logits.shape[1], chosen)
    scores = logits.float().sigmoid()
    wanted = scores if bias is None else scores + bias
    if grouping is not None:
        grouping.check(logits.shape[1], chosen)
        wanted = wanted.masked_fill(~open_experts(wanted, grouping), -torch.inf)
    indices = wanted.topk(chosen, dim=-1).indices
    weights = scores.gather(1, indices)
    if renormalise:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return Routing(scores, indices, weights * factor)


def open_experts(
    wanted: Float[Tensor, "tokens experts"], grouping: Grouping
) -> Bool[Tensor, "tokens experts"]:
    """Which experts a token may use: those of its best groups."""
    tokens, experts = wanted.shape
    grouped = wanted.view(tokens, grouping.groups, -1)
    if grouping.groups == grouping.kept:
        return torch.ones(tokens, experts, dtype=torch.bool)
    first, place = grouped.max(-1, keepdim=True)  # two maxima are four times as fast as topk(2)
    score = first.squeeze(-1)
    if grouping.counted == 2:
        score = score + grouped.scatter(-1, place, -torch.inf).amax(-1)
    best = score.topk(grouping.kept, dim=-1, sorted=False).indices
    is_open = torch.zeros(tokens, grouping.groups, dtype=torch.bool).scatter(1, best, True)
    return is_open.repeat_interleave(experts // grouping.groups, dim=1)


def score_kept(
    scores: Float[Tensor, "tokens experts"],
    chosen: Int[Tensor, "tokens chosen"],
    free: Int[Tensor, "tokens chosen"],
) -> Float[Tensor, ""]:
    """Sum of the chosen scores as a share of what an unrestricted choice (``free``) would have."""
    return scores.gather(1, chosen).sum() / scores.gather(1, free).sum()


def expert_choice(scores: Float[Tensor, "tokens experts"], slots: int) -> Bool[Tensor, "tokens experts"]:
    """Each expert takes its ``slots`` best tokens: always balanced, some tokens get none.

    Which tokens an expert takes depends on all tokens of the batch, later ones included, so that it
    does not suit a causal decoder. Source: Zhou et al. 2022 (arXiv:2202.09368), section 3.1.
    Raises InputError unless there are from 1 to T slots.
    """
    tokens = scores.shape[0]
    if not 1 <= slots <= tokens:
        raise InputError(
            "Each expert is to take {slots} tokens; from 1 to {tokens} are there.",
            slots=slots,
            tokens=tokens,
        )
    taken = scores.topk(slots, dim=0).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(0, taken, True)


def hash_routing(
    token_ids: Int[Tensor, " tokens"], experts: int, chosen: int, seed: int
) -> Int[Tensor, "tokens chosen"]:
    """K different experts for each token of the vocabulary, drawn once: a router that learns nothing.

    The control against which a learned router must show what it gains. Source: Roller et al. 2021
    (arXiv:2106.04426), with random hashing. Raises InputError as ``check_counts`` does.
    """
    check_counts(experts, chosen)
    generator = torch.Generator().manual_seed(seed)
    vocabulary = int(token_ids.max()) + 1 if token_ids.numel() else 0
    table = torch.rand(vocabulary, experts, generator=generator).argsort(-1)[:, :chosen]
    return table[token_ids]
