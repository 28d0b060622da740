"""The policy page: its figures are the models' numbers, its controls do what they say."""

from collections import Counter
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.state.common import TESTING_KEY
from streamlit.runtime.state.safe_session_state import SafeSessionState

from components.controls import now, put
from components.live.follow import follow
from components.panels.policy.group import GroupCalculator
from components.panels.policy.real import NetworkLearns
from components.words import LANGUAGES
from models.policy.dead_groups import deadness
from models.policy.gae import advantages as gae
from models.policy.group_advantages import METHODS, advantages
from models.policy.kl_estimators import gradient_of, pair, true_gradients
from models.policy.lab import Lab
from models.policy.lab import train as train_lab
from models.policy.losses import ESTIMATORS
from models.policy.real_run import PolicyRun, train
from models.policy.recorded import OPENING, recorded
from tests.pages.policy_screen import VIEWS, checks, policy
from tests.pages.screen import figures, live, open_page, run_snippet, said
from tests.pages.screen import files as files_of


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
    files = files_of(screen)
    assert {f"{name}_csv", f"{name}_html"} <= files
    assert "policy_link" in live(screen)
    if view not in ("learning", "real"):
        assert any(letter.isdigit() for letter in run_snippet(screen)[1])


# Groups


def grid(name: str = "rewards") -> torch.Tensor:
    return getattr(GroupCalculator.at().groups, name)


def shown(screen, key: str = "policy_advantages") -> np.ndarray:
    return figures(screen)[key]["data"][0]["z"]


@pytest.mark.parametrize("method", METHODS)
def test_the_figure_holds_the_advantages_of_the_method(method):
    expected = advantages(grid(), METHODS[method], grid("lengths"))
    assert shown(policy(method=method)) == pytest.approx(expected.numpy(), abs=1e-5)


def test_epsilon_and_the_deviation_are_those_of_the_controls():
    screen = policy(epsilon="0.5", deviation="population")
    expected = advantages(grid(), replace(METHODS["grpo"], ddof=0, epsilon=0.5))
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


def test_a_cell_stands_where_its_slider_does():
    """Before it is let go, in the address, and in the table's file."""
    screen = policy(cell="2.3", reward="0.75")
    changed = grid().clone()
    changed[1, 2] = 0.75
    assert shown(screen) == pytest.approx(advantages(changed).numpy(), abs=1e-5)
    slider = live(screen)["policy_reward_slider"]
    assert (slider["value"], slider["default"], slider["elsewhere"]) == (0.75, 0.0, True)
    assert "'0.75'" in screen.code[0].value


def test_a_slider_that_is_let_go_writes_the_cell_and_follows_it():
    view = GroupCalculator.at(cell="2.3").with_reward(0.75)
    assert view.rewards == "1,0,0,0;1,1,0.75,1;0,0,0,0;1,1,0,0"
    assert view.parameters()["policy_reward"] is None  # one source: the table
    assert "policy_reward=" not in view.address()


def test_another_cell_is_chosen_and_the_table_stays():
    view = GroupCalculator.at(cell="1.1")
    assert (view.reward, view.with_cell(3, 2).reward) == (1.0, 0.0)
    assert view.with_cell(3, 2).rewards == view.rewards
    assert view.with_cell(3, 2).cell == "4.3"
    undecided = GroupCalculator.at(cell="1.1", reward=0.5).with_cell(3, 2)
    assert undecided.rewards.startswith("0.5,0,0,0;")
    assert GroupCalculator.at(cell="99.1").place == GroupCalculator.at(cell="x").place == (0, 0)


def test_a_reward_beyond_the_slider_is_not_cut_to_it():
    view = GroupCalculator.at(rewards="7,0;-9,1")
    assert view.reward == 7.0
    assert float(view.groups.rewards[0, 0]) == 7.0
    assert live(policy(rewards="7,0;-9,1"))["policy_reward_slider"]["high"] == 7.0


def test_the_session_keeps_the_table_once():
    """A click chooses a cell, a slider that is let go writes one; neither leaves a second copy behind."""
    state: dict = {"policy_cell": "2.3"}
    with patch("streamlit.session_state", state):
        click = {"x": 3, "y": 0, "curve": 0, "point": None, "custom": None}
        put(now(GroupCalculator).stage().plots[0].on_click(click))
        assert state == {"policy_cell": "1.4", "policy_view": "group"}
        put(now(GroupCalculator).with_reward(-0.5))
        assert state["policy_rewards"] == "1,0,0,-0.5;1,1,0,1;0,0,0,0;1,1,0,0"
        assert now(GroupCalculator).reward == -0.5
        state["policy_rewards"] = "1,0,0,0.25;1,1,0,1;0,0,0,0;1,1,0,0"
        assert now(GroupCalculator).reward == 0.25
        assert "policy_reward" not in state


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cell", ["1.1", "2.3", "4.4"])
def test_the_arithmetic_under_the_map_comes_to_what_it_says(method, cell):
    screen = policy(method=method, cell=cell, rewards="1,0.25,0,-1;0.3,2,-0.4,1;0,0,0;1,1,0,0.5")
    (line,) = figures(screen)["policy_advantages"]["data"][1]["text"]
    name, quotient, made = line.replace("−", "-").split(" = ")
    assert name == f"A({cell[0]}, {cell[2]})"
    assert eval(quotient) == pytest.approx(float(made), rel=2e-3, abs=2e-3)
    group, answer = int(cell[0]) - 1, int(cell[2]) - 1
    assert float(made) == pytest.approx(shown(screen)[group, answer], abs=1e-4)


