"""Advantages of groups of answers: GRPO, Dr. GRPO, RLOO, REINFORCE++, by conventions that differ."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.errors import InputError

Baseline = Literal["none", "group", "leave_one_out"]
Scale = Literal["none", "group", "batch", "whiten"]
Single = Literal["zero", "raw", "undefined"]
MOST_GROUPS, MOST_ANSWERS = 1_024, 1_024
ZERO = 1e-8  # a deviation up to here counts as none, as torch.isclose against 0 does


@dataclass(frozen=True)
class Convention:
    """How rewards become advantages.

    ``baseline`` is subtracted: nothing, the mean of the group, or the mean of the group's others.
    ``scale`` then divides: by nothing, by the deviation of the group's rewards, by that of the whole
    batch; "whiten" subtracts the batch's mean advantage and divides by the advantages' deviation.
    """

    baseline: Baseline = "group"
    scale: Scale = "group"
    ddof: int = 1  # 1: sample deviation, 0: population
    epsilon: float = 1e-4  # against division by zero
    epsilon_in: Literal["deviation", "variance", "clamp"] = "deviation"  # σ + ε, √(σ² + ε), √max(σ², ε)
    by_token: bool = False  # "whiten" counts an answer as often as it has tokens
    single: Single = "zero"  # a group of one: 0, the reward as it is, or no number


GRPO = Convention()
METHODS: dict[str, Convention] = {
    "grpo": GRPO,  # Shao et al. 2024, arXiv 2402.03300
    "dr_grpo": replace(GRPO, scale="none"),  # Liu et al. 2025, arXiv 2503.20783
    "batch": replace(GRPO, scale="batch"),  # Liu et al. 2025, arXiv 2508.08221; TRL scale_rewards="batch"
    "rloo": Convention("leave_one_out", "none"),  # Ahmadian et al. 2024, arXiv 2402.14740
    "reinforce": Convention("none", "none"),
    "reinforce++": Convention("none", "whiten", by_token=True),  # Hu 2025, arXiv 2501.03262
    "reinforce++ baseline": Convention("group", "whiten", by_token=True),
}


def advantages(
    rewards: Float[Tensor, "groups answers"],
    convention: Convention = GRPO,
    lengths: Float[Tensor, "groups answers"] | None = None,
    mask: Bool[Tensor, "groups answers"] | None = None,
) -> Float[Tensor, "groups answers"]:
    """Each answer's advantage. ``lengths`` (tokens) are read by conventions that count by token.

    ``mask`` says which cells hold an answer, where groups differ in size; the others are NaN, and so
    is a group of one where the convention leaves it undefined. Raises InputError on rewards that are
    no finite numbers, and on lengths that are not positive.
    """
    there = _there(rewards, mask)
    check_rewards(rewards, there)
    rewards = rewards.where(there, 0.0)
    centred = rewards - baseline(rewards, convention, there)
    match convention.scale:
        case "none":
            made = centred
        case "group":
            made = centred / (_deviation_or(rewards, convention, there) + convention.epsilon)
        case "batch":
            made = centred / (_deviation(rewards[there], convention.ddof) + convention.epsilon)
        case _:
            weights = torch.ones_like(rewards) if lengths is None or not convention.by_token else lengths
            check_lengths(weights.where(there, 1.0))
            made = _whitened(centred, weights * there, convention)
    if convention.single == "undefined":
        there = there & (there.sum(dim=1, keepdim=True) > 1)
    return made.where(there, torch.nan)


def _there(
    rewards: Float[Tensor, "groups answers"], mask: Bool[Tensor, "groups answers"] | None
) -> Bool[Tensor, "groups answers"]:
    return torch.ones_like(rewards, dtype=torch.bool) if mask is None else mask


def check_rewards(
    rewards: Float[Tensor, "groups answers"], mask: Bool[Tensor, "groups answers"] | None = None
) -> None:
    """Raises InputError, naming row and column, on what is no table of rewards."""
    if not (1 <= rewards.shape[0] <= MOST_GROUPS and 1 <= rewards.shape[1] <= MOST_ANSWERS):
        raise InputError(
            "The table has {groups} groups of {answers} answers; at most {most} of each are accepted.",
            groups=rewards.shape[0],
            answers=rewards.shape[1],
            most=MOST_GROUPS,
        )
    there = _there(rewards, mask)
    if (first := _first(~rewards.isfinite() & there)) is not None:
        raise InputError(
            "The reward in row {row}, column {column} is not a finite number.",
            row=first[0] + 1,
            column=first[1] + 1,
        )
    if not there.any(dim=1).all():
        row = int((~there.any(dim=1)).nonzero()[0, 0])
        raise InputError("The group in row {row} has no answer.", row=row + 1)


def check_lengths(lengths: Float[Tensor, "groups answers"]) -> None:
    """Raises InputError, naming row and column, on a length that is not at least one token."""
    if (first := _first(~(lengths.isfinite() & (lengths >= 1)))) is not None:
        raise InputError(
            "The length in row {row}, column {column} is {value}; an answer has at least one token.",
            row=first[0] + 1,
            column=first[1] + 1,
            value=f"{float(lengths[first]):g}",
        )


def _first(is_bad: Bool[Tensor, "groups answers"]) -> tuple[int, int] | None:
    """Row and column of the first bad cell."""
    cells = is_bad.nonzero()
    return (int(cells[0, 0]), int(cells[0, 1])) if len(cells) else None


def baseline(
    rewards: Float[Tensor, "groups answers"],
    convention: Convention,
    mask: Bool[Tensor, "groups answers"] | None = None,
) -> Float[Tensor, "groups answers"]:
    """What is subtracted from each reward. For a group of one: the reward itself, or nothing."""
    if convention.baseline == "none":
        return torch.zeros_like(rewards)
    there = _there(rewards, mask)
    answers = there.sum(dim=1, keepdim=True)
    total = rewards.where(there, 0.0).sum(dim=1, keepdim=True)
    if convention.baseline == "group":
        shared = (total / answers).expand_as(rewards)
    else:
        shared = (total - rewards) / (answers - 1).clamp(min=1)
    alone = torch.zeros_like(rewards) if convention.single == "raw" else rewards
    return torch.where(answers > 1, shared, alone)


def _deviation_or(
    rewards: Float[Tensor, "groups answers"],
    convention: Convention,
    there: Bool[Tensor, "groups answers"],
) -> Float[Tensor, "groups 1"]:
    """Each group's deviation; 1 or 0 for a group of one, as the convention says."""
    alone = torch.full_like(rewards[:, :1], 1.0 if convention.single == "raw" else 0.0)
    return torch.where(
        there.sum(dim=1, keepdim=True) > 1, group_deviations(rewards, convention.ddof, there), alone
    )


