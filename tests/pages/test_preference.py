"""The preference page: its figures are the models' numbers, its controls do what they say."""

import numpy as np
import pytest
import torch

from components.panels.preference.plane import ON_PLANE, limits
from components.panels.preference.settings import NAMES
from components.words import LANGUAGES
from models.preference.bradley_terry import fit, parse_comparisons, read_comparisons
from models.preference.displacement import CHOSEN, METHODS, Lab, train
from models.preference.kl_objective import checked_distribution, optimum
from models.preference.losses import DIVERGENCES, LossSettings, graded
from models.preference.real_run import Duel, train_on_pair
from models.preference.relatives import LOSSES
from models.preference.table import parse_text, read_pairs
from tests.pages.preference_screen import DEFAULTS, VIEWS, metrics, preference
from tests.pages.screen import CHECK, captions, figures, live, open_page, run_snippet, said
from tests.pages.screen import files as files_of

PAIRS = read_pairs(parse_text(DEFAULTS["preference_pairs"]))


def checks(screen) -> list[str]:
    return [caption for caption in captions(screen) if CHECK.match(caption)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_view_shows_its_figures_in_both_languages(view, language):
    screen = open_page("preference", lang=language, preference_view=view)
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS[view]


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_shown_was_checked_just_now_and_can_be_taken_along(view):
    screen = preference(view=view)
    assert checks(screen)
    assert not screen.error
    assert "preference_link" in live(screen)
    keys = files_of(screen)
    assert f"preference_{view}_csv" in keys


@pytest.mark.parametrize("view", ["calculator", "plane", "objective", "displacement", "reward"])
def test_the_snippet_of_a_view_runs_and_prints_numbers(view):
    _names, printed = run_snippet(preference(view=view))
    assert any(letter.isdigit() for letter in printed)


# The calculator


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_shows_the_models_numbers_and_holds_its_checks(loss):
    screen = preference(loss=loss, beta="0.3")
    found = graded(LOSSES[loss], PAIRS, LossSettings(beta=0.3, smoothing=0.1))
    bars = figures(screen)["preference_gradient"]["data"]
    np.testing.assert_allclose(bars[0]["y"], found.loss.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bars[1]["y"], -found.by_chosen.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bars[2]["y"], -found.by_rejected.numpy(), rtol=1e-5, atol=1e-6)
    assert metrics(screen)["loss"] == f"{float(found.loss.mean()):.4g}"
    assert len(checks(screen)) == 2
    assert not screen.error


def test_the_names_of_the_log_are_the_models_numbers():
    shown = metrics(preference(beta="0.2"))
    chosen, rejected = 0.2 * PAIRS.delta_chosen, 0.2 * PAIRS.delta_rejected
    assert shown["rewards/chosen"] == f"{float(chosen.mean()):.4g}"
    assert shown["rewards/margins"] == f"{float((chosen - rejected).mean()):.4g}"
    assert shown["rewards/accuracies"] == f"{float((chosen > rejected).double().mean()):.4g}"


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_divergence_is_a_switch(divergence):
    screen = preference(divergence=divergence, alpha="0.3")
    settings = LossSettings(smoothing=0.1, divergence=divergence, alpha=0.3)
    expected = LOSSES["sigmoid"](PAIRS, settings)
    shown = figures(screen)["preference_gradient"]["data"][0]["y"]
    np.testing.assert_allclose(shown, expected.numpy(), rtol=1e-4)
    assert not screen.error


def test_two_losses_are_added_with_a_weight():
    screen = preference(added="sft", weight="0.5")
    expected = LOSSES["sigmoid"](PAIRS, LossSettings()) + 0.5 * LOSSES["sft"](PAIRS, LossSettings())
    shown = figures(screen)["preference_gradient"]["data"][0]["y"]
    np.testing.assert_allclose(shown, expected.numpy(), rtol=1e-5)
    assert len(checks(screen)) == 4


def test_the_arithmetic_is_that_of_the_asked_pair():
    screen = preference(pairs="-10,-14,-11,-13,5,10", row="1")
    latex = " ".join(element.value for element in screen.latex)
    assert "0.598139" in latex
    assert "-0.0450166" in latex
    assert not preference(row="9999").exception


def test_values_by_token_and_a_shorter_tail():
    text = "-1 -2 -3 -4,-1 -1,-1 -1 -1 -1,-2 -2,,"
    shown = figures(preference(pairs=text, tail="0.5"))["preference_rewards"]["data"]
    expected = read_pairs(parse_text(text), 0.5)
    np.testing.assert_allclose(shown[2]["y"], 0.1 * expected.delta_chosen.numpy(), rtol=1e-6)


def test_the_table_can_be_taken_along_as_a_file():
    keys = {button.key for button in preference().get("download_button")}
    assert {"preference_pairs_CSV", "preference_pairs_JSON"} <= keys


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ("1,-2,-1,-2,3,3", "Row 1, column chosen: 1 is positive"),
        ("-1,-2,-1,-2,3,3;-1,-2,,-2,3,3", "Row 2, column ref_chosen: the cell is empty"),
        ("-1,-2,-1,-2,0,3", "Row 1, column chosen_length: 0 is no length"),
        ("-1,-2,nan,-2,3,3", "Row 1, column ref_chosen: 'nan' is not a finite number"),
        ("-1,-2,-1e999,-2,3,3", "is not a finite number"),
        ("-1,-2", "Row 1, column ref_chosen: the cell is empty"),
        (" ", "The table is empty"),
    ],
)
def test_bad_tables_are_named_and_kept(pairs, sentence):
    screen = preference(pairs=pairs)
    assert not screen.exception
    assert any(sentence in line for line in said(screen))
    assert screen.session_state["preference_pairs"].strip().startswith(pairs.strip())
    assert "preference_pairs_CSV" in files_of(screen)  # the table is there to be mended


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "-1", "0", "x", ""])
@pytest.mark.parametrize("control", ["beta", "smoothing", "tau", "gamma", "odds", "kl", "tail", "row"])
def test_bad_numbers_in_the_address_break_nothing(control, value):
    screen = preference(**{control: value, "loss": "discopop"})
    assert not screen.exception
    # without values by token, a shorter tail is refused in a sentence
    assert set(figures(screen)) == VIEWS["calculator"] or "LD-DPO needs" in said(screen)[0]