def test_groups_of_several_sizes_leave_gaps_and_have_their_own_numbers():
    screen = policy(rewards="1,0,0,0;1,0,,;0.5,,,", lengths="9,9,9,9;7,7;5", ratios="1,1,1,1;1,1;1")
    assert said(screen) == []
    assert np.isnan(shown(screen)).tolist() == [[False] * 4, [False] * 2 + [True] * 2, [False] + [True] * 3]
    for row, rewards in enumerate(([1.0, 0, 0, 0], [1.0, 0])):
        alone = advantages(torch.tensor([rewards], dtype=torch.float64))[0].numpy()
        assert shown(screen)[row, : len(rewards)] == pytest.approx(alone, abs=1e-5)
    shares = shown(screen, "policy_pushes")
    assert np.nansum(np.abs(shares)) == pytest.approx(100, abs=1e-3)
    table = policy(view="conventions", rewards="1,0;1").dataframe[1].value
    assert table["TRL 1.16"].tolist() == table["OpenRLHF"].tolist() == ["–"] * 3
    assert table["verl"].tolist()[2] == "+1.00000"


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
    for key, value in (("policy_epsilon", 1.0), ("policy_clip", 0.01), ("policy_reward", 2.0)):
        drawn = follow(following.token, key, value)
        assert {figure["name"] for figure in drawn} == VIEWS["group"], key


def test_a_run_of_the_page_asks_the_session_for_little():
    """Reads of the session's state by the page itself, in a run of all of it."""
    screen, reads = policy(), Counter()

    def counted(name):
        read = getattr(SafeSessionState, name)

        def count(state, key):
            reads[name] += get_script_run_ctx(suppress_warning=True) is not None and key != TESTING_KEY
            return read(state, key)

        return patch.object(SafeSessionState, name, count)

    with counted("__getitem__"), counted("__contains__"):
        screen.run()
    assert said(screen) == []
    assert 20 < sum(reads.values()) <= 100


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
        ({"one": "1,1,1", "beta": "0.5"}, "The reward teaches nothing, β·KL does"),
        ({"one": "1,1,1", "beta": "0.5", "away": "0"}, "Nothing is learned"),
        ({"one": "0.7", "method": "reinforce"}, "The loss is not 0"),
        ({"tokens": "40,120,90,60", "aggregation": "sequence_mean"}, "The loss is 0"),
        ({"tokens": "40,120,90,60", "aggregation": "token_mean"}, "longer answers more weight"),
        ({"tokens": "40,120,90,60", "aggregation": "constant", "beta": "0.5"}, "longer answers more"),
        ({"method": "reinforce", "beta": "0.5"}, "do not add up to 0"),
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
    assert len(line_of(screen)["y"]) == 6  # one seed of it, pale, before anybody has started
    assert line_of(screen)["opacity"] < 0.6
    screen.button(key="policy_learning_start").click().run()
    wait_for_the_end(screen, "policy_learning")
    lab = Lab(("GRPO", "RLOO"), "right", 4, 0.05, 2, 0.0, 0.0, 6, 2, 0)
    expected = [step.right[0].mean() for step in train_lab(lab)]
    assert line_of(screen)["y"] == pytest.approx([float(value) for value in expected], abs=1e-5)
    assert "opacity" not in line_of(screen)


def line_of(screen, name: str = "GRPO") -> dict:
    (line,) = [each for each in figures(screen)["policy_right"]["data"] if each.get("name") == name]
    return line


def wait_for_the_end(screen, key: str) -> None:
    """The run works on a thread of its own; then the page is drawn once more."""
    (asked,) = screen.session_state["loupe_work"][key].values()
    assert asked.wait(120)
    screen.run()


def test_an_algorithm_keeps_its_colour_whatever_else_is_chosen():
    colours = [
        line_of(policy(view="learning", algorithms=chosen, lab_steps="5"), "RLOO")["line"]["color"]
        for chosen in ("RLOO", "GRPO,RLOO", "GRPO,DAPO,CISPO,RLOO")
    ]
    assert len(set(colours)) == 1


def test_the_page_opens_on_a_recorded_run_of_its_own_settings():
    assert NetworkLearns.at().asked == OPENING
    taken = recorded(OPENING)
    assert len(taken) == OPENING.steps
    first = next(train(OPENING))
    assert taken[0].texts == first.texts
    assert taken[0].weights.numpy() == pytest.approx(first.weights.numpy(), abs=1e-4)
    screen = policy(view="real")
    reward, _kl = figures(screen)["policy_real_reward"]["data"]
    assert reward["y"] == pytest.approx([float(step.rewards.mean()) for step in taken], abs=1e-6)


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