def group_deviations(
    rewards: Float[Tensor, "groups answers"],
    ddof: int,
    mask: Bool[Tensor, "groups answers"] | None = None,
) -> Float[Tensor, "groups 1"]:
    """Each group's deviation over its own answers; 0 for a group of one."""
    there = _there(rewards, mask)
    answers = there.sum(dim=1, keepdim=True)
    held = rewards.where(there, 0.0)
    centred = (held - held.sum(dim=1, keepdim=True) / answers).where(there, 0.0)
    return ((centred**2).sum(dim=1, keepdim=True) / (answers - ddof).clamp(min=1)).sqrt()


def _deviation(values: Float[Tensor, " values"], ddof: int) -> Float[Tensor, ""]:
    return values.new_zeros(()) if len(values) < 2 else values.std(correction=ddof)


def batch_moments(
    values: Float[Tensor, "groups answers"], weights: Float[Tensor, "groups answers"], ddof: int
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean and variance over the batch, each value counted ``weights`` times."""
    count = weights.sum()
    mean = (values * weights).sum() / count
    variance = ((values - mean) ** 2 * weights).sum() / (count - ddof).clamp(min=1)
    return mean, variance


def _whitened(
    values: Float[Tensor, "groups answers"],
    weights: Float[Tensor, "groups answers"],
    convention: Convention,
) -> Float[Tensor, "groups answers"]:
    """Mean 0 and deviation 1 over the batch, each value counted ``weights`` times."""
    mean, variance = batch_moments(values, weights, convention.ddof)
    centred = values - mean
    if convention.epsilon_in == "deviation":
        return centred / (variance.sqrt() + convention.epsilon)
    if convention.epsilon_in == "variance":
        return centred / (variance + convention.epsilon).sqrt()
    return centred / variance.clamp(min=convention.epsilon).sqrt()


def is_dead(
    rewards: Float[Tensor, "groups answers"], mask: Bool[Tensor, "groups answers"] | None = None
) -> Bool[Tensor, " groups"]:
    """Groups whose rewards all agree: with a group baseline they say nothing."""
    return group_deviations(rewards, 0, mask)[:, 0] <= ZERO


def soft_overlong(
    lengths: Float[Tensor, "groups answers"], most: float, cache: float
) -> Float[Tensor, "groups answers"]:
    """DAPO's penalty on long answers (Yu et al. 2025, arXiv 2503.14476, eq. 13).

    0 up to ``most`` − ``cache`` tokens, then falling evenly to −1 at ``most``, and −1 beyond. Raises
    InputError unless 0 < cache ≤ most.
    """
    if not 0 < cache <= most:
        raise InputError(
            "The overlong cache must lie above 0 and not exceed the longest answer, {most}.", most=most
        )
    check_lengths(lengths)
    return ((most - cache - lengths) / cache).clamp(-1.0, 0.0)
