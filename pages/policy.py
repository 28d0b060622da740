"""Policy: PPO, GRPO and their relatives, from a group of rewards to a network that learns."""

from components.page import Page
from components.panels.policy.conventions import LibraryConventions
from components.panels.policy.dead import DeadGroups
from components.panels.policy.gae import GeneralisedAdvantages
from components.panels.policy.group import GroupCalculator
from components.panels.policy.kl import KLEstimators
from components.panels.policy.learning import LiveLearning
from components.panels.policy.real import NetworkLearns
from components.panels.policy.strip import TokenStrip
from components.panels.policy.zero_loss import LossOfZero

Page(
    "policy",
    (
        GroupCalculator,
        LibraryConventions,
        TokenStrip,
        DeadGroups,
        KLEstimators,
        GeneralisedAdvantages,
        LossOfZero,
        LiveLearning,
        NetworkLearns,
    ),
).show()