# The plane


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "apo_down", "orpo"])
def test_the_plane_shows_the_loss_and_its_gradient(loss):
    screen = preference(view="plane", loss=loss, beta="0.2", length_w="7", length_l="3")
    (contour, *_rest) = figures(screen)["preference_plane"]["data"]
    place = contour["x0"] + contour["dx"] * 21, contour["y0"] + contour["dy"] * 9
    one = read_pairs([(f"{-20 + place[0]}", f"{-20 + place[1]}", "-20", "-20", "7", "3")])
    expected = graded(LOSSES[loss], one, LossSettings(beta=0.2, smoothing=0.1))
    assert contour["z"][9, 21] == pytest.approx(float(expected.loss), rel=1e-4)
    assert (contour["zmin"], contour["zmax"]) == pytest.approx(limits(loss, (7, 3), True))


def test_red_arrows_are_there_where_a_loss_pushes_the_chosen_answer_down():
    def red(loss: str) -> int:
        data = figures(preference(view="plane", loss=loss, beta="0.2"))["preference_plane"]["data"]
        (trace,) = [trace for trace in data if trace.get("name") == "push: chosen down"]
        return int(np.isfinite(trace["x"]).sum()) // 5

    assert red("sigmoid") == 0
    assert red("bco_pair") == 0
    assert red("sppo_hard") > 15
    assert red("apo_down") > 40


def test_which_losses_push_down_is_said_in_words():
    screen = preference(view="plane", pairs="-10,-40,-20,-20,10,10", beta="0.5")
    (line,) = [caption for caption in captions(screen) if caption.startswith("Pushed down")]
    assert all(name in line for name in ("apo_down", "sppo_hard", "nca_pair"))
    assert "sigmoid" not in line.replace("sigmoid_norm", "")


@pytest.mark.parametrize("loss", ["aot", "sft", "no such"])
def test_a_loss_over_the_batch_becomes_dpo_on_the_plane(loss):
    screen = preference(view="plane", loss=loss)
    assert not screen.exception
    assert screen.session_state["preference_loss"] == "sigmoid"
    assert set(NAMES) == set(LOSSES)
    assert "aot" not in ON_PLANE


# The objective


def test_the_objective_is_solved_and_gives_the_reward_back():
    screen = preference(view="objective", strength="0.5")
    shown = figures(screen)
    reference = checked_distribution(torch.tensor([5, 3, 1, 0.5, 0.5]))
    best = optimum(reference, torch.tensor([0.0, 1, 2, 4, -1]), 0.5)
    np.testing.assert_allclose(shown["preference_policies"]["data"][1]["y"], best.policy.numpy(), rtol=1e-5)
    np.testing.assert_allclose(
        shown["preference_back"]["data"][1]["y"], best.implicit_reward.numpy(), rtol=1e-5
    )
    assert shown["preference_frontier"]["data"][1]["x"][0] == pytest.approx(best.kl)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"weights": "1, x"}, "Number 2, 'x'"),
        ({"weights": "1, nan"}, "Number 2, 'nan'"),
        ({"given": "1e999, 1"}, "Number 1, '1e999'"),
        ({"weights": "1"}, "from 2 to 12"),
        ({"weights": "1, 0"}, "above 0"),
        ({"weights": "1, 2, 3"}, "one finite reward"),
    ],
)
def test_bad_problems_are_refused_in_a_sentence(query, sentence):
    screen = preference(view="objective", **query)
    assert not screen.exception
    assert any(sentence in line for line in said(screen))


