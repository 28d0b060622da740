"""Preference: DPO and its relatives, from a pair of log-probabilities to a real network."""

from components.page import Page
from components.panels.preference.calculator import calculator
from components.panels.preference.displacement import displacement_lab
from components.panels.preference.objective import kl_objective
from components.panels.preference.plane import loss_plane_view
from components.panels.preference.real import real_network
from components.panels.preference.reward_model import reward_model
from components.refusal import refusals
from components.words import _
from components.work.running import forget_running

DEFAULTS = {
    "preference_view": "calculator",
    # the table: pairs, one after the other, as chosen, rejected, their references, lengths
    "preference_pairs": (
        "-10,-14,-11,-13,5,10;-32,-41,-24,-25,20,22;-18,-15,-16,-17,9,8;"
        "-25,-30,-25,-30,12,14;-12,-20,-20,-24,11,13;-60,-9,-64,-7,48,6"
    ),
    "preference_row": 1,
    # the loss
    "preference_loss": "sigmoid",
    "preference_beta": 0.1,
    "preference_smoothing": 0.1,
    "preference_divergence": "reverse_kl",
    "preference_alpha": 0.5,
    "preference_ipo": "token",
    "preference_tau": 0.05,
    "preference_gamma": 1.0,
    "preference_odds": 0.1,
    "preference_kl": 0.0,
    "preference_desirable": 1.0,
    "preference_undesirable": 1.0,
    "preference_added": "none",
    "preference_weight": 1.0,
    "preference_tail": 1.0,
    # the plane
    "preference_length_w": 10,
    "preference_length_l": 10,
    # the objective
    "preference_weights": "5, 3, 1, 0.5, 0.5",
    "preference_given": "0, 1, 2, 4, -1",
    "preference_strength": 1.0,
    # displacement
    "preference_methods": ["sigmoid", "sigmoid+sft", "apo_zero", "bco_pair"],
    "preference_angle": 40.0,
    "preference_rate": 5.0,
    "preference_sft": 0.05,
    "preference_lab_steps": 300,
    "preference_step": 300.0,
    # a real network
    "preference_network": "loupe-llama",
    "preference_other": "",
    "preference_prompt": "The old lighthouse keeper looked at the sea and said,",
    "preference_yes": " 'I will go to the harbour in the morning.'",
    "preference_no": " 'I will go to the harbour in the evening.'",
    "preference_real_steps": 12,
    "preference_real_rate": "0.0001",
    "preference_noise": "0",
    "preference_seed": 0,
    # the reward model
    "preference_compared": "A>B:6;B>A:2;B>C:5;C>B:3;A>C:7;C>A:1;D>E:4;E>D:2",
    "preference_ridge": 0.0,
    "preference_constant": 1.0,
    "preference_group": 1,
}  # fmt: skip
KEPT = frozenset({"preference_network", "preference_other"})
VIEWS = {
    "calculator": calculator,
    "plane": loss_plane_view,
    "objective": kl_objective,
    "displacement": displacement_lab,
    "real": real_network,
    "reward": reward_model,
}


def view_label(view: str) -> str:
    return {
        "calculator": _("Calculator"),
        "plane": _("Plane of log-ratios"),
        "objective": _("The objective"),
        "displacement": _("Displacement"),
        "real": _("A real network"),
        "reward": _("Reward model"),
    }[view]


page = Page("preference", DEFAULTS, KEPT)
page.head()
forget_running(page)
view = page.view(VIEWS, view_label)
with refusals():
    VIEWS[view](page)
page.questions()
