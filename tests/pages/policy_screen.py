"""The policy page for its tests: opened by address, its views and what each of them shows."""

from streamlit.testing.v1 import AppTest

from tests.pages.screen import controls, open_page

VIEWS = {
    "group": {"policy_advantages", "policy_pushes"},
    "conventions": {"policy_gaps"},
    "strip": {"policy_strip", "policy_shares", "policy_clip_curves"},
    "dead": {"policy_dead_rates", "policy_dead_sizes"},
    "kl": {"policy_kl_values", "policy_kl_gradients", "policy_kl_running"},
    "gae": {"policy_gae_steps", "policy_gae_decay"},
    "zero": {"policy_zero_updates", "policy_zero_answers"},
    "learning": {"policy_right", "policy_second"},
    "real": {"policy_real_strip", "policy_real_reward"},
}
CONTROLS = controls("policy")


def policy(**query: str | list[str]) -> AppTest:
    """The page opened by address; names without their prefix."""
    return open_page("policy", **{f"policy_{key}": value for key, value in query.items()})


def checks(screen: AppTest) -> list[str]:
    return [caption.value for caption in screen.caption if "allowed" in caption.value]
