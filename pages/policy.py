"""Policy: PPO, GRPO and their relatives, from a group of rewards to a network that learns."""

from components.page import Page
from components.panels.policy.conventions import library_conventions
from components.panels.policy.dead import dead_groups
from components.panels.policy.gae import generalised_advantages
from components.panels.policy.group import group_calculator
from components.panels.policy.kl import kl_estimators
from components.panels.policy.learning import live_learning
from components.panels.policy.real import real_run
from components.panels.policy.strip import token_view
from components.panels.policy.zero_loss import zero_loss
from components.refusal import refusals
from components.words import _
from components.work.running import forget_running

DEFAULTS = {
    "policy_network": "loupe-llama",
    "policy_other": "",
    "policy_view": "group",
    # the table of answers
    "policy_rewards": "1,0,0,0;1,1,0,1;0,0,0,0;1,1,0,0",
    "policy_lengths": "40,120,90,60;50,45,160,70;110,80,140,95;60,30,120,240",
    "policy_ratios": "1.1,0.9,1,1.05;1.3,1,0.7,1;1,1,1,1;0.95,1.25,1.4,1",
    "policy_table": "rewards",
    "policy_cell": "1.1",
    "policy_reward": 1.0,
    "policy_method": "grpo",
    "policy_deviation": "sample",
    "policy_aggregation": "sequence_mean",
    "policy_longest": 512,
    "policy_cache": 0,
    "policy_epsilon": 1e-4,
    "policy_clip": 0.2,
    "policy_gap": 1e-5,
    # tokens
    "policy_prompt": 'The old man looked up from his paper and smiled. "My dear boy,',
    "policy_seed": 0,
    "policy_kind": "clip",
    "policy_level": "token",
    "policy_drift": 0.3,
    "policy_low": 0.2,
    "policy_high": 0.2,
    "policy_bound": "none",
    "policy_bound_at": 3.0,
    # dead groups
    "policy_pass": 0.1,
    "policy_size": 8.0,
    "policy_spread": 0.0,
    "policy_batch": 64,
    # KL
    "policy_distance": 0.7,
    "policy_outcomes": 6,
    # GAE
    "policy_gae_rewards": "0, 0, 0, 0, 0, 1",
    "policy_gae_values": "0.5, 0.55, 0.4, 0.6, 0.7, 0.8",
    "policy_discount": 1.0,
    "policy_lambda": 0.95,
    # why is my loss 0
    "policy_one": "1, 0, 0, 0",
    "policy_updates": 1,
    "policy_beta": 0.0,
    "policy_move": 0.05,
    "policy_away": 0.1,
    # the small policy
    "policy_algorithms": ["GRPO", "Dr. GRPO", "RLOO"],
    "policy_task": "right",
    "policy_measure": "length",
    "policy_lab_answers": 8,
    "policy_epochs": 2,
    "policy_lab_steps": 100,
    "policy_seeds": 6,
    "policy_rate": 0.05,
    "policy_lab_beta": 0.0,
    "policy_entropy": 0.0,
    # the network
    "policy_goal": "quote",
    "policy_word": "sea",
    "policy_real_answers": 8,
    "policy_new_tokens": 32,
    "policy_temperature": "1",
    "policy_real_rate": "0.0001",
    "policy_real_beta": "0",
    "policy_real_updates": 1,
    "policy_real_steps": 12,
    "policy_colour": "push",
}
KEPT = frozenset({"policy_network", "policy_other"})
VIEWS = {
    "group": group_calculator,
    "conventions": library_conventions,
    "strip": token_view,
    "dead": dead_groups,
    "kl": kl_estimators,
    "gae": generalised_advantages,
    "zero": zero_loss,
    "learning": live_learning,
    "real": real_run,
}


def view_label(view: str) -> str:
    return {
        "group": _("Groups"),
        "conventions": _("Libraries"),
        "strip": _("Token by token"),
        "dead": _("Dead groups"),
        "kl": "KL",
        "gae": "GAE",
        "zero": _("Loss 0?"),
        "learning": _("Learning"),
        "real": _("A network learns"),
    }[view]


page = Page("policy", DEFAULTS, KEPT)
page.head()
forget_running(page)
view = page.view(VIEWS, view_label)
with refusals():
    VIEWS[view](page)
page.questions()
