"""The policy page: its figures are the models' numbers, its controls do what they say."""

import numpy as np
import pytest
import torch

from components.live.follow import follow
from components.words import LANGUAGES
from models.policy.dead_groups import deadness
from models.policy.gae import advantages as gae
from models.policy.group_advantages import METHODS, Convention, advantages
from models.policy.group_table import read_groups
from models.policy.kl_estimators import gradient_of, pair, true_gradients
from models.policy.lab import Lab
from models.policy.lab import train as train_lab
from models.policy.losses import ESTIMATORS
from models.policy.real_run import PolicyRun, train
from models.tables import parse_grid
from tests.pages.policy_screen import DEFAULTS, VIEWS, checks, policy
from tests.pages.screen import figures, live, open_page, run_snippet, said


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_view_shows_its_figures_in_both_languages(view, language):
    screen = open_page("policy", lang=language, policy_view=view)
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[view]


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_shown_was_checked_just_now_can_be_taken_along_and_repeated(view):
    screen = policy(view=view)
    assert checks(screen)
    assert not screen.error
    name = f"policy_{view}"
    files = {button.key for button in screen.get("download_button")}
    assert {f"{name}_csv", f"{name}_html"} <= files
    assert f"{name}_link" in live(screen)
    if view not in ("learning", "real"):
        assert any(letter.isdigit() for letter in run_snippet(screen)[1])


# Groups


def grid(name: str = "rewards") -> torch.Tensor:
    table = read_groups(
        *(parse_grid(DEFAULTS[f"policy_{kind}"]) for kind in ("rewards", "lengths", "ratios"))
    )
    return getattr(table, name)


def shown(screen, key: str = "policy_advantages") -> np.ndarray:
    return figures(screen)[key]["data"][0]["z"]


@pytest.mark.parametrize("method", METHODS)
def test_the_figure_holds_the_advantages_of_the_method(method):
    expected = advantages(grid(), METHODS[method], grid("lengths"))
    own = METHODS[method]
    if own.epsilon != DEFAULTS["policy_epsilon"]:
        expected = advantages(grid(), Convention(own.baseline, own.scale), grid("lengths"))
    assert shown(policy(method=method)) == pytest.approx(expected.numpy(), abs=1e-5)


def test_epsilon_and_the_deviation_are_those_of_the_controls():
    screen = policy(epsilon="0.5", deviation="population")
    expected = advantages(grid(), Convention(ddof=0, epsilon=0.5))
    assert shown(screen) == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_overlong_penalty_comes_off_the_rewards():
    screen = policy(method="dr_grpo", longest="120", cache="80")
    penalty = ((40 - grid("lengths")) / 80).clip(-1, 0)
    expected = advantages(grid() + penalty, METHODS["dr_grpo"])
    assert shown(screen) == pytest.approx(expected.numpy(), abs=1e-5)
    assert said(policy(longest="50", cache="80"))


def test_shares_of_the_gradient_add_up_and_a_dead_group_gets_none():
    shares = shown(policy(), "policy_pushes")
    assert np.abs(shares).sum() == pytest.approx(100, abs=1e-3)
    assert not shares[2].any()
    marks = figures(policy())["policy_advantages"]["layout"]["yaxis"]["ticktext"]
    assert [mark.endswith("✕") for mark in marks] == [False, False, True, False]


def test_the_slider_of_a_cell_writes_into_the_table():
    screen = policy(cell="2.3")
    assert screen.session_state["policy_reward"] == 0
    screen.session_state["policy_reward"] = 0.75
    screen.run()
    assert screen.session_state["policy_rewards"] == "1,0,0,0;1,1,0.75,1;0,0,0,0;1,1,0,0"
    changed = grid().clone()
    changed[1, 2] = 0.75
    assert shown(screen) == pytest.approx(advantages(changed).numpy(), abs=1e-5)


def test_another_cell_is_chosen_and_the_table_stays():
    screen = policy()
    screen.session_state["policy_cell"] = "4.2"
    screen.run()
    assert screen.session_state["policy_reward"] == 1
    assert screen.session_state["policy_rewards"] == DEFAULTS["policy_rewards"]
    screen.session_state["policy_cell"] = "99.1"
    screen.run()
    assert said(screen) == []


def test_the_table_is_cut_and_filled_up():
    screen = policy()
    screen.number_input(key="policy_groups_widget").set_value(2).run()
    screen.number_input(key="policy_answers_widget").set_value(5).run()
    assert screen.session_state["policy_rewards"] == "1,0,0,0,0;1,1,0,1,0"
    assert shown(screen).shape == (2, 5)
    screen.button(key="policy_random").click().run()
    assert shown(screen).shape == (2, 5)
    assert screen.session_state["policy_rewards"] != "1,0,0,0,0;1,1,0,1,0"


