"""Advantages of groups of answers: GRPO, Dr. GRPO, RLOO, REINFORCE++ and what libraries make of them."""

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
LIBRARIES = ("TRL 1.16", "verl", "OpenRLHF")


def convention_of(library: str, method: str) -> Convention | None:
    """A library's way with a method; None where it has none.

    TRL 1.16: trl/trainer/{grpo,rloo}_trainer.py; verl (January 2026): verl/trainer/ppo/core_algos.py;
    OpenRLHF (August 2026): openrlhf/trainer/ppo_utils/experience_maker.py.
    """
    own = METHODS[method]
    if library == "TRL 1.16":
        return None if method.startswith("reinforce") else own
    if library == "verl":
        return None if method == "batch" else replace(own, single="raw", **_VERL[own.scale])
    return None if method == "batch" else replace(own, single="undefined", **_OPENRLHF[own.scale])


_VERL: dict[str, dict] = {
    "none": {},
    "group": {"epsilon": 1e-6},
    "whiten": {"epsilon": 1e-8, "epsilon_in": "variance"},
}
_OPENRLHF: dict[str, dict] = {
    "none": {},
    "group": {"epsilon": 1e-9},
    "whiten": {"epsilon": 1e-8, "epsilon_in": "clamp", "ddof": 0},
}


def advantages(
    rewards: Float[Tensor, "groups answers"],
    convention: Convention = GRPO,
    lengths: Float[Tensor, "groups answers"] | None = None,
) -> Float[Tensor, "groups answers"]:
    """Each answer's advantage. ``lengths`` (tokens) are read by conventions that count by token.

    A group of one is NaN where the convention leaves it undefined. Raises InputError on rewards that
    are no finite numbers, and on lengths that are not positive.
    """
    check_rewards(rewards)
    if rewards.shape[1] == 1 and convention.single == "undefined":
        return torch.full_like(rewards, torch.nan)
    centred = rewards - baseline(rewards, convention)
    match convention.scale:
        case "none":
            return centred
        case "group":
            deviation = _deviation_or(rewards, convention)
            return centred / (deviation + convention.epsilon)
        case "batch":
            return centred / (_deviation(rewards.flatten(), convention.ddof) + convention.epsilon)
    weights = torch.ones_like(rewards) if lengths is None or not convention.by_token else lengths
    check_lengths(weights)
    return _whitened(centred, weights, convention)


def check_rewards(rewards: Float[Tensor, "groups answers"]) -> None:
    """Raises InputError, naming row and column, on what is no table of rewards."""
    if not (1 <= rewards.shape[0] <= MOST_GROUPS and 1 <= rewards.shape[1] <= MOST_ANSWERS):
        raise InputError(
            "The table has {groups} groups of {answers} answers; at most {most} of each are accepted.",
            groups=rewards.shape[0],
            answers=rewards.shape[1],
            most=MOST_GROUPS,
        )
    if (place := _first(~rewards.isfinite())) is not None:
        raise InputError(
            "The reward in row {row}, column {column} is not a finite number.",
            row=place[0] + 1,
            column=place[1] + 1,
        )


def check_lengths(lengths: Float[Tensor, "groups answers"]) -> None:
    """Raises InputError, naming row and column, on a length that is not at least one token."""
    if (place := _first(~(lengths.isfinite() & (lengths >= 1)))) is not None:
        raise InputError(
            "The length in row {row}, column {column} is {value}; an answer has at least one token.",
            row=place[0] + 1,
            column=place[1] + 1,
            value=f"{float(lengths[place]):g}",
        )


def _first(is_bad: Bool[Tensor, "groups answers"]) -> tuple[int, int] | None:
    """Row and column of the first bad cell."""
    found = is_bad.nonzero()
    return (int(found[0, 0]), int(found[0, 1])) if len(found) else None


def baseline(
    rewards: Float[Tensor, "groups answers"], convention: Convention
) -> Float[Tensor, "groups answers"]:
    """What is subtracted from each reward. For a group of one: the reward itself, or nothing."""
    answers = rewards.shape[1]
    if convention.baseline == "none":
        return torch.zeros_like(rewards)
    if answers == 1:
        return torch.zeros_like(rewards) if convention.single == "raw" else rewards
    total = rewards.sum(dim=1, keepdim=True)
    if convention.baseline == "group":
        return (total / answers).expand_as(rewards)
    return (total - rewards) / (answers - 1)


def _deviation_or(
    rewards: Float[Tensor, "groups answers"], convention: Convention
) -> Float[Tensor, "groups 1"]:
    """Each group's deviation; 1 or 0 for a group of one, as the convention says."""
    if rewards.shape[1] == 1:
        return torch.full(
            (len(rewards), 1), 1.0 if convention.single == "raw" else 0.0, dtype=rewards.dtype
        )
    return rewards.std(dim=1, correction=convention.ddof, keepdim=True)


def _deviation(values: Float[Tensor, " values"], ddof: int) -> Float[Tensor, ""]:
    return values.new_zeros(()) if len(values) < 2 else values.std(correction=ddof)


def _whitened(
    values: Float[Tensor, "groups answers"],
    weights: Float[Tensor, "groups answers"],
    convention: Convention,
) -> Float[Tensor, "groups answers"]:
    """Mean 0 and deviation 1 over the batch, each value counted ``weights`` times."""
    count = weights.sum()
    centred = values - (values * weights).sum() / count
    variance = (centred**2 * weights).sum() / (count - convention.ddof).clamp(min=1)
    if convention.epsilon_in == "deviation":
        return centred / (variance.sqrt() + convention.epsilon)
    if convention.epsilon_in == "variance":
        return centred / (variance + convention.epsilon).sqrt()
    return centred / variance.clamp(min=convention.epsilon).sqrt()


def is_dead(rewards: Float[Tensor, "groups answers"]) -> Bool[Tensor, " groups"]:
    """Groups whose rewards all agree: with a group baseline they say nothing."""
    return rewards.std(dim=1, correction=0) <= ZERO


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
