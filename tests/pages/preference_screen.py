"""The preference page for its tests: opened by address, its views and what each of them shows."""

from streamlit.testing.v1 import AppTest

from tests.pages.screen import controls, open_page

VIEWS = {
    "calculator": {"preference_rewards", "preference_gradient"},
    "plane": {"preference_plane", "preference_pushes"},
    "objective": {"preference_policies", "preference_back", "preference_frontier"},
    "displacement": {
        "preference_chosen",
        "preference_relative",
        "preference_geometry",
        "preference_answers",
    },
    "real": {
        "preference_ratios",
        "preference_losses",
        "preference_strip_chosen",
        "preference_strip_rejected",
    },
    "reward": {"preference_fitted", "preference_wins"},
}
CONTROLS = controls("preference")
DEFAULTS = {key: control.default for key, control in CONTROLS.items()}


def preference(**query: str) -> AppTest:
    """The page opened by address; names without their prefix."""
    return open_page("preference", **{f"preference_{key}": value for key, value in query.items()})


def metrics(screen: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in screen.metric}