def test_dragging_draws_the_figures_without_a_rerun():
    screen = policy()
    following = screen.session_state["loupe_following"]
    assert following.sliders["policy_epsilon"].panels == ("group_live",)
    for key, value in (("policy_epsilon", 1.0), ("policy_clip", 0.01), ("policy_reward", 2.0)):
        drawn = follow(following.token, key, value)
        assert {figure["name"] for figure in drawn} == VIEWS["group"], key


# Other views


def test_cells_that_differ_between_libraries_are_marked():
    table = policy(view="conventions", rewards="1,1.00001;1,1").dataframe[1].value
    assert not table["TRL 1.16"].str.contains("≠").any()
    assert table["verl"].str.contains("≠").tolist() == [True, True, False, False]
    single = policy(view="conventions", rewards="0.7;0.2").dataframe[1].value
    assert single["verl"].tolist() == ["≠ +0.70000", "≠ +0.20000"]
    assert single["OpenRLHF"].tolist() == ["–", "–"]
    assert single["TRL 1.16"].tolist() == ["+0.00000", "+0.00000"]


def test_crosses_stand_where_the_clip_binds():
    def crosses(**query: str) -> int:
        return len(figures(policy(view="strip", **query))["policy_strip"]["data"][1]["x"])

    assert crosses(drift="0") == 0
    assert crosses(drift="0.3") > 0
    assert crosses(drift="0.3", low="1", high="1") < crosses(drift="0.3")
    assert crosses(drift="0.8", kind="cispo") == 0
    bounds = {
        bound: crosses(drift="0.8", bound=bound, bound_at="1.3") for bound in ("none", "dual", "delta")
    }
    assert bounds["none"] < bounds["dual"] == bounds["delta"]
    assert crosses(drift="0.8", bound="dual", bound_at="5") < bounds["dual"]


def test_dead_groups_are_those_of_the_formula():
    screen = policy(view="dead", **{"pass": "0.25"}, size="6")
    now = figures(screen)["policy_dead_rates"]["data"][-1]
    expected = deadness(torch.tensor([0.25], dtype=torch.float64), 6).dead
    assert now["y"][0] == pytest.approx(float(expected[0]), abs=1e-6)


def test_gradient_errors_are_exact():
    bars = figures(policy(view="kl", distance="1.2"))["policy_kl_gradients"]["data"]
    logits = pair(6, 1.2, 0)
    length = float(true_gradients(*logits)[0].norm())
    expected = [gradient_of(*logits, name, "loss").error / length for name in ESTIMATORS]
    assert bars[0]["y"] == pytest.approx(expected, abs=1e-5)
    table = policy(view="kl").dataframe[0].value
    assert table["in the loss"].tolist() == ["0", "∇KL(π‖ref)", "∇KL(ref‖π)"]


def test_advantages_of_steps_are_gaes():
    screen = policy(view="gae", gae_rewards="0,0,1", gae_values="0.5,0.6,0.7")
    bars = figures(screen)["policy_gae_steps"]["data"]
    expected = gae(torch.tensor([0.0, 0, 1]), torch.tensor([0.5, 0.6, 0.7]), 1.0, 0.95)
    assert bars[1]["y"] == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "The loss is 0 and learning goes on"),
        ({"one": "1,1,1"}, "Nothing is learned"),
        ({"beta": "0.2"}, "β·KL alone"),
        ({"method": "reinforce"}, "The loss is not 0"),
    ],
)
def test_the_verdict_on_a_loss_fits_its_numbers(query, words):
    screen = policy(view="zero", **query)
    assert any(words in text.value for text in screen.markdown)


def test_the_small_policy_trains_to_its_end():
    query = {
        "view": "learning",
        "algorithms": "GRPO,RLOO",
        "lab_steps": "6",
        "seeds": "2",
        "lab_answers": "4",
    }
    screen = policy(**query)
    screen.button(key="policy_learning_start").click().run()
    for _attempt in range(20):
        screen.run()
    lab = Lab(("GRPO", "RLOO"), "right", 4, 0.05, 2, 0.0, 0.0, 6, 2, 0)
    expected = [step.right[0].mean() for step in train_lab(lab)]
    (line,) = [each for each in figures(screen)["policy_right"]["data"] if each.get("name") == "GRPO"]
    assert line["y"] == pytest.approx([float(value) for value in expected], abs=1e-5)


def test_the_first_answers_of_the_network_are_those_of_a_run():
    screen = policy(view="real", real_answers="4", new_tokens="8")
    strip = figures(screen)["policy_real_strip"]["data"][0]["z"]
    loss_run = next(train(_run(screen)))
    assert strip == pytest.approx(1000 * loss_run.weights.numpy(), abs=1e-3)


def _run(screen) -> PolicyRun:
    """The run that the snippet names."""
    names: dict = {}
    [code] = [code.value for code in screen.code]
    [line] = [line for line in code.splitlines() if line.startswith("for step in train(")]
    exec(code.split("for step")[0], names)
    return eval(line.removeprefix("for step in train(").removesuffix("):"), names)
