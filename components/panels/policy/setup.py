"""What several views of the policy page share: names of methods, averages, and settings as they stand."""

import streamlit as st

from components.controls import choose
from components.live.slider import slider_value
from components.page import Page
from components.words import _
from models.policy.group_advantages import METHODS, Convention
from models.policy.losses import AGGREGATIONS, Aggregation, PolicyLoss

METHOD_NAMES = {
    "grpo": "GRPO",
    "dr_grpo": "Dr. GRPO",
    "batch": "GRPO, σ of the batch",
    "rloo": "RLOO",
    "reinforce": "REINFORCE",
    "reinforce++": "REINFORCE++",
    "reinforce++ baseline": "REINFORCE++ baseline",
}
CLIP_RANGE = (0.0, 1.0, 0.2)


def method_label(name: str) -> str:
    return _("GRPO, deviation of the batch") if name == "batch" else METHOD_NAMES[name]


def aggregation_label(name: str) -> str:
    return {
        "sequence_mean": _("mean of the answers' means (GRPO)"),
        "token_mean": _("mean over all tokens (DAPO, BNPO)"),
        "constant": _("constant length (Dr. GRPO)"),
        "sequence_sum": _("mean of the answers' sums (RLOO, LUSPO)"),
    }[name]


def choose_method(page: Page, width: int = 240) -> str:
    return choose(
        _("Advantage"), tuple(METHODS), f"{page.name}_method", method_label, default="grpo", width=width
    )


def choose_aggregation(page: Page, width: int = 330) -> Aggregation:
    return choose(
        _("Average over tokens"),
        AGGREGATIONS,
        f"{page.name}_aggregation",
        aggregation_label,
        default="sequence_mean",
        width=width,
    )


def now(page: Page, control: str):
    """A control's present value, its default where it is not on screen."""
    return st.session_state.get(f"{page.name}_{control}", page.default(control))


def epsilon(page: Page) -> float:
    """ε in σ + ε, from its slider."""
    return slider_value(f"{page.name}_epsilon", 1e-9, 1.0, page.default("epsilon"))


def clip(page: Page) -> float:
    """The clip's ε, from its slider."""
    return slider_value(f"{page.name}_clip", *CLIP_RANGE)


def convention_now(page: Page) -> Convention:
    """How the group view makes advantages: its method, deviation and ε."""
    own = METHODS[now(page, "method")]
    ddof = 0 if now(page, "deviation") == "population" else 1
    return Convention(
        own.baseline, own.scale, ddof, epsilon(page), own.epsilon_in, own.by_token, own.single
    )


def loss_now(page: Page) -> PolicyLoss:
    """The clipped loss of the group view."""
    return PolicyLoss(
        epsilon_low=clip(page),
        epsilon_high=clip(page),
        aggregation=now(page, "aggregation"),
        longest=now(page, "longest"),
    )
