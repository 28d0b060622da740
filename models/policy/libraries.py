"""Which of TRL, verl and OpenRLHF has which method, where it stands there, and what it makes of a batch."""

from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from models.policy.group_advantages import METHODS, Convention, advantages
from models.policy.losses import PolicyLoss

TRL, VERL, OPENRLHF = "TRL 1.16", "verl", "OpenRLHF"
LIBRARIES = (TRL, VERL, OPENRLHF)
# Their files: TRL 1.16, verl of January 2026, OpenRLHF of August 2026.
GRPO_TRAINER, RLOO_TRAINER = "trl/trainer/grpo_trainer.py", "trl/trainer/rloo_trainer.py"
CORE_ALGOS = "verl/trainer/ppo/core_algos.py"
EXPERIENCE_MAKER = "openrlhf/trainer/ppo_utils/experience_maker.py"
BY_DEFAULT = PolicyLoss()  # a mean over all tokens, clipped at 0.2


@dataclass(frozen=True)
class LibraryMethod:
    """A method in a library: what is chosen there, in which function, and what it makes of rewards."""

    convention: Convention
    setting: str  # what a person writes to get it
    place: str  # file and function
    equal_groups: bool = False  # rewards are laid out by one group size, so that no other fits
    trains_alone: bool = True  # a group of one may be trained on
    least_tokens: int = 1  # in a whole batch: a sample variance needs two
    loss: PolicyLoss = BY_DEFAULT  # the library's default loss for it
    kl: str = ""  # the library's default estimator for it, where β > 0, and where it goes


def _trl(method: str, setting: str, place: str, **more: Any) -> LibraryMethod:
    """TRL reshapes to (−1, G); its formulas give 0 for a group of one, and its trainers refuse G = 1."""
    return LibraryMethod(
        METHODS[method], setting, place, equal_groups=True, trains_alone=False, kl="k3, β = 0", **more
    )


def _verl(method: str, setting: str, function: str, least_tokens: int = 1, **changed: Any) -> LibraryMethod:
    """Verl goes by each prompt's id; a prompt with one answer has the baseline 0 and the deviation 1."""
    return LibraryMethod(
        replace(METHODS[method], single="raw", **changed),
        setting,
        f"{CORE_ALGOS}, {function}",
        least_tokens=least_tokens,
        loss=PolicyLoss(dual_clip=3.0),
        kl="k3 ±10 / k1",
    )


def _openrlhf(method: str, setting: str, **changed: Any) -> LibraryMethod:
    """OpenRLHF reshapes to (−1, G) and asserts G > 1 wherever a group's statistics are needed."""
    own = METHODS[method]
    has_baseline = own.baseline != "none"
    return LibraryMethod(
        replace(own, single="undefined" if has_baseline else own.single, **changed),
        f"--algo.advantage.estimator {setting}",
        f"{EXPERIENCE_MAKER}, compute_advantages_and_returns",
        equal_groups=has_baseline,
        trains_alone=not has_baseline,
        kl="k1 ±10",
    )


_GRPO_ROWS = f"{GRPO_TRAINER}, _generate_and_score_completions"
_VERL_WHITENS: dict[str, Any] = {"least_tokens": 2, "epsilon": 1e-8, "epsilon_in": "variance"}
_OPENRLHF_WHITENS: dict[str, Any] = {"epsilon": 1e-8, "epsilon_in": "clamp", "ddof": 0}

LIBRARY_METHODS: dict[tuple[str, str], LibraryMethod] = {
    (TRL, "grpo"): _trl("grpo", 'scale_rewards="group"', _GRPO_ROWS),
    (TRL, "dr_grpo"): _trl("dr_grpo", 'scale_rewards="none"', _GRPO_ROWS),
    (TRL, "batch"): _trl("batch", 'scale_rewards="batch"', _GRPO_ROWS),
    (TRL, "rloo"): replace(
        _trl("rloo", "RLOOTrainer", f"{RLOO_TRAINER}, _generate_and_score_completions"),
        loss=PolicyLoss(level="sequence_sum", aggregation="sequence_mean"),
        kl="k1, β = 0.05",
    ),
    (VERL, "grpo"): _verl("grpo", "adv_estimator=grpo", "compute_grpo_outcome_advantage", epsilon=1e-6),
    (VERL, "dr_grpo"): _verl(
        "dr_grpo", "norm_adv_by_std_in_grpo=False", "compute_grpo_outcome_advantage", epsilon=1e-6
    ),
    (VERL, "rloo"): _verl("rloo", "adv_estimator=rloo", "compute_rloo_outcome_advantage"),
    (VERL, "reinforce++"): _verl(
        "reinforce++",
        "adv_estimator=reinforce_plus_plus",
        "compute_reinforce_plus_plus_outcome_advantage",
        **_VERL_WHITENS,
    ),
    (VERL, "reinforce++ baseline"): _verl(
        "reinforce++ baseline",
        "adv_estimator=reinforce_plus_plus_baseline",
        "compute_reinforce_plus_plus_baseline_outcome_advantage",
        **_VERL_WHITENS,
    ),
    (OPENRLHF, "grpo"): _openrlhf("grpo", "group_norm", epsilon=1e-9),
    (OPENRLHF, "dr_grpo"): _openrlhf("dr_grpo", "dr_grpo"),
    (OPENRLHF, "rloo"): _openrlhf("rloo", "rloo"),
    (OPENRLHF, "reinforce++"): _openrlhf("reinforce++", "reinforce", **_OPENRLHF_WHITENS),
    (OPENRLHF, "reinforce++ baseline"): _openrlhf(
        "reinforce++ baseline", "reinforce_baseline", **_OPENRLHF_WHITENS
    ),
}


def in_library(library: str, method: str) -> LibraryMethod | None:
    """A library's way with a method; None where it has none."""
    return LIBRARY_METHODS.get((library, method))


def convention_of(library: str, method: str) -> Convention | None:
    """How a library makes advantages by a method; None where it has none."""
    there = in_library(library, method)
    return None if there is None else there.convention


def takes(
    there: LibraryMethod,
    lengths: Float[Tensor, "groups answers"],
    mask: Bool[Tensor, "groups answers"],
) -> bool:
    """Whether a library can work on a batch: groups of one size where it needs them, tokens enough."""
    is_ragged = len(mask.sum(dim=1).unique()) > 1
    tokens = float(lengths[mask].sum())
    return not (there.equal_groups and is_ragged) and tokens >= there.least_tokens


def library_advantages(
    library: str,
    method: str,
    rewards: Float[Tensor, "groups answers"],
    lengths: Float[Tensor, "groups answers"],
    mask: Bool[Tensor, "groups answers"],
) -> Float[Tensor, "groups answers"] | None:
    """Each answer's advantage there; None where it has no such method or refuses the batch.

    NaN where there is no answer, and in a group of one that the library refuses. Raises InputError as
    ``advantages``.
    """
    there = in_library(library, method)
    if there is None or not takes(there, lengths, mask):
        return None
    return advantages(rewards, there.convention, lengths, mask)


def denominators(convention: Convention, deviation: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """What a convention divides by, given a deviation: σ + ε, √(σ² + ε) or √max(σ², ε)."""
    if convention.epsilon_in == "deviation":
        return deviation + convention.epsilon
    if convention.epsilon_in == "variance":
        return (deviation**2 + convention.epsilon).sqrt()
    return (deviation**2).clamp(min=convention.epsilon).sqrt()