# Displacement


def test_the_lab_shows_the_models_curves():
    screen = preference(view="displacement", angle="30", methods="sigmoid,kto", lab_steps="50", step="20")
    runs = train(
        Lab(angle=30.0, learning_rate=5.0, steps=50, settings=LossSettings(beta=0.1)), ("sigmoid", "kto")
    )
    shown = figures(screen)
    for place, run in enumerate(runs.values()):
        np.testing.assert_allclose(
            shown["preference_chosen"]["data"][place]["y"],
            run.log_probabilities[:, CHOSEN].numpy(),
            rtol=1e-5,
        )
        np.testing.assert_allclose(
            shown["preference_answers"]["data"][place + 1]["y"],
            run.log_probabilities[20].exp().numpy(),
            rtol=1e-5,
        )


def test_a_run_that_diverges_is_said_in_words():
    screen = preference(view="displacement", methods="ipo", beta="5", rate="20")
    assert not screen.exception
    assert any("diverged" in element.value for element in screen.info)


def test_every_method_of_the_lab_can_be_shown():
    for start in range(0, len(METHODS), 5):
        screen = preference(
            view="displacement", methods=",".join(METHODS[start : start + 5]), lab_steps="40"
        )
        assert not screen.exception
        assert not screen.error


# A real network


def test_scores_of_a_real_network_are_shown_without_training():
    screen = preference(view="real", real_steps="0")
    first = next(
        train_on_pair(
            Duel(
                "loupe-llama",
                DEFAULTS["preference_prompt"],
                DEFAULTS["preference_yes"],
                DEFAULTS["preference_no"],
                steps=0,
            )
        )
    )
    strip = figures(screen)["preference_strip_chosen"]["data"]
    np.testing.assert_allclose(strip[1]["y"], first.pulls[0].score.log_probabilities, rtol=1e-4)
    np.testing.assert_allclose(strip[2]["z"][0], first.pulls[0].by_logits, rtol=1e-3)
    assert not [button for button in screen.button if button.label == "Start"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"yes": " "}, "Answer 1 is empty"),
        ({"no": " "}, "Answer 2 is empty"),
        ({"prompt": " "}, "The text is empty"),
        ({"yes": " word" * 300}, "Prompt and answer 1 make"),
        ({"network": "all-MiniLM-L6-v2"}, "encoder"),
    ],
)
def test_bad_texts_are_refused_in_a_sentence(query, sentence):
    screen = preference(view="real", **query)
    assert not screen.exception
    assert any(sentence in line for line in said(screen))


# The reward model


def test_the_fit_is_shown_with_its_constant():
    screen = preference(view="reward", constant="2.5", group="2", ridge="0.1")
    compared = read_comparisons(parse_comparisons(DEFAULTS["preference_compared"]))
    expected = fit(compared, 0.1).rewards
    fitted, shifted = figures(screen)["preference_fitted"]["data"]
    np.testing.assert_allclose(fitted["x"], expected.numpy(), rtol=1e-4)
    np.testing.assert_allclose(
        shifted["x"], (expected + 2.5 * (compared.groups == 1)).numpy(), rtol=1e-4, atol=1e-6
    )
    shown = metrics(screen)
    assert shown["Loss as fitted (nats)"] == shown["Loss with the constant"]
    assert shown["Groups of compared answers"] == "2"


@pytest.mark.parametrize(
    ("compared", "sentence"),
    [
        ("A>B:3", "never lost"),
        ("A>:3", "Row 1, column loser: the cell is empty"),
        ("A>B:x", "Row 1, column times"),
        ("A>A:1", "cannot be compared with itself"),
        (";".join(f"A>B{n}:1" for n in range(30)), "at most 24"),
    ],
)
def test_bad_comparisons_are_refused_and_kept(compared, sentence):
    screen = preference(view="reward", compared=compared)
    assert not screen.exception
    assert any(sentence in line for line in said(screen))
    assert screen.session_state["preference_compared"] == compared
